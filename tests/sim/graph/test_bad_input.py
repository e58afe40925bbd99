"""What bad input gets: a graph or one line for people, never a traceback, never a wrong number."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fusefs import Journal, JournalLayer, Kind, Operation, Recorder
from sim import graph
from sim.figures import FIGURES, draw, explorer, stepper
from sim.graph import (
    Entry,
    EntryType,
    GraphError,
    Layer,
    LayerGraph,
    LayerStack,
    Role,
    SourceError,
    archive_graph,
    journal_graph,
)
from sim.images import Store, file, image_from_layers, image_on
from sim.images.archive import save
from tests.patience import until

WRITER = """
import sys
from pathlib import Path
from fusefs import Effect, EffectKind, JournalLayer, Kind, Operation, Recorder
place = Path(sys.argv[1])
record = Recorder(place / "journal.db", [JournalLayer(0, "rw", "web", place / "up"), JournalLayer(1, "ro", "b", place)],
                  flush_interval=0.01, batch=50)
print("ready", flush=True)
for number in range(10**7):
    effects = (Effect(EffectKind.WRITTEN, f"/f{number % 100}", size=1),) if number % 2 else ()
    record(Operation(Kind.WRITE, f"/f{number % 100}", 0, effects, size=1, start=number + 1))
    if number % 500 == 0:
        record.flush()
"""


def read(*parts: Callable[[], object]) -> str:
    """Do all of it; what is said if something cannot be done, one line for people."""
    try:
        for part in parts:
            part()
    except GraphError as error:
        said = str(error)
    else:
        return ""
    assert said
    assert "\n" not in said
    return said


def every_view(whole: LayerGraph, name: str) -> None:
    """Draw and export all there is of a stack; errors are for people."""
    for figure, known in FIGURES.items():
        read(partial(draw, figure, whole, name, path="/f1" if known.needs_path else ""))
    explorer(graph.exploration(whole.stack(name)))
    graph.to_json(whole)
    graph.to_graphml(whole)
    graph.to_dot(whole)


def recorded(path: Path) -> int:
    """Return how many operations have reached a journal."""
    with Journal(path) as journal:
        return len(journal)


def test_the_journal_of_a_killed_process_is_read_up_to_its_last_batch(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    until(lambda: recorded(tmp_path / "journal.db"))
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    whole = journal_graph(tmp_path / "journal.db")
    stack = whole.stack()
    assert stack.replay is not None
    totals = stack.replay.totals
    assert totals.operations == stack.replay.number > 0
    assert sum((totals.served or {}).values()) == totals.operations
    assert totals.written == totals.operations
    assert [op.number for op in stack.operations()] == list(range(1, totals.operations + 1))
    every_view(whole, "mount")


def damaged(journal: Path, tmp_path: Path, seed: int) -> Path:
    """Return a copy of a journal that was cut off, or in which some bytes are others."""
    chance = random.Random(seed)
    data = bytearray(journal.read_bytes())
    if seed % 3 == 0:
        del data[chance.randrange(len(data)) :]
    else:
        for _ in range(1 if seed % 3 == 1 else 200):
            data[chance.randrange(len(data))] = chance.randrange(256)
    copy = tmp_path / f"damaged-{seed}.db"
    copy.write_bytes(data)
    return copy


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_journal_is_a_line(journal: Path, tmp_path: Path, seed: int) -> None:
    with Journal(journal):
        pass  # so that all of it is in one file
    file = damaged(journal, tmp_path, seed)

    def look() -> None:
        stack = journal_graph(file).stack()
        stepper(graph.steps(stack))
        graph.timeline(stack)
        graph.heat(stack)
        graph.history(stack, "/etc/passwd")

    read(look)
    for moment in (0, 3):
        read(partial(journal_graph, file, at=moment))


def test_nothing_at_all_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for read in (journal_graph, archive_graph):
        with pytest.raises(SourceError, match="empty"):
            read(tmp_path / "empty")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An OCI layout of one image with two layers."""
    with Store(tmp_path / "store") as store:
        base = image_from_layers(store, [store.add_entries([file("/a", "a" * 500)])], tags=["base:1"])
        image_on(store, base, [file("/b", "b" * 500)], tags=["web:1"])
        with (tmp_path / "web.tar").open("wb") as stream:
            save(store, ["web:1"], stream.write)
    (tmp_path / "layout").mkdir()
    shutil.unpack_archive(tmp_path / "web.tar", tmp_path / "layout", filter="data")
    return tmp_path / "layout"


