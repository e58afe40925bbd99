"""Problems: a stack, what is asked of it, the right answer and wrong ones.

Decided here and only here: the three forms, what a problem shows, and how wrong answers come about: each is what
somebody would say who holds one of the usual misconceptions, and each was tried on the engine to be wrong. The same
form, level and seed give the same problem. Values are frozen: any thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from sim.course.errors import CourseError
from sim.course.predict.engine import Copy, Played, State, Thing, play
from sim.course.predict.steps import Do, Step
from sim.course.predict.worlds import LEVELS, World, candidates, world

__all__ = ["Choice", "Form", "Problem", "copies_text", "make", "shown", "state_text"]

_CHOICES = 4
_STEPS = {1: 1, 2: 2, 3: 4}


class Form(StrEnum):
    """What is given and what is asked."""

    STATE = "state"  #: from operations say what the RW layer has
    OPERATION = "operation"  #: from two states of the RW layer say the operation
    BYTES = "bytes"  #: from operations say the bytes that are copied up, of which files, from which layers


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer that is offered.

    Attributes
    ----------
    text
        In words that `judge` understands as well.
    value
        What it says: a state, a step, or copies.
    """

    text: str
    value: State | Step | tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem.

    Attributes
    ----------
    form, level, seed
        What it was made of.
    world
        The stack.
    before
        Steps that were taken already; the RW layer that they left is shown.
    steps
        The steps that it is about.
    given
        The RW layer before `steps`.
    played
        What the engine made of `before` and `steps`.
    copies
        What `steps` alone copied up.
    choices, right
        Answers to choose from, and which of them is right.
    """

    form: Form
    level: int
    seed: int
    world: World
    before: tuple[Step, ...]
    steps: tuple[Step, ...]
    given: State
    played: Played
    copies: tuple[Copy, ...]
    choices: tuple[Choice, ...]
    right: int

    @property
    def name(self) -> str:
        """What it is called: form, level and seed."""
        return f"{self.form}-{self.level}-{self.seed}"


def shown(state: State, form: Form) -> dict[str, Thing]:
    """Return what a problem tells of a state: for a question about operations sizes and modes too."""
    if form is Form.OPERATION:
        return dict(state)
    return {path: Thing(thing.kind) for path, thing in state.items()}


def state_text(state: Mapping[str, Thing]) -> str:
    """Return a state in words; plain directories that only lead to something are left out.

    >>> state_text({"/etc": Thing("directory"), "/etc/motd": Thing("whiteout")})
    '/etc/motd whiteout'
    """
    parts = []
    for path, thing in state.items():
        if thing.kind == "directory" and any(other.startswith(f"{path}/") for other in state):
            continue
        size = f" {thing.size} B {thing.mode:o}" if thing.mode else ""
        parts.append(f"{path} {'opaque directory' if thing.kind == 'opaque' else thing.kind}{size}")
    return "; ".join(parts) or "nothing"


def copies_text(copies: tuple[Copy, ...]) -> str:
    """Return what was copied up in words.

    >>> copies_text((Copy("/etc/motd", 20, "base"),)), copies_text(())
    ('/etc/motd 20 B from base', 'nothing')
    """
    return "; ".join(f"{copy.path} {copy.size} B from {copy.layer}" for copy in copies) or "nothing"


def make(form: Form, level: int, seed: int) -> Problem:
    """Make a problem.

    Raises
    ------
    CourseError
        There is no such level.
    """
    if level not in LEVELS:
        raise CourseError(f"there is no level {level}; there are {', '.join(map(str, LEVELS))}")
    for attempt in range(200):
        random = Random(f"{form}/{level}/{seed}/{attempt}")
        problem = _try(form, level, seed, random)
        if problem is not None:
            return problem
    raise AssertionError("no problem came about in two hundred attempts")


def _walk(random: Random, level: int, stack: World, count: int, taken: list[Step]) -> Played | None:
    """Add steps that work to those taken, until there are `count`; prefer those that change the RW layer."""
    played = play(stack, taken)
    while len(taken) < count:
        for step in candidates(random, level, list(played.files), list(played.directories))[:12]:
            if step.do is Do.READ and random.random() < 0.7:
                continue
            more = play(stack, [*taken, step])
            if more.failed is None:
                taken.append(step)
                played = more
                break
        else:
            return None
    return played


def _try(form: Form, level: int, seed: int, random: Random) -> Problem | None:
    stack = world(random, level)
    taken: list[Step] = []
    ahead = 0 if form is not Form.OPERATION else {1: 0, 2: 1, 3: 2}[level]
    if ahead and _walk(random, level, stack, ahead, taken) is None:
        return None
    before = tuple(taken)
    given = play(stack, before).state
    count = (
        1 if form is Form.OPERATION else random.randrange(1, _STEPS[level] + 1) if level < 3 else random.randrange(2, 5)
    )
    played = _walk(random, level, stack, ahead + count, taken)
    if played is None:
        return None
    steps = tuple(taken[ahead:])
    first = len(play(stack, before).copies)
    copies = played.copies[first:]
    if form is Form.OPERATION and shown(played.state, form) == shown(given, form):
        return None  # nothing to be seen
    if form is Form.STATE and not played.state:
        return None
    if form is Form.BYTES and not copies and random.random() < 0.8:
        return None
    right = _right(form, steps, played, copies)
    wrong = _wrong(form, random, level, stack, before, steps, given, played, copies)
    choices: list[Choice] = []
    for choice in wrong:
        if choice.text != right.text and choice.text not in {one.text for one in choices}:
            choices.append(choice)
        if len(choices) == _CHOICES - 1:
            break
    else:
        return None
    at = random.randrange(_CHOICES)
    choices.insert(at, right)
    return Problem(form, level, seed, stack, before, steps, given, played, copies, tuple(choices), at)


def _right(form: Form, steps: tuple[Step, ...], played: Played, copies: tuple[Copy, ...]) -> Choice:
    match form:
        case Form.STATE:
            state = shown(played.state, form)
            return Choice(state_text(state), state)
        case Form.OPERATION:
            return Choice(str(steps[0]), steps[0])
        case Form.BYTES:
            return Choice(copies_text(copies), copies)


def _wrong(
    form: Form,
    random: Random,
    level: int,
    stack: World,
    before: tuple[Step, ...],
    steps: tuple[Step, ...],
    given: State,
    played: Played,
    copies: tuple[Copy, ...],
) -> Iterator[Choice]:
    """Yield wrong answers, those of the usual misconceptions first."""
    match form:
        case Form.STATE:
            truth = shown(played.state, form)
            for state in _other_states(random, stack, steps, truth):
                if _told(state) != _told(truth):
                    yield Choice(state_text(state), state)
        case Form.OPERATION:
            seen = play(stack, before)
            wanted = shown(played.state, form)
            for step in candidates(random, level, list(seen.files), list(seen.directories)):
                near = step.path == steps[0].path or random.random() < 0.2
                if near and step.do is not Do.READ:
                    other = play(stack, [*before, step])
                    if other.failed is None and shown(other.state, form) != wanted:
                        yield Choice(str(step), step)
        case Form.BYTES:
            truth_ = frozenset(copies)
            for wrong in _other_copies(random, stack, steps, copies):
                if frozenset(wrong) != truth_:
                    yield Choice(copies_text(wrong), wrong)


def _told(state: Mapping[str, Thing]) -> str:
    return state_text(dict(sorted(state.items())))


def _lower_paths(stack: World) -> dict[str, tuple[int, str]]:
    """Return size and layer of each file of the read-only layers, the topmost where there are several."""
    found: dict[str, tuple[int, str]] = {}
    for layer in stack.layers:
        for path, size in layer.files:
            found.setdefault(path, (size, layer.name))
    return found


def _other_states(random: Random, stack: World, steps: tuple[Step, ...], truth: State) -> Iterator[State]:
    """Yield states that the RW layer does not have."""
    lower = _lower_paths(stack)
    others: list[State] = []
    for path, thing in truth.items():
        without = {p: t for p, t in truth.items() if p != path and not p.startswith(f"{path}/")}
        if thing.kind == "whiteout":
            others.append(without)  # "a deletion leaves nothing"
        elif thing.kind == "file":
            others.append({**truth, path: Thing("whiteout")})
            if path in lower:
                others.append(without)  # "it is changed in place"
        elif thing.kind == "opaque":
            others.append({**truth, path: Thing("directory")})
    for step in steps:
        if step.do in (Do.REMOVE, Do.RENAME) and step.path not in truth:
            others.append({**truth, step.path: Thing("whiteout")})
        if step.do is Do.RENAME and step.path in truth:
            others.append({p: t for p, t in truth.items() if p != step.path})
        if step.do is Do.READ and step.path not in truth:
            others.append({**truth, step.path: Thing("file")})
    for path in sorted(lower):
        if path not in truth:
            others.append({**truth, path: Thing("file")})
            others.append({**truth, path: Thing("whiteout")})
    others.append({})
    head, tail = others[:4], others[4:]
    random.shuffle(head)
    random.shuffle(tail)
    for state in (*head, *tail):
        yield dict(sorted(state.items()))


def _other_copies(
    random: Random, stack: World, steps: tuple[Step, ...], copies: tuple[Copy, ...]
) -> Iterator[tuple[Copy, ...]]:
    """Yield copies that were not made."""
    lower = _lower_paths(stack)
    names = [layer.name for layer in stack.layers]
    others: list[tuple[Copy, ...]] = [()]
    written = []
    for step in steps:
        size, layer = lower.get(step.path, (0, names[0]))
        if step.do in (Do.APPEND, Do.WRITE) and size:
            written.append(Copy(step.path, len(step.text) + 1, layer))  # "only what is written"
        if size and not any(copy.path == step.path for copy in copies):
            others.append((*copies, Copy(step.path, size, layer)))  # "any change copies the whole file"
    if written:
        others.append(tuple(written))
    for copy in copies:
        for name in names:
            others.append(
                tuple(Copy(c.path, c.size, name) if c == copy else c for c in copies)
            )  # "it lies in that layer"
        others.append(tuple(c for c in copies if c != copy))
        others.append(tuple(Copy(c.path, c.size + 6, c.layer) if c == copy else c for c in copies))
    for path, (size, layer) in sorted(lower.items()):
        if not any(copy.path == path for copy in copies):
            others.append((*copies, Copy(path, size, layer)))
    head, tail = others[:5], others[5:]
    random.shuffle(head)
    random.shuffle(tail)
    yield from (*head, *tail)
