"""A lesson's source: Markdown of a strict form, parsed.

Decided here and only here: the form. `lessons/AUTHORING.md` tells it to authors. A lesson is read into frozen values;
whatever is not as agreed is a `LessonTextError` with file and line, so that a lesson which parses is complete.

The form, top to bottom: a head between two lines `---` (number, name, minutes, needs); a title `# N. ...`; the parts of
`PARTS` in their order, each a heading `## ...` in the words of its language; in the hands-on part and in the worked
example steps `### ...`; in the exercises `### N.M ...`, each with a task, hints and a solution that fold away.
Any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.course.console import Command, commands_in
from sim.course.errors import LessonTextError
from sim.course.texts import Language, Text

__all__ = ["NEEDS", "PARTS", "ExerciseText", "Fence", "Lesson", "Part", "parse"]

#: The parts of a lesson, in their order: key -> heading.
PARTS: dict[str, Text] = {
    "questions": Text("Questions", "问题"),
    "objectives": Text("Objectives", "学习目标"),
    "idea": Text("The idea", "核心思想"),
    "example": Text("A worked example", "示例讲解"),
    "steps": Text("Hands on", "动手操作"),
    "exercises": Text("Exercises", "练习"),
    "key-points": Text("Key points", "要点"),
    "misconceptions": Text("Common misconceptions", "常见误解"),
    "notes": Text("Notes for the instructor", "教师笔记"),
}

#: What a lesson's commands may need of the machine.
NEEDS = ("nothing", "fuse", "engine", "registry", "root")

_HINT = {Language.EN: "Hint", Language.ZH: "提示"}
_SOLUTION = {Language.EN: "Solution", Language.ZH: "解答"}
_FOLD = re.compile(r"<details><summary>(.+)</summary>")
_PICTURE = re.compile(r"!\[([^\]]+)\]\(([^)]+)\)")
_MINUTES = range(30, 61)

#: Makes an error of a line and words.
_Wrong = Callable[[int, str], LessonTextError]


@dataclass(frozen=True, slots=True)
class Fence:
    """A block of code.

    Attributes
    ----------
    kind
        What stands behind the opening fence: `console`, `sh`, `text`, `python` ...
    code
        What is in it.
    line
        Number of the line after the opening fence.
    """

    kind: str
    code: str
    line: int


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a lesson, or a step of one.

    Attributes
    ----------
    key
        As in `PARTS`; for a step the number of it, as text.
    title
        The heading's words.
    text
        Everything below the heading.
    steps
        The steps below it, where it has some; their text is in `text` as well.
    line
        Number of the heading's line.
    """

    key: str
    title: str
    text: str
    steps: tuple[Part, ...]
    line: int

    @property
    def bullets(self) -> tuple[str, ...]:
        """The items of its list, each in one line."""
        found: list[str] = []
        for line in self.text.splitlines():
            if line.startswith("- "):
                found.append(line[2:].strip())
            elif line.startswith("  ") and found:
                found[-1] += f" {line.strip()}"
        return tuple(found)

    @property
    def fences(self) -> tuple[Fence, ...]:
        """Its blocks of code."""
        return tuple(_fences(self.text, self.line + 1))


