"""The harness finds a difference that is there, finds none where there is none, and survives what goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sim.bench import places, plans
from sim.bench.harness import Harness, measure
from sim.bench.noise import Verdict
from sim.bench.plans import Plan
from sim.bench.result import Case, Result
from sim.bench.session import Driver, Layout, PlainSession, Session
from sim.bench.stats import Estimate
from tests.sim.bench.fakes import Clock, FailingAfter, InterruptAfter, driver, meter, sleeping, timed


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where nothing has to be written to a disk, if there is such a place."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as found:
        yield Path(found)


STAT = Case("stat", entries=5)
CREATE = Case("create", entries=5)


def plan(*cases: Case, rounds: int = 9, **more: object) -> Plan:
    return Plan("a test", cases or (STAT,), rounds=rounds, **more)  # type: ignore[arg-type]


def virtual(
    place: Path, make: Callable[[Clock], Sequence[Driver]], *, seed: int = 20, rounds: int = 15
) -> tuple[Result, Clock]:
    """Run a plan on a clock of its own."""
    clock = Clock()
    home = place / f"run-{seed}"
    home.mkdir()
    harness = Harness(plan(rounds=rounds, seed=seed), make(clock), home, clock=clock, meter=meter(clock))
    harness.run()
    harness.end()
    return harness.result({}), clock


def ratio(result: Result, one: str = "one", other: str = "two", case: Case = STAT) -> Estimate:
    found = result.ratio(case, one, other)
    assert found is not None
    return found


@pytest.mark.parametrize("share", [0.05, 0.25, 3.0])
def test_it_finds_a_known_difference(place: Path, share: float) -> None:
    """A twentieth more, under noise whose tail is as long as a fifth of the time, is found."""

    def make(clock: Clock) -> list[Driver]:
        noise = 0.02 if share < 0.1 else 0.2
        return [
            driver("one", timed(clock, 1e-2 * (1 + share), noise=noise, seed=3)),
            driver("two", timed(clock, 1e-2, noise=noise, seed=4)),
        ]

    result, _ = virtual(place, make)
    found = ratio(result)
    assert found.low > 1
    assert found.low <= 1 + share <= found.high * 1.05
    assert abs(found.value / (1 + share) - 1) < 0.1
    assert result.noise.verdict is Verdict.QUIET


def test_it_finds_no_difference_where_there_is_none(place: Path) -> None:
    """Of forty runs with two equal drivers, no more claim a difference than the intervals allow."""
    wrong = 0
    for seed in range(40):

        def make(clock: Clock, seed: int = seed) -> list[Driver]:
            return [
                driver("one", timed(clock, 1e-2, noise=0.3, seed=seed * 2)),
                driver("two", timed(clock, 1e-2, noise=0.3, seed=seed * 2 + 1)),
            ]

        result, _ = virtual(place, make, seed=seed, rounds=9)
        found = ratio(result)
        wrong += not found.low <= 1 <= found.high
    assert wrong <= 4


def test_a_machine_that_slows_down_slows_both(place: Path) -> None:
    """Half way the clock runs twice as fast: the medians are worthless, the ratio is not."""

    def make(clock: Clock) -> list[Driver]:
        calls = [0]

        def wait(seconds: float) -> Callable[[], None]:
            def waiting() -> None:
                calls[0] += 1
                clock.now += int(seconds * 1e9 * (1 if calls[0] < 300 else 2))

            return waiting

        return [driver("one", wait(1.2e-2)), driver("two", wait(1e-2))]

    result, _ = virtual(place, make, rounds=21)
    series = result.find(STAT, "one")
    assert series is not None
    assert max(series.seconds) > 1.8 * min(series.seconds)
    found = ratio(result)
    assert found.low == pytest.approx(1.2, abs=0.02)
    assert found.high == pytest.approx(1.2, abs=0.02)


def test_in_real_time_it_finds_a_known_delay(place: Path) -> None:
    drivers = [driver("slow", sleeping(0.004)), driver("quick", sleeping(0.0005))]
    result = measure(plan(rounds=7), drivers, base=place, machine={})
    found = ratio(result, "slow", "quick")
    assert found.low > 1
    assert found.sure


def test_a_disturbed_machine_is_told_of(place: Path) -> None:
    """Fixed work that takes twice as long at every third look makes a run that cannot tell."""

    class Disturbed(Clock):
        looks = 0

        def __call__(self) -> int:
            self.looks += 1
            # Not while the fixed work is calibrated; then for as long as three probes now and then.
            slow = self.looks > 200 and self.looks // 36 % 3 == 0
            self.now += 600_000 if slow else 200_000
            return self.now

    clock = Disturbed()
    home = place / "run"
    home.mkdir()
    harness = Harness(plan(rounds=25), [driver("one", timed(clock, 1e-2))], home, clock=clock, meter=meter(clock))
    harness.run()
    harness.end()
    result = harness.result({})
    assert result.noise.verdict is Verdict.NOISY
    assert "too noisy to tell" in result.noise.words
    (series,) = result.series
    assert 0 < len(series.disturbed) < len(series.seconds)


def test_rounds_are_in_random_order_and_each_starts_from_nothing(place: Path) -> None:
    seen: list[str] = []
    found: list[list[str]] = []

    def make(name: str) -> Driver:
        def start(layout: Layout) -> Session:
            found.append(os.listdir(layout.upper) + os.listdir(layout.merged))
            return made.open(layout)

        made = driver(name, lambda: seen.append(name))
        return Driver(name, "", "", start, lambda: "")

    names = ["a", "b", "c"]
    result = measure(plan(rounds=12, warm_up=False), [make(name) for name in names], base=place, machine={})
    assert result.rounds == 12
    assert found == [[]] * 36
    once = [name for index, name in enumerate(seen) if index == 0 or seen[index - 1] != name]
    orders = {tuple(once[start : start + 3]) for start in range(0, len(once) - 3, 3)}
    assert len(orders) > 2, "the order is the same each time"
    assert [len(series.seconds) for series in result.series] == [12, 12, 12]


def test_a_driver_that_fails_in_one_case_goes_on_with_the_others(place: Path) -> None:
    failing = driver("one", FailingAfter(0, OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))))
    result = measure(plan(STAT, CREATE, rounds=2), [failing, driver("two", sleeping(0))], base=place, machine={})
    assert {(one.driver, one.case.workload) for one in result.series} == {
        ("one", "create"),
        ("two", "create"),
        ("two", "stat"),
    }
    (missing,) = result.missing
    assert missing.what == "one: stat, 5 entries"
    assert missing.why == os.strerror(errno.EOPNOTSUPP)


def test_a_driver_that_dies_is_missing_from_there_on(place: Path) -> None:
    class Dying(PlainSession):
        dead = False

        def alive(self) -> bool:
            return not Dying.dead

    def die() -> None:
        calls.append(1)
        if len(calls) > 60:
            Dying.dead = True
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    calls: list[int] = []
    base = driver("one", die)

    def start(layout: Layout) -> Session:
        made = base.open(layout)
        return Dying("one", layout, made.files, made.root)

    dying = Driver("one", "", "", start, lambda: "")
    result = measure(plan(rounds=20), [dying, driver("two", sleeping(0))], base=place, machine={})
    one, two = result.find(STAT, "one"), result.find(STAT, "two")
    assert one is not None
    assert two is not None
    assert 0 < len(one.seconds) < 20
    assert len(two.seconds) == 20
    (missing,) = result.missing
    assert missing.what == "one"
    assert "it failed in stat, 5 entries" in missing.why
    assert "until then is kept" in missing.why


def test_a_driver_that_does_not_answer_is_ended(place: Path) -> None:
    killed: list[float] = []
    calls: list[int] = []

    class Hanging(PlainSession):
        def kill(self) -> None:
            killed.append(time.monotonic())

    def hang() -> None:
        calls.append(1)
        if len(calls) <= 5:  # before the clock runs
            return
        end = time.monotonic() + 20
        while not killed and time.monotonic() < end:
            time.sleep(0.01)
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    base = driver("one", hang)

    def start(layout: Layout) -> Session:
        return Hanging("one", layout, base.open(layout).files, layout.merged)

    hanging = Driver("one", "", "", start, lambda: "")
    made = plan(rounds=3, patience=1.0, warm_up=False)
    result = measure(made, [hanging, driver("two", sleeping(0))], base=place, machine={})
    assert len(killed) == 1
    assert [one.driver for one in result.series] == ["two"]
    assert "no answer within 1 seconds; it was killed" in {one.what: one.why for one in result.missing}["one"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_keeps_what_was_measured(place: Path, number: int) -> None:
    before = signal.getsignal(number)
    drivers = [driver("one", InterruptAfter(100, number)), driver("two", sleeping(0))]
    result = measure(plan(STAT, CREATE, rounds=50, warm_up=False), drivers, base=place, machine={})
    assert not result.finished
    one = result.find(STAT, "one")
    assert one is not None
    assert 0 < len(one.seconds) < 50
    assert signal.getsignal(number) is before
    assert os.listdir(place) == []


def test_interrupted_at_once_all_is_named_as_missing(place: Path) -> None:
    result = measure(plan(STAT, rounds=5, warm_up=False), [driver("one", InterruptAfter(1))], base=place, machine={})
    assert result.series == ()
    assert [one.what for one in result.missing] == ["stat, 5 entries"]
    assert "interrupted before it" in result.missing[0].why


def test_no_room_leaves_out_the_largest_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "room", lambda path: 200 << 20)
    cases = (Case("append", 4096), Case("append", 1 << 30))
    result = measure(plan(*cases, rounds=1, warm_up=False), [driver("one", sleeping(0))], base=place, machine={})
    assert [one.case for one in result.series] == [cases[0]]
    (missing,) = result.missing
    assert missing.what == "append, 1 GiB"
    assert f"{place} has no room for it" in missing.why
    assert "--place DIR" in missing.why


def test_a_disk_that_fills_up_on_the_way_costs_one_case(place: Path) -> None:
    full = driver("one", FailingAfter(0, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    result = measure(plan(STAT, CREATE, rounds=2), [full], base=place, machine={})
    assert [one.case.workload for one in result.series] == ["create"]
    assert result.missing[0].why.startswith("no room was left")


def test_the_time_that_is_given_is_kept(place: Path) -> None:
    start = time.monotonic()
    result = measure(plan(rounds=10_000, seconds=1.0), [driver("one", sleeping(0.001))], base=place, machine={})
    assert result.finished
    assert 0 < result.rounds < 10_000
    assert time.monotonic() - start < 30


def test_work_that_was_not_done_is_no_sample(place: Path) -> None:
    """A driver that pretends to change files is found out."""

    class Pretending(Session):
        pass

    def start(layout: Layout) -> Session:
        return Pretending("one", layout, driver("x", sleeping(0)).open(layout).files, layout.merged)

    class Nothing:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *args, **kwargs: None

    def pretend(layout: Layout) -> Session:
        session = start(layout)
        session.files = Nothing()  # type: ignore[assignment]
        return session

    result = measure(
        plan(Case("append", 4096), rounds=1, warm_up=False),
        [Driver("one", "", "", pretend, lambda: "")],
        base=place,
        machine={},
    )
    assert result.series == ()
    assert "is not in the RW layer" in result.missing[0].why


def test_every_case_of_every_plan_has_a_workload() -> None:
    for length in plans.Length:
        for make in (plans.copy_up, plans.metadata, plans.data, plans.jobs, plans.recording, plans.runtime):
            made = make(length)
            assert made.cases
            assert len(set(made.cases)) == len(made.cases)
            for case in made.cases:
                assert made.workload(case).count(case) >= 1
    full = plans.copy_up(plans.Length.FULL)
    assert {case.size for case in full.cases} >= {1, 1 << 30}
    assert {case.depth for case in full.cases} >= {1, 127}
    assert max(case.entries for case in plans.metadata(plans.Length.FULL).cases) == 100_000