def test_any_file_of_an_archive_that_is_missing_is_named(layout: Path) -> None:
    files = [path for path in sorted(layout.rglob("*")) if path.is_file()]
    assert len(files) >= 5
    complained = 0

    def look() -> None:
        whole = archive_graph(layout)
        assert whole.stack("web:1").layers[0].bytes == 500
        assert sorted(graph.merged(whole.stack("web:1").layers)) == ["/", "/a", "/b"]

    for path in files:
        aside = path.with_suffix(".aside")
        path.rename(aside)
        said = read(look)
        assert not said or any(word in said for word in ("missing", "cannot be read", "neither"))
        complained += bool(said)
        aside.rename(path)
    assert complained >= 3  # the configuration and both layers, whichever document leads to them
    assert read(look) == ""


def test_any_file_of_an_archive_that_is_cut_off_is_a_line(layout: Path) -> None:
    def look() -> None:
        assert graph.virtual_bytes(archive_graph(layout).stack("web:1")) == 1000

    for path in [path for path in sorted(layout.rglob("*")) if path.is_file()]:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        read(look)
        path.write_bytes(data)


@pytest.mark.parametrize("count", [1, 127])
def test_one_layer_and_127(count: int) -> None:
    layers = []
    for number in range(count):
        table = {"/": Entry("/", EntryType.DIRECTORY)}
        table["/same"] = Entry("/same", EntryType.FILE, 10)
        table[f"/f{number}"] = Entry(f"/f{number}", EntryType.FILE, number)
        layers.append(Layer(f"l{number}", f"l{number}", Role.RO, lambda table=table: table))  # type: ignore[misc]
    whole = LayerGraph()
    whole.add_image("sha256:" + "a" * 64, ["deep:1"], layers)
    stack = whole.stack("deep:1")
    (same,) = graph.waste_by_path(stack) if count > 1 else (None,)
    if same is not None:
        assert (same.path, same.bytes, same.copies, same.by) == ("/same", 10 * (count - 1), count - 1, (1,))
    assert graph.lookup_depth(stack, "/f0") == 1
    assert graph.lookup_depth(stack, f"/f{count - 1}") == count
    every_view(whole, "deep:1")


@pytest.mark.parametrize(
    "name", ["/" + "x" * 1000, "/a\nb\t\x1b[31m\udcff", "/$x^2$", "/ ", "/\u202egnp.exe", "/--help"]
)
def test_odd_paths(tmp_path: Path, name: str) -> None:
    done = [
        Operation(Kind.LOOKUP, name, 1),
        Operation(Kind.READ, name, 1, size=5),
        Operation(Kind.OPEN, "/no", error=2),
    ]
    with Recorder(tmp_path / "journal.db", [JournalLayer(1, "ro", name.strip("/"), tmp_path / "gone")]) as record:
        for operation in done:
            record(operation)
    whole = journal_graph(tmp_path / "journal.db", name=name)
    assert whole.stack().replay is not None
    base = Layer("b", name, Role.RO, lambda: {"/": Entry("/", EntryType.DIRECTORY), name: Entry(name, EntryType.FILE)})
    whole.add_image("sha256:" + "b" * 64, [f"odd{name}"], [base])
    every_view(whole, f"odd{name}")
    every_view(whole, name)
    assert os.fsencode(name) not in graph.to_graphml(whole).encode() or name.isprintable()


def test_nothing_at_all() -> None:
    whole = LayerGraph()
    for figure in FIGURES:
        assert read(partial(draw, figure, whole, path="/")) in (
            "",
            "there are 0 images and containers; name one of them none",
        )
    whole.stacks["empty"] = LayerStack("empty", ())
    explorer(graph.exploration(whole.stack("empty")))
