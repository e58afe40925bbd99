"""How long graphs and figures take, in one run: `python -m tests.sim.graph.benchmark [OPERATIONS] [--tree DIR]`.

Makes a journal of a million operations (or as many as are given) and a store of a thousand images with 100,000 files,
or takes a tree such as debootstrap makes, and prints for each step the median of some rounds and, for opening, the
largest resident size of a process of its own. Nothing here asserts a time: what another machine takes is its matter.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fusefs import Effect, EffectKind, Journal, JournalLayer, Kind, Operation, Recorder
from sim import graph
from sim.figures import FIGURES, draw, save
from sim.graph import LayerGraph
from sim.images import Store, file, image_from_layers, image_on

_OPEN = """
import re, sys, time
from pathlib import Path
from sim import graph
start = time.perf_counter()
{work}
taken = time.perf_counter() - start
print(taken, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""
_OPEN_JOURNAL = "graph.journal_graph(sys.argv[1])"
_OPEN_STORE = "from sim.images import Store\nwith Store(sys.argv[1]) as store: graph.store_graph(store)"
_IMPORT = "import time; start = time.perf_counter(); import sim.graph; print(time.perf_counter() - start, 0)"


def busy(count: int, files: int = 10_000, seed: int = 3) -> list[Operation]:
    """Return what a busy container does: mostly looks and reads, then copy-ups, writes, removals."""
    chance = random.Random(seed)
    paths = [f"/usr/lib/part{n % 100}/file{n}" for n in range(files)]
    done, copied = [], set()
    k, e = EffectKind, Effect
    for number in range(1, count + 1):
        path = chance.choice(paths)
        common = {"path": path, "start": 10**18 + number * 10**5, "duration": 20_000, "pid": 7}
        draw_of = chance.random()
        above = 0 if path in copied else 1
        if draw_of < 0.5:
            done.append(Operation(Kind.LOOKUP, layer=above, **common))  # type: ignore[arg-type]
        elif draw_of < 0.85:
            done.append(Operation(Kind.READ, layer=above, size=4096, **common))  # type: ignore[arg-type]
        elif path not in copied:
            copied.add(path)
            up = (e(k.COPIED_UP, path, 1, 4096),)
            done.append(Operation(Kind.OPEN, layer=0, effects=up, **common))  # type: ignore[arg-type]
        else:
            wrote = (e(k.WRITTEN, path, size=100),)
            done.append(Operation(Kind.WRITE, layer=0, size=100, effects=wrote, **common))  # type: ignore[arg-type]
    return done


def make_journal(place: Path, operations: int) -> Path:
    """Write a journal of so many operations on one read-only layer of 10,000 files."""
    lower = place / "lower"
    for number in range(100):
        (lower / f"usr/lib/part{number}").mkdir(parents=True)
    for number in range(10_000):
        (lower / f"usr/lib/part{number % 100}/file{number}").write_bytes(b"x" * 4096)
    layers = [JournalLayer(0, "rw", "web", place / "gone"), JournalLayer(1, "ro", "base", lower)]
    with Recorder(place / "journal.db", layers, batch=50_000) as record:
        for operation in busy(operations):
            record(operation)
    return place / "journal.db"


def make_store(place: Path, images: int, files: int) -> Path:
    """Make a store of so many images, on bases that they share, with so many files altogether."""
    with Store(place) as store:
        bases = []
        for number in range(10):
            entries = [file(f"/base{number}/d{n % 50}/f{n}", b"b") for n in range(files // 20)]
            bases.append(image_from_layers(store, [store.add_entries(entries)], tags=[f"base:{number}"]))
        for number in range(images - len(bases)):
            entries = [file(f"/app/d{n % 5}/f{n}", f"{number}") for n in range(files // 2 // images)]
            image_on(store, bases[number % len(bases)], entries, tags=[f"app:{number}"])
    return place


def timed(work: Callable[[], object], rounds: int = 3) -> float:
    """Return the median of the seconds that some work takes."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def apart(code: str, *arguments: object, rounds: int = 3) -> str:
    """Run code in processes of its own; the median of its seconds, and its largest resident size."""
    found = []
    for _ in range(rounds):
        words = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found.append(tuple(float(word) for word in done.stdout.split()))
    seconds, size = (statistics.median(column) for column in zip(*found, strict=True))
    return f"{seconds:7.2f} s" + (f"  {size:5.0f} MiB" if size else "")


def follow(journal: Path, count: int) -> float:
    """Return how many operations a second a graph takes that follows a journal."""
    whole = LayerGraph()
    stack = graph.add_journal(whole, journal, at=0)
    with Journal(journal) as reader:
        start = time.perf_counter()
        for operation in reader.operations(until=count):
            graph.advance(whole, stack, operation)
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operations", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--tree", type=Path, help="a root filesystem to make the graph and figures of")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="directory to make the data in, or to find them in")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        place = chosen.keep or Path(home)
        place.mkdir(exist_ok=True)
        print(f"import sim.graph                 {apart(_IMPORT, rounds=5)}")
        if chosen.tree is not None:
            of_tree(chosen.tree)
        journal = place / "journal.db"
        if not journal.exists():
            make_journal(place, chosen.operations)
        print(f"journal, {chosen.operations:>9,} operations  {apart(_OPEN.format(work=_OPEN_JOURNAL), journal)}")
        whole = graph.journal_graph(journal)
        of_figures(whole, "mount", "/usr/lib/part1/file1")
        print(f"following                        {follow(journal, min(chosen.operations, 100_000)):7.0f} operations/s")
        store = place / "store"
        if not store.exists():
            make_store(store, chosen.images, 100_000)
        print(f"store, {chosen.images:,} images              {apart(_OPEN.format(work=_OPEN_STORE), store)}")
        with Store(store) as opened:
            whole = graph.store_graph(opened)
            of_figures(whole, "app:1", "/app/d1/f1", only=("images", "sharing", "waterfall"))


def of_tree(tree: Path) -> None:
    """Measure the graph of a real root filesystem and its figures."""

    def build() -> LayerGraph:
        whole = graph.directories_graph([tree], name="tree")
        whole.add_files(whole.stack("tree"))
        return whole

    whole = build()
    print(f"tree, {len(whole.layers) and whole.nx.number_of_nodes():,} nodes                {timed(build):7.2f} s")
    of_figures(whole, "tree", "/etc/passwd")


def of_figures(whole: LayerGraph, stack: str, path: str, only: tuple[str, ...] = tuple(FIGURES)) -> None:
    """Measure each figure, data and drawing."""
    for name in only:
        try:
            of_figure(name, whole, stack, path)
        except graph.GraphError as error:
            print(f"  {name:<30} {error}")
            continue
        print(f"  {name:<30} {timed(partial(of_figure, name, whole, stack, path)):7.2f} s")


def of_figure(name: str, whole: LayerGraph, stack: str, path: str) -> None:
    """Prepare, draw and write one figure."""
    figure = draw(name, whole, stack, path=path if FIGURES[name].needs_path else "")
    save(figure, io.BytesIO(), form="png")


if __name__ == "__main__":
    os.nice(5)
    main()
