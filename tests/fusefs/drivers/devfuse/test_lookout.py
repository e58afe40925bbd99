"""For how long a reader of /dev/fuse looks for the next request: a clock of our own, no kernel."""

from __future__ import annotations

import os

import pytest

from fusefs.drivers.devfuse import lookout
from fusefs.drivers.devfuse.lookout import Lookout

_REQUEST = [(3, 1)]


class World:
    """A clock that goes on by a microsecond with each look, and a processor that others may want."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, processors: int = 2) -> None:
        self.now = 0
        self.looks = 0
        self.taken = 0
        self.comes = -1
        self.put_off = 0
        monkeypatch.setattr(lookout, "perf_counter_ns", lambda: self.now)
        monkeypatch.setattr(os, "sched_yield", self._let_others)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))

    def _let_others(self) -> None:
        self.now += self.taken

    def look(self, _timeout: int) -> list[tuple[int, int]]:
        self.looks += 1
        self.now += 1000
        return _REQUEST if 0 <= self.comes <= self.now else []

    def idle(self) -> bool:
        if not self.put_off:
            return False
        self.put_off -= 1
        self.now += 5000
        return True

    def ask(self, at: Lookout, after: int) -> bool:
        """Let the next request come so many microseconds after the last answer; return whether it was seen."""
        self.looks = 0
        self.comes = self.now + after * 1000
        if at.sees(self.look, self.idle):
            return True
        self.now = max(self.now, self.comes)
        at.wakes()
        return False


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_whoever_asks_often_is_looked_for(world: World) -> None:
    at = Lookout(100)
    assert not world.ask(at, 20), "nobody has asked yet"
    assert world.looks == 1
    for _ in range(5):
        assert world.ask(at, 20)
    assert world.looks == 20


def test_looking_ends(world: World) -> None:
    at = Lookout(100)
    world.ask(at, 20)
    assert not world.ask(at, 150)
    assert 100 <= world.looks <= 101


def test_whoever_asks_seldom_is_not_looked_for(world: World) -> None:
    at = Lookout(100)
    for _ in range(5):
        assert not world.ask(at, 150)
        assert world.looks == 1
    world.ask(at, 20)
    world.ask(at, 1_000_000)
    world.ask(at, 1_000_000)
    assert world.looks == 1


def test_a_wanted_processor_is_left(world: World) -> None:
    at = Lookout(100)
    world.ask(at, 20)
    world.taken = 500_000
    assert not world.ask(at, 90)
    assert world.looks == 1
    world.taken = 0
    assert not world.ask(at, 5)
    assert world.looks == 1, "it rests for a while"
    world.now += 20_000_000
    world.ask(at, 5)
    assert world.ask(at, 5)


@pytest.mark.parametrize(("processors", "longest"), [(1, 100), (2, 0)])
def test_it_can_sleep_at_once(monkeypatch: pytest.MonkeyPatch, processors: int, longest: int) -> None:
    world = World(monkeypatch, processors)
    at = Lookout(longest)
    for _ in range(5):
        assert not world.ask(at, 5)
        assert world.looks == 1


def test_what_was_put_off_is_done_when_nobody_waits(world: World) -> None:
    at = Lookout(100)
    world.put_off = 50
    assert world.ask(at, 20), "somebody asked while it was at work"
    assert 40 < world.put_off < 50
    assert not world.ask(at, 1_000)
    assert not world.put_off, "all is done before it sleeps"