@dataclass(frozen=True, slots=True)
class ExerciseText:
    """An exercise as it is told; how it is checked is in `sim.course.exercises`.

    Attributes
    ----------
    number
        `"4.2"`: the second one of lesson 4.
    title, task
        What is to be done.
    hints
        From a nudge to nearly all of it.
    solution
        The whole answer with its reasons.
    script
        The shell commands of the solution, to be run in the lesson's directory.
    """

    number: str
    title: str
    task: str
    hints: tuple[str, ...]
    solution: str
    script: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson in one language.

    Attributes
    ----------
    number, name, minutes, needs
        From the head; `name` is also that of its figure and, behind the number, of its file.
    language, path
        Where it was read.
    title
        Without its number.
    parts
        By their keys, in order.
    exercises
        In order.
    figure, caption
        The one figure of the idea, relative to the lesson; what it shows.
    """

    number: int
    name: str
    minutes: int
    needs: str
    language: Language
    path: Path
    title: str
    parts: dict[str, Part]
    exercises: tuple[ExerciseText, ...]
    figure: str
    caption: str

    @property
    def commands(self) -> tuple[Command, ...]:
        """Every command of the worked example and the steps, in order, with what the text shows of its output."""
        found: list[Command] = []
        for key in ("example", "steps"):
            for fence in self.parts[key].fences:
                if fence.kind == "console":
                    found += commands_in(fence.code, fence.line)
        return tuple(found)

    def exercise(self, number: str) -> ExerciseText | None:
        """Return an exercise by its number."""
        return next((one for one in self.exercises if one.number == number), None)


def parse(path: Path, language: Language) -> Lesson:
    """Read a lesson.

    Raises
    ------
    LessonTextError
        It is not of the form agreed on.
    """
    text = path.read_text()
    lines = text.splitlines()

    def wrong(line: int, what: str) -> LessonTextError:
        return LessonTextError(f"{path}:{line}: {what}")

    head, body = _head(lines, wrong)
    number, name = int(head["number"]), head["name"]
    if path.name != f"{number:02}-{name}.md":
        raise wrong(1, f"number and name want the file to be called {number:02}-{name}.md")
    if int(head["minutes"]) not in _MINUTES:
        raise wrong(1, f"{head['minutes']} minutes: a lesson takes {_MINUTES[0]} to {_MINUTES[-1]}")
    if head["needs"] not in NEEDS:
        raise wrong(1, f"needs: {head['needs']!r} is none of {', '.join(NEEDS)}")
    headings = list(_headings(lines, body))
    if not headings or headings[0][1] != 1 or not (found := re.fullmatch(rf"{number}\. (.+)", headings[0][2])):
        raise wrong(body + 1, f"the text begins with the title, `# {number}. ...`")
    seconds = [heading for heading in headings if heading[1] == 2]
    wanted = [words.in_(language) for words in PARTS.values()]
    if [title for _, _, title in seconds] != wanted:
        raise wrong(body + 1, f"the parts are {[title for _, _, title in seconds]}; they have to be {wanted}")
    parts = {}
    for index, (key, (line, _, title)) in enumerate(zip(PARTS, seconds, strict=True)):
        end = seconds[index + 1][0] - 1 if index + 1 < len(seconds) else len(lines)
        parts[key] = _part(key, title, lines, line, end)
        if not parts[key].text.strip():
            raise wrong(line, f"the part {title!r} is empty")
    pictures = _PICTURE.findall(parts["idea"].text)
    if [target for _, target in pictures] != [f"../figures/{name}.png"]:
        raise wrong(parts["idea"].line, f"the idea has one figure: ![what it shows](../figures/{name}.png)")
    for key in ("questions", "objectives", "key-points", "misconceptions"):
        if len(parts[key].bullets) < 2:
            raise wrong(parts[key].line, f"{parts[key].title!r} is a list of two items or more")
    for key in ("example", "steps"):
        if not any(fence.kind == "console" for fence in parts[key].fences):
            raise wrong(parts[key].line, f"{parts[key].title!r} has no command: a block ```console")
    if len(parts["steps"].steps) < 2:
        raise wrong(parts["steps"].line, "the hands-on part has two steps or more: headings `### ...`")
    exercises = tuple(
        _exercise(number, index, one, language, wrong) for index, one in enumerate(parts["exercises"].steps, 1)
    )
    if not exercises:
        raise wrong(parts["exercises"].line, f"there is no exercise: `### {number}.1 ...`")
    return Lesson(
        number,
        name,
        int(head["minutes"]),
        head["needs"],
        language,
        path,
        found[1],
        parts,
        exercises,
        pictures[0][1],
        pictures[0][0],
    )


def _head(lines: Sequence[str], wrong: _Wrong) -> tuple[dict[str, str], int]:
    if not lines or lines[0] != "---" or "---" not in lines[1:]:
        raise wrong(1, "a lesson begins with its head, between two lines `---`")
    end = lines.index("---", 1)
    head = {}
    for number, line in enumerate(lines[1:end], 2):
        name, colon, value = line.partition(":")
        if not colon:
            raise wrong(number, "a line of the head is `name: value`")
        head[name.strip()] = value.strip()
    if list(head) != ["number", "name", "minutes", "needs"]:
        raise wrong(1, f"the head has number, name, minutes, needs, in this order; here: {', '.join(head)}")
    if not head["number"].isdecimal() or not head["minutes"].isdecimal():
        raise wrong(1, "number and minutes are numbers")
    return head, end + 1


def _headings(lines: Sequence[str], start: int) -> Iterator[tuple[int, int, str]]:
    """Yield line number, depth and words of each heading outside of blocks of code."""
    inside = False
    for number, line in enumerate(lines[start:], start + 1):
        if line.startswith("```"):
            inside = not inside
        elif not inside and (found := re.match(r"(#{1,3}) (.+)", line)):
            yield number, len(found[1]), found[2].strip()


def _part(key: str, title: str, lines: Sequence[str], line: int, end: int) -> Part:
    """Cut a part out of the lines, from its heading (numbered from 1) to the line `end`."""
    inner = [(at, words) for at, depth, words in _headings(lines[:end], line) if depth == 3]
    steps = []
    for index, (at, words) in enumerate(inner):
        until = inner[index + 1][0] - 1 if index + 1 < len(inner) else end
        steps.append(Part(str(index + 1), words, "\n".join(lines[at:until]), (), at))
    return Part(key, title, "\n".join(lines[line:end]), tuple(steps), line)


def _fences(text: str, first: int) -> Iterator[Fence]:
    kind, start, inside = "", 0, False
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if not inside:
            kind, start, inside = line[3:].strip(), index + 1, True
        else:
            yield Fence(kind, "\n".join(lines[start:index]), first + start)
            inside = False


def _exercise(lesson: int, index: int, part: Part, language: Language, wrong: _Wrong) -> ExerciseText:
    """Take an exercise apart into task, hints and solution."""
    number, _, title = part.title.partition(" ")
    if number != f"{lesson}.{index}" or not title:
        raise wrong(part.line, f"an exercise's heading is `### {lesson}.{index} ...`")
    task: list[str] = []
    folds: list[tuple[str, list[str]]] = []
    open_fold = False
    for at, line in enumerate(part.text.splitlines(), part.line + 1):
        if found := _FOLD.fullmatch(line):
            if open_fold:
                raise wrong(at, "the fold before this one is not closed: </details>")
            folds.append((found[1], []))
            open_fold = True
        elif line == "</details>":
            if not open_fold:
                raise wrong(at, "there is no open fold that this </details> closes")
            open_fold = False
        elif open_fold:
            folds[-1][1].append(line)
        elif folds and line.strip():
            raise wrong(at, "nothing comes after an exercise's hints and solution")
        else:
            task.append(line)
    names = [name for name, _ in folds]
    wanted = [f"{_HINT[language]} {n}" for n in range(1, len(folds))] + [_SOLUTION[language]]
    if open_fold or len(folds) < 2 or names != wanted:
        raise wrong(
            part.line,
            f"an exercise has folds <details><summary>{_HINT[language]} 1</summary>, ..., and as the last one "
            f"{_SOLUTION[language]}; here: {names}",
        )
    bodies = ["\n".join(body).strip() for _, body in folds]
    if not "".join(task).strip() or not all(bodies):
        raise wrong(part.line, "the task, a hint or the solution is empty")
    script = "\n".join(fence.code for fence in _fences(bodies[-1], 0) if fence.kind == "sh")
    if not script:
        raise wrong(part.line, "the solution has no commands: a block ```sh")
    return ExerciseText(number, title, "\n".join(task).strip(), tuple(bodies[:-1]), bodies[-1], script + "\n")
