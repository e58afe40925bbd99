"""The harness: all drivers side by side, in rounds.

Decided here and only here: the order of what is measured, and what happens when something goes wrong.

A run consists of rounds. In each round every arrangement (a filesystem, a number of layers, a durability) is mounted
once by each driver, on the same read-only layers with an RW layer of the driver's own, empty. Then every case is
measured once with each driver, all of these in random order. Before each sample what waits to be written is written
out, and the caches are set to the state that the case names. So no driver is always the first, none works on what
another run left, and whatever happens to the machine happens to all. Before the first round there is one that does not
count, without the longest cases; after each mount a few operations that do not count either.

A driver that fails in a case is missing in that case; one that is dead, or does not answer in time and is killed, is
missing from there on. Interrupted, the run ends with what it has. One thread, and one that watches the time.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusefs import FusefsError
from sim.bench import caches, places
from sim.bench.errors import BenchError, Stopped, Unavailable
from sim.bench.noise import NoiseMeter
from sim.bench.places import Filesystem
from sim.bench.plans import Plan
from sim.bench.registry import Spot, Workload
from sim.bench.result import Case, Missing, Result, Series
from sim.bench.session import Driver, Layout, Session
from sim.bench.stats import median

__all__ = ["Harness", "Progress", "measure", "orderly"]

#: Cases with more bytes than this take no part in the round that does not count.
_LONG = 1 << 22

Progress = Callable[[str], None]


@dataclass(slots=True)
class _Samples:
    """What is known of one driver in one case while the run goes on."""

    seconds: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    disturbed: list[int] = field(default_factory=list)
    spaces: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Arena:
    """One arrangement: what is mounted together."""

    filesystem: Filesystem
    depth: int
    durability: str
    layers: tuple[Path, ...]
    spots: tuple[Spot, ...]

    @property
    def words(self) -> str:
        """What it is called."""
        layers = f"{self.depth} layer{'s' if self.depth > 1 else ''}"
        return f"{layers} on {self.filesystem.name}, durability {self.durability}"


def measure(
    plan: Plan, drivers: Sequence[Driver], *, base: Path | None = None, progress: Progress = lambda _: None,
    missing: Sequence[Missing] = (), machine: Mapping[str, str] | None = None, command: str = "",
) -> Result:  # fmt: skip
    """Measure what a plan names.

    Parameters
    ----------
    plan
        The cases, and how often.
    drivers
        What is compared.
    base
        Directory in which the run makes its own; by default that of temporary files.
    progress
        Called with a line on what is going on.
    missing
        What is known to be missing already.
    machine
        What the result says of the machine; by default what `sim.bench.machine` finds.
    command
        What the result says makes it again.

    Raises
    ------
    BenchError
        Nothing can be measured at all. What can be measured only in part is no error.
    """
    with orderly(), places.home(base) as home:
        harness = Harness(plan, drivers, home, progress=progress, missing=missing)
        try:
            harness.run()
        finally:
            harness.end()
        return harness.result(machine, command)


class _Interrupted(BaseException):
    """A signal asked for the end."""


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """In this block the first Ctrl-C, end of the terminal or `kill` ends the run in order; further ones are ignored.

    Undoing what was made is so not itself interrupted. Without effect outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: object) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        raise _Interrupted(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Harness:
    """One run; `measure` is how it is used.

    Parameters
    ----------
    plan, drivers, progress, missing
        See `measure`.
    home
        The run's own directory.
    clock
        Nanoseconds, for tests.
    """

    def __init__(
        self, plan: Plan, drivers: Sequence[Driver], home: Path, *, progress: Progress = lambda _: None,
        missing: Sequence[Missing] = (), clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.drivers = list(drivers)
        self.home = home
        self.finished = False
        self._clock = clock
        self._progress = progress
        self._missing: dict[str, str] = {one.what: one.why for one in missing}
        self._dead: dict[str, str] = {}
        self._refused: set[tuple[str, str]] = set()
        self._samples: dict[tuple[Case, str], _Samples] = {}
        self._counts: dict[Case, Spot] = {}
        self._filesystems: dict[str, str] = {}
        self._rounds = 0
        self._random = random.Random(plan.seed)
        self._stack = contextlib.ExitStack()
        self._started = time.monotonic()
        self.meter = NoiseMeter(clock)

    # The run

    def run(self) -> None:
        """Do all rounds. Ctrl-C and the signals of `orderly` end it early; the result says so."""
        try:
            arenas = list(self._arenas())
            if not arenas:
                raise Unavailable("; ".join(f"{what}: {why}" for what, why in self._missing.items()) or "nothing to do")
            for number in range(0 if self.plan.warm_up else 1, self.plan.rounds + 1):
                if number > 1 and self._late(number):
                    break
                self._random.shuffle(arenas)
                for arena in arenas:
                    self._progress(self._where(number, arena))
                    self._round(number, arena)
                self._rounds = number
            self.finished = True
        except (KeyboardInterrupt, _Interrupted):
            self._progress("interrupted; what was measured is kept")

    def end(self) -> None:
        """Unmount everything and remove what was made."""
        self._stack.close()

    def _late(self, number: int) -> bool:
        """Whether another round would end after the time that the plan allows."""
        spent = time.monotonic() - self._started
        return bool(self.plan.seconds) and spent * number / max(number - 0.5, 1) > self.plan.seconds

    def _where(self, number: int, arena: _Arena) -> str:
        of = f"round {number} of {self.plan.rounds}" if number else "warming up"
        return f"{of}: {len(arena.spots)} case{'s' if len(arena.spots) > 1 else ''}, {arena.words}"

    # Making what is measured on

    def _arenas(self) -> Iterator[_Arena]:
        """Make filesystems and read-only layers."""
        for name in dict.fromkeys(case.filesystem for case in self.plan.cases):
            cases = self._that_fit([case for case in self.plan.cases if case.filesystem == name])
            if not cases:
                continue
            try:
                made = self._stack.enter_context(places.filesystem(name, self.home, self._space(cases)))
            except Unavailable as error:
                self._missing[name] = str(error).removeprefix(f"{name}: ")
                continue
            self._filesystems[name] = made.words
            for depth, durability in dict.fromkeys((case.depth, case.durability) for case in cases):
                mine = [case for case in cases if (case.depth, case.durability) == (depth, durability)]
                arena = self._arena(made, depth, durability, mine)
                if arena.spots:
                    yield arena

    def _that_fit(self, cases: list[Case]) -> list[Case]:
        """Leave out what cannot be run here, or has no room; the largest first."""
        found = []
        for case in cases:
            lacking = self.plan.workload(case).lacks()
            if lacking:
                self._missing[case.workload] = lacking
            else:
                found.append(case)
        there = places.room(self.home) - (64 << 20)
        found.sort(key=self._case_space)
        while found and self._space(found) > there:
            large = found.pop()
            need = self._space([*found, large]) >> 20
            self._missing[_name(large)] = f"{self.home.parent} has no room for it ({need} MiB); use --place DIR"
        return [case for case in cases if case in found]

    def _case_space(self, case: Case) -> int:
        work = self.plan.workload(case)
        # A file each; what is written is as much again.
        length = case.size * max(case.entries, 1) if work.group in ("data", "metadata") else case.size
        tree = case.entries * 30_000 if work.group in ("jobs", "runtime") else 0
        debian = (800 << 20) if work.name == "package-install" else 0
        return work.count(case) * length if work.first_write else length + tree + debian

    def _space(self, cases: Sequence[Case]) -> int:
        """Return about how many bytes a run of these cases needs at once."""
        lower = sum(self._case_space(case) for case in cases)
        largest = max((self._case_space(case) for case in cases), default=0)
        small = sum(min(self._case_space(case), 8 << 20) for case in cases)
        return lower + (small + largest) * len(self.drivers) + (32 << 20)

    def _arena(self, made: Filesystem, depth: int, durability: str, cases: Sequence[Case]) -> _Arena:
        where = made.root / f"layers-{depth}-{durability}"
        layers = tuple(where / f"l{number}" for number in range(depth, 0, -1))
        where.mkdir()
        if made.no_cow:  # what is made in it from now on takes it over
            places.refuse_clones(where)
        for layer in layers:
            layer.mkdir()
        spots = []
        for case in cases:
            work = self.plan.workload(case)
            scratch = self.home / "scratch" / made.name / f"{len(self._counts)}"
            scratch.mkdir(parents=True)
            spot = Spot(case, f"/{work.name}-{len(self._counts)}", work.count(case), scratch)
            self._counts[case] = spot
            try:
                work.fill(layers, spot)
            except (OSError, BenchError) as error:
                self._missing[_name(case)] = f"its files cannot be made: {_reason(error)}"
            else:
                spots.append(spot)
        with contextlib.suppress(OSError):
            caches.settle(made.root)
        return _Arena(made, depth, durability, layers, tuple(spots))

    # One round

    def _round(self, number: int, arena: _Arena) -> None:
        """Mount every driver, measure every case, unmount."""
        where = arena.filesystem.root / f"round-{number}"
        with contextlib.ExitStack() as stack:
            stack.callback(places.clear, where)
            sessions: dict[str, Session] = {}
            for driver in self._random.sample(self.drivers, len(self.drivers)):
                if driver.name in self._dead or (driver.name, arena.words) in self._refused:
                    continue
                try:
                    sessions[driver.name] = self._open(driver, arena, where, stack)
                except (OSError, FusefsError, BenchError) as error:
                    self._refused.add((driver.name, arena.words))
                    self._missing[f"{driver.name}: {arena.words}"] = f"it cannot be mounted: {_reason(error)}"
            todo = [(spot, name) for spot in arena.spots for name in sessions if number or self._short(spot.case)]
            self._random.shuffle(todo)
            for spot, name in todo:
                if name not in self._dead:
                    self._sample(number, arena, spot, sessions[name])

    def _short(self, case: Case) -> bool:
        return self._case_space(case) <= _LONG and self.plan.workload(case).group not in ("jobs", "runtime")

    def _open(self, driver: Driver, arena: _Arena, where: Path, stack: contextlib.ExitStack) -> Session:
        own = where / driver.name
        layout = Layout(arena.layers, own / "upper", own / "work", own / "merged", arena.durability)
        layout.make()
        session = driver.open(layout)
        stack.callback(self._close, session)
        if driver.storage:
            _exercise(session)
        return session

    def _close(self, session: Session) -> None:
        """End a session; what cannot be unmounted is cleared away with its directory."""
        try:
            session.close()
        except (FusefsError, OSError, BenchError) as error:
            self._missing.setdefault(f"{session.name}: its end", _reason(error))

    def _sample(self, number: int, arena: _Arena, spot: Spot, session: Session) -> None:
        """Measure one case with one driver, once."""
        work = self.plan.workload(spot.case)
        if work.needs_path and session.root is None:
            self._missing.setdefault(f"{session.name}: {work.group}", "it has no mount that other programs could use")
            return
        with self._excused(session.name, _name(spot.case), session):
            session.provide(spot.place)
            work.prepare(session, spot)
            caches.settle(arena.filesystem.root)
            if spot.case.cache == "cold" and caches.can_drop():
                caches.drop()
            elif spot.case.cache == "warm":
                work.prime(session, spot)
            before_space = _used(arena, session, spot) if work.first_write else -1
            before = self.meter.probe()
            seconds = self._timed(work, session, spot)
            disturbed = self.meter.sample(before, self.meter.probe())
            work.check(session, spot)
            space = -1
            if work.first_write:
                caches.settle(arena.filesystem.root)
                space = max(_used(arena, session, spot) - before_space, 0) // spot.count
            work.undo(session, spot)
            if number:
                self._keep(number, spot, session.name, seconds, disturbed, space)
        session.forget(spot.place)

    def _timed(self, work: Workload, session: Session, spot: Spot) -> float:
        """Do the work; return the seconds of one operation."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            session.kill()

        timer = threading.Timer(self.plan.patience, stop)
        timer.daemon = True
        timer.start()
        gc.disable()
        try:
            before = self._clock()
            told = work.run(session, spot)
            taken = self._clock() - before
        except (OSError, BenchError) as error:
            if late.is_set():
                raise Stopped(f"no answer within {self.plan.patience:.0f} seconds; it was killed") from error
            raise
        finally:
            timer.cancel()
            gc.enable()
        return (taken / 1e9 if told is None else told) / spot.count

    def _keep(self, number: int, spot: Spot, driver: str, seconds: float, disturbed: bool, space: int) -> None:
        samples = self._samples.setdefault((self._state(spot.case), driver), _Samples())
        if disturbed:
            samples.disturbed.append(len(samples.seconds))
        samples.seconds.append(float(f"{seconds:.4g}"))
        samples.rounds.append(number)
        samples.spaces.append(space)

    def _state(self, case: Case) -> Case:
        """Return the case as it was measured: caches that could not be dropped were not."""
        if case.cache != "cold" or caches.can_drop():
            return case
        self._missing.setdefault("cold caches", "only root can drop the kernel's caches; they were as they were")
        return replace(case, cache="as it was")

    @contextlib.contextmanager
    def _excused(self, driver: str, case: str, session: Session | None = None) -> Iterator[None]:
        """Let a driver fail: it is then missing, in a case or altogether."""
        try:
            yield
        except (OSError, FusefsError, BenchError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                self._missing[f"{driver}: {case}"] = "no room was left on the filesystem; use --place DIR"
            elif isinstance(error, Stopped) or (session is not None and not session.alive()):
                why = f"it failed in {case}: {_reason(error)}; what it did until then is kept"
                self._dead[driver] = self._missing[driver] = why
            else:
                self._missing[f"{driver}: {case}"] = _reason(error)

    # What came of it

    def result(self, machine: Mapping[str, str] | None = None, command: str = "") -> Result:
        """Return what was measured until now."""
        from sim.bench.machine import describe

        if not self.finished:
            for case in self.plan.cases:
                for driver in self.drivers:
                    if (self._state(case), driver.name) not in self._samples:
                        why = "the run was interrupted before it"
                        if driver.name not in self._missing and f"{driver.name}: {_name(case)}" not in self._missing:
                            self._missing.setdefault(f"{driver.name}: {_name(case)}", why)
        order = {name: index for index, name in enumerate(driver.name for driver in self.drivers)}
        cases = {case: index for index, case in enumerate(self.plan.cases)}
        found = sorted(self._samples.items(), key=lambda one: (cases.get(one[0][0], 0), order[one[0][1]]))
        return Result(
            title=self.plan.title,
            machine=dict(machine if machine is not None else describe()),
            drivers={one.name: f"{one.words}; {one.options}" if one.options else one.words for one in self.drivers},
            filesystems=dict(self._filesystems),
            series=tuple(self._series(case, driver, samples) for (case, driver), samples in found),
            missing=tuple(Missing(what, why) for what, why in self._missing.items()),
            noise=self.meter.noise(),
            rounds=self._rounds,
            seconds=round(time.monotonic() - self._started, 1),
            finished=self.finished,
            command=command,
        )

    def _series(self, case: Case, driver: str, samples: _Samples) -> Series:
        work = self.plan.workload(case)
        spaces = [one for one in samples.spaces if one >= 0]
        return Series(
            case,
            driver,
            tuple(samples.seconds),
            tuple(samples.rounds),
            tuple(samples.disturbed),
            operations=work.count(case),
            bytes=work.moved(case),
            space=int(median(spaces)) if spaces else -1,
        )


def _name(case: Case) -> str:
    """Return what a case is called where something is said about it."""
    from sim.bench.tables import case_text

    return case_text(case)


def _reason(error: BaseException) -> str:
    """Return what is said about an error, in one line."""
    text = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
    return " ".join(text.split())


def _exercise(session: Session) -> None:
    """Do a few operations that do not count: a process that has just started is slower in its first ones."""
    files = session.files
    files.mkdir("/.warm-up")
    for number in range(5):
        path = f"/.warm-up/{number}"
        handle = files.open(path, os.O_RDWR | os.O_CREAT)
        files.write(handle, b"x" * 4096, 0)
        files.read(handle, 4096, 0)
        files.close(handle)
        files.stat(path)
        files.rename(path, f"{path}-")
        files.unlink(f"{path}-")
    files.list("/.warm-up")


def _used(arena: _Arena, session: Session, spot: Spot) -> int:
    """Return the bytes of the disk that are in use: by the filesystem if it is the run's own, else by the RW layer."""
    if arena.filesystem.image:
        found = os.statvfs(arena.filesystem.root)
        return (found.f_blocks - found.f_bfree) * found.f_frsize
    total = 0
    for directory, _, names in os.walk(f"{session.content}{spot.place}"):
        for name in names:
            total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total
