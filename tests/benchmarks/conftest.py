"""Workloads of `sim.bench` under pytest-benchmark.

    pytest tests/benchmarks                              each workload once, small: does the harness work?
    pytest tests/benchmarks --benchmark-json=now.json    each on every driver, in earnest
    pytest tests/benchmarks --benchmark-autosave; pytest tests/benchmarks --benchmark-compare
    pytest tests/benchmarks --benchmark-only -k "append and devfuse"

Each workload is a group, each driver a row in it. A round is what it is in `layerlab bench`: a mount of its own, an RW
layer with nothing in it, caches as the case says. What this cannot do is have the drivers take turns, and so it cannot
tell small differences on a machine that is not quiet; `layerlab bench` can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from sim.bench import DRIVERS, WORKLOADS, Case, Length, caches, places, plans
from sim.bench.registry import Spot, Workload
from sim.bench.session import Driver, Layout, Session

#: Any of these means that times are wanted.
EARNEST = ("benchmark_json", "benchmark_save", "benchmark_autosave", "benchmark_compare", "benchmark_only")

#: In the quick mode all workloads are run with this driver, and these with all drivers.
MAIN, FOR_ALL = ("devfuse", "in-process"), ("append", "stat")

#: What takes longer than everything else together, and is the same code.
ONLY_IN_EARNEST = ("package-install",)


def in_earnest(config: pytest.Config) -> bool:
    return any(config.getoption(name, None) for name in EARNEST)


def cases(length: Length) -> Mapping[str, Case]:
    """Return one case of each workload: of first writes and small files a middling one."""
    found: dict[str, list[Case]] = {}
    for make in (plans.copy_up, plans.metadata, plans.data, plans.jobs):
        for case in make(length, filesystems=["here"]).cases:
            found.setdefault(case.workload, []).append(case)
    usual = {name: [case for case in some if case.depth == some[0].depth] for name, some in found.items()}
    return {name: some[min(len(some) // 2, 2)] for name, some in usual.items()}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "entered" not in metafunc.fixturenames:
        return
    earnest = in_earnest(metafunc.config)
    known = cases(Length.USUAL if earnest else Length.QUICK)
    pairs = [
        (WORKLOADS[name], case, driver)
        for name, case in known.items()
        for driver in DRIVERS.values()
        if not (WORKLOADS[name].needs_path and driver.name.startswith("in-process"))  # other programs cannot use it
        and (earnest or _quick(name, driver))
    ]
    ids = [f"{work.name}-{driver.name}" for work, _, driver in pairs]
    metafunc.parametrize("entered", pairs, ids=ids)


def _quick(name: str, driver: Driver) -> bool:
    """Tell whether the quick mode has a workload on a driver."""
    if name in ONLY_IN_EARNEST or driver.extra:
        return False
    return driver.name in MAIN or name in FOR_ALL


@dataclass
class Bench:
    """One workload with one driver: `ready` before each round, `run` in it, `done` at the end."""

    work: Workload
    case: Case
    driver: Driver
    place: Path
    rounds: int
    session: Session | None = None
    number: int = 0

    def __post_init__(self) -> None:
        root = self.place / "layers"
        self.layers = tuple(root / f"l{number}" for number in range(self.case.depth, 0, -1))
        for layer in self.layers:
            layer.mkdir(parents=True)
        scratch = self.place / "scratch"
        scratch.mkdir()
        self.spot = Spot(self.case, f"/{self.work.name}-0", self.work.count(self.case), scratch)
        self.work.fill(self.layers, self.spot)

    def ready(self) -> None:
        self.done()
        own = self.place / f"round-{self.number}"
        self.number += 1
        layout = Layout(self.layers, own / "upper", own / "work", own / "merged", self.case.durability)
        layout.make()
        self.session = self.driver.open(layout)
        self.session.provide(self.spot.place)
        self.work.prepare(self.session, self.spot)
        caches.settle(self.place)
        if self.case.cache == "cold" and caches.can_drop():
            caches.drop()
        elif self.case.cache == "warm":
            self.work.prime(self.session, self.spot)

    def run(self) -> None:
        assert self.session is not None
        self.work.run(self.session, self.spot)

    def done(self) -> None:
        """Look whether the round did its work, and end it."""
        try:
            if self.session is not None:
                self.work.check(self.session, self.spot)
                self.work.undo(self.session, self.spot)
        finally:
            self.end()

    def end(self) -> None:
        """Take away what a round has mounted, whether it did its work or not."""
        session, self.session = self.session, None
        if session is not None:
            session.close()
            places.clear(session.layout.merged.parent)


@pytest.fixture
def bench(request: pytest.FixtureRequest, entered: tuple[Workload, Case, Driver], tmp_path: Path) -> Iterator[Bench]:
    """Return a workload and a driver, ready to be measured; what is missing here is skipped, with the reason."""
    work, case, driver = entered
    lacking = work.lacks() or driver.lacks()
    if lacking:
        pytest.skip(lacking)
    with places.home(tmp_path) as home:
        made = Bench(work, case, driver, home, rounds=7 if in_earnest(request.config) else 1)
        try:
            yield made
        finally:
            made.end()
    assert places.mounts_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
