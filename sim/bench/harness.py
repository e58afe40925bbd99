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
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusefs import FusefsError
from sim.bench import caches, places
from sim.bench.arenas import Arena, Arenas
from sim.bench.errors import BenchError, Stopped, Unavailable, reason
from sim.bench.interrupt import orderly
from sim.bench.noise import NoiseMeter
from sim.bench.plans import Plan
from sim.bench.registry import Spot, Workload
from sim.bench.result import Case, Missing, Result, Series
from sim.bench.session import Driver, Layout, Session
from sim.bench.stats import median
from sim.bench.tables import case_text

__all__ = ["Harness", "Progress", "measure"]

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
    with places.home(base) as home, orderly() as undisturbed:
        harness = Harness(plan, drivers, home, progress=progress, missing=missing)
        try:
            harness.run()
        finally:
            undisturbed()
            harness.end()
        return harness.result(machine, command)


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
    meter
        Says how noisy the machine is; for tests. By default one on the same clock.
    """

    def __init__(
        self, plan: Plan, drivers: Sequence[Driver], home: Path, *, progress: Progress = lambda _: None,
        missing: Sequence[Missing] = (), clock: Callable[[], int] = time.perf_counter_ns,
        meter: NoiseMeter | None = None,
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
        self._arenas = Arenas(plan, len(self.drivers), home, self._missing)
        self._rounds = 0
        self._last = 0.0
        self._random = random.Random(plan.seed)
        self._stack = contextlib.ExitStack()
        self._started = time.monotonic()
        self.meter = meter or NoiseMeter(clock)

    # The run

    def run(self) -> None:
        """Do all rounds. Interrupted, it ends early, and the result says so."""
        try:
            arenas = list(self._arenas.make(self._stack))
            if not arenas:
                raise Unavailable("; ".join(f"{what}: {why}" for what, why in self._missing.items()) or "nothing to do")
            for number in range(0 if self.plan.warm_up else 1, self.plan.rounds + 1):
                if number > 1 and self._late():
                    break
                begun = time.monotonic()
                self._random.shuffle(arenas)
                for arena in arenas:
                    self._progress(self._where(number, arena))
                    self._round(number, arena)
                self._rounds = number
                self._last = time.monotonic() - begun
            self.finished = True
        except KeyboardInterrupt:
            self._progress("interrupted; what was measured is kept")

    def end(self) -> None:
        """Unmount everything and remove what was made."""
        self._stack.close()

    def _late(self) -> bool:
        """Whether another round, as long as the last, would end after the time that the plan allows."""
        return 0 < self.plan.seconds < time.monotonic() - self._started + self._last

    def _where(self, number: int, arena: Arena) -> str:
        of = f"round {number} of {self.plan.rounds}" if number else "warming up"
        return f"{of}: {len(arena.spots)} case{'s' if len(arena.spots) > 1 else ''}, {arena.words}"

    # One round

    def _round(self, number: int, arena: Arena) -> None:
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
                    self._missing[f"{driver.name}: {arena.words}"] = f"it cannot be mounted: {reason(error)}"
            todo = [(spot, name) for spot in arena.spots for name in sessions if number or self._short(spot.case)]
            self._random.shuffle(todo)
            for spot, name in todo:
                if name not in self._dead:
                    self._sample(number, arena, spot, sessions[name])

    def _short(self, case: Case) -> bool:
        return self._arenas.space(case) <= _LONG and self.plan.workload(case).group not in ("jobs", "runtime")

    def _open(self, driver: Driver, arena: Arena, where: Path, stack: contextlib.ExitStack) -> Session:
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
            self._missing.setdefault(f"{session.name}: its end", reason(error))

    def _sample(self, number: int, arena: Arena, spot: Spot, session: Session) -> None:
        """Measure one case with one driver, once."""
        work = self.plan.workload(spot.case)
        if work.needs_path and session.root is None:
            self._missing.setdefault(f"{session.name}: {work.group}", "it has no mount that other programs could use")
            return
        with self._excused(session.name, case_text(spot.case), session):
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
                why = f"it failed in {case}: {reason(error)}; what it did until then is kept"
                self._dead[driver] = self._missing[driver] = why
            else:
                self._missing[f"{driver}: {case}"] = reason(error)

    # What came of it

    def result(self, machine: Mapping[str, str] | None = None, command: str = "") -> Result:
        """Return what was measured until now."""
        from sim.bench.machine import describe

        if not self.finished:
            self._name_the_rest()
        order = {name: index for index, name in enumerate(driver.name for driver in self.drivers)}
        cases = {case: index for index, case in enumerate(self.plan.cases)}
        found = sorted(self._samples.items(), key=lambda one: (cases.get(one[0][0], 0), order[one[0][1]]))
        return Result(
            title=self.plan.title,
            machine=dict(machine if machine is not None else describe()),
            drivers={one.name: f"{one.words}; {one.options}" if one.options else one.words for one in self.drivers},
            filesystems=dict(self._arenas.filesystems),
            series=tuple(self._series(case, driver, samples) for (case, driver), samples in found),
            missing=tuple(Missing(what, why) for what, why in self._missing.items()),
            noise=self.meter.noise(),
            rounds=self._rounds,
            seconds=round(time.monotonic() - self._started, 1),
            finished=self.finished,
            command=command,
        )

    def _name_the_rest(self) -> None:
        """Name as missing what an interrupted run did not come to: a case, or some of its drivers."""
        why = "the run was interrupted before it"
        for case in self.plan.cases:
            rest = [one.name for one in self.drivers if (self._state(case), one.name) not in self._samples]
            if len(rest) == len(self.drivers):
                self._missing.setdefault(case_text(case), why)
                continue
            for name in rest:
                if name not in self._missing:
                    self._missing.setdefault(f"{name}: {case_text(case)}", why)

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


def _used(arena: Arena, session: Session, spot: Spot) -> int:
    """Return the bytes of the disk that are in use: by the filesystem if it is the run's own, else by the RW layer."""
    if arena.filesystem.image:
        found = os.statvfs(arena.filesystem.root)
        return (found.f_blocks - found.f_bfree) * found.f_frsize
    total = 0
    for directory, _, names in os.walk(f"{session.content}{spot.place}"):
        for name in names:
            total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total
