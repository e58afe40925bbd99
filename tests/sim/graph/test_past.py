"""The past as the journal's database adds it up, against the same operations taken one by one."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusefs import Effect, EffectKind, JournalLayer, Kind, Operation, Recorder
from sim import graph
from sim.graph import LayerStack, Replay, SourceError
from sim.graph.past import JournalPast, Past
from sim.graph.pathtree import PathTree

PATHS = ["/", "/a", "/a/b", "/a\udcff", "/c/d e"]
effects = st.builds(
    Effect,
    st.sampled_from([EffectKind.COPIED_UP, EffectKind.WRITTEN, EffectKind.WHITEOUT, EffectKind.METADATA]),
    st.sampled_from(PATHS[1:]),
    st.sampled_from([None, 1, 2]),
    st.integers(0, 9),
    st.sampled_from(["", "/a/b"]),
)
operations = st.lists(
    st.builds(
        Operation,
        st.sampled_from([Kind.READ, Kind.WRITE, Kind.LOOKUP, Kind.OPEN]),
        st.sampled_from(PATHS),
        st.sampled_from([None, 0, 1, 2]),
        st.lists(effects, max_size=2).map(tuple),
        st.integers(0, 99),
        start=st.integers(1, 99),
        duration=st.integers(0, 99),
        error=st.sampled_from([0, 0, 2]),
        offset=st.just(0),
        target=st.just(""),
        pid=st.just(0),
        number=st.just(0),
    ),
    max_size=12,
)


@settings(max_examples=50, deadline=None)
@given(operations, st.integers(0, 12))
def test_the_database_and_the_operations_one_by_one_say_the_same(done: list[Operation], until: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "journal.db"
        with Recorder(file, [JournalLayer(1, "ro", "base", Path("/nowhere"))]) as record:
            for operation in done:
                record(operation)
        until = min(until, len(done))
        some = [number for number in (1, 3) if number <= until]
        quick = JournalPast(file, lambda: until)
        plain = Past(lambda: iter(list(JournalPast(file, lambda: until)())))
        assert len(list(plain())) == until
        assert sorted(quick.tallies(), key=repr) == sorted(plain.tallies(), key=repr)
        assert sorted(quick.density(5), key=repr) == sorted(plain.density(5), key=repr)
        assert quick.span() == plain.span()
        assert quick.change_numbers() == plain.change_numbers()
        assert quick.plain_write() == plain.plain_write()
        assert quick.pick(some) == plain.pick(some)
        for kinds in (None, {EffectKind.WHITEOUT}, {EffectKind.COPIED_UP, EffectKind.METADATA}):
            for path in (None, "/a/b", "/a\udcff"):
                assert list(quick.changes(kinds, path=path)) == list(plain.changes(kinds, path=path))
        one, other = Replay().take_all(plain()), Replay().take_past(quick, until)
        assert (one.totals, one.reads, one.number) == (other.totals, other.reads, other.number)
        assert (one.entries, one.origins, one.missing) == (other.entries, other.origins, other.missing)


def test_a_past_that_is_gone_is_an_error_for_people(tmp_path: Path) -> None:
    past = JournalPast(tmp_path / "none.db", lambda: 0)
    for question in (past.tallies, past.span, past.change_numbers, past.plain_write, lambda: list(past())):
        with pytest.raises(SourceError, match=r"none.db: there is no such journal"):
            question()


def test_a_long_timeline_counts_all_and_names_what_passes_between_layers() -> None:
    chance = random.Random(1)
    done = []
    for number in range(1, 2001):
        effects = (Effect(EffectKind.WRITTEN, "/f", size=1),) if chance.random() < 0.5 else ()
        if number % 500 == 0:
            effects = (Effect(EffectKind.COPIED_UP, f"/f{number}", 1, 10),)
        done.append(Operation(Kind.OPEN, f"/f{number}", 0 if effects else 1, effects, start=number, number=number))
    lower = graph.Layer("base", "base", graph.Role.RO, dict)
    upper = graph.Layer("web", "web", graph.Role.RW, dict)
    stack = LayerStack("web", (upper, lower), Replay().take_all(done), lambda: iter(done))
    drawn = graph.timeline(stack, max_events=100, bins=10)
    assert sum(map(sum, drawn.counts)) == sum(1 for operation in done if not operation.effects)
    assert [note.number for note in drawn.notes] == [500, 1000, 1500, 2000]
    assert [(arrow.number, arrow.bytes) for arrow in drawn.arrows] == [(n, 10) for n in (500, 1000, 1500, 2000)]
    assert len(drawn.events) == 100
    assert (drawn.first, drawn.last, drawn.copy_ups, drawn.copied) == (1, 2000, 4, 40)


@given(st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from("abc"), max_size=3)), max_size=40))
def test_a_tree_of_paths_finds_what_is_below(steps: list[tuple[bool, list[str]]]) -> None:
    tree, plain = PathTree(), list[str]()
    for add, parts in steps:
        path = "/" + "/".join(parts)
        if add:
            tree.add(path)
            plain.append(path)
        else:
            tree.discard(path)
            if path in plain:
                plain.remove(path)
        for asked in ("/", "/a", "/a/b"):
            below = {one for one in plain if one == asked or one.startswith(asked.rstrip("/") + "/")}
            found = list(tree.below(asked))
            assert set(found) == below
            assert len(found) == len(below)
        assert (path in tree) == (path in plain)
