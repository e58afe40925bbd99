"""Measures, held against each other and against plain counting."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fusefs import Effect, EffectKind, Kind, Operation
from sim.graph import (
    Entry,
    EntryType,
    Layer,
    LayerGraph,
    LayerStack,
    Replay,
    Role,
    copy_up_cost,
    disk_bytes,
    efficiency,
    history,
    journal_graph,
    lookup_depth,
    merged,
    savings,
    served_by,
    sizes,
    virtual_bytes,
    visible_bytes,
    waste,
    waste_by_path,
    waterfall,
)

NAMES = st.sampled_from(["a", "b", "c"])


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """A layer of files, directories, whiteouts, opaque marks and hard links."""
    entries = {"/": Entry("/", EntryType.DIRECTORY)}
    for _ in range(draw(st.integers(0, 8))):
        at = "/"
        for name in draw(st.lists(NAMES, min_size=1, max_size=3)):
            if not entries[at].is_dir:
                break
            at = f"{at.rstrip('/')}/{name}"
            entries.setdefault(at, Entry(at, EntryType.DIRECTORY))
        if at == "/" or any(path.startswith(at + "/") for path in entries) or not entries[at].is_dir:
            continue
        kind = draw(st.sampled_from(["file", "whiteout", "opaque", "link", "directory"]))
        if kind == "file":
            entries[at] = Entry(at, EntryType.FILE, draw(st.integers(0, 100)))
        elif kind == "whiteout":
            entries[at] = Entry(at, EntryType.WHITEOUT)
        elif kind == "opaque":
            entries[at] = Entry(at, EntryType.DIRECTORY, opaque=True)
        elif kind == "link":
            entries[at] = Entry(at, EntryType.FILE, 7, inode=1)
    key = str(draw(st.integers(0, 10**9)))
    return Layer(key, key, Role.RO, lambda: entries)


stacks = st.lists(layers(), min_size=0, max_size=4, unique_by=lambda layer: layer.key).map(
    lambda found: LayerStack("stack", tuple(found))
)


@given(stacks)
def test_bytes_are_either_seen_or_wasted(stack: LayerStack) -> None:
    wasted = sum(one.bytes for one in waste(stack))
    assert virtual_bytes(stack) == visible_bytes(stack) + wasted
    total = virtual_bytes(stack)
    assert efficiency(stack) == (visible_bytes(stack) / total if total else 1.0)


@given(stacks)
def test_waste_is_of_paths_that_the_merged_view_has_from_elsewhere_or_not_at_all(stack: LayerStack) -> None:
    view = merged(stack.layers)
    for one in waste(stack):
        assert one.by < one.layer
        seen = view.get(one.path)
        assert seen is None or stack.number(seen[0]) <= one.by or seen[1].is_dir
        if one.cause == "replaced":
            assert one.path in stack.layers[one.by - 1].entries


def test_of_n_copies_all_but_one_are_wasted() -> None:
    def layer(name: str, *entries: Entry) -> Layer:
        table = {entry.path: entry for entry in (Entry("/", EntryType.DIRECTORY), *entries)}
        return Layer(name, name, Role.RO, lambda: table)

    copies = [layer(str(n), Entry("/f", EntryType.FILE, 10)) for n in range(5)]
    found = waste(LayerStack("s", tuple(copies)))
    assert [(one.bytes, one.layer, one.by, one.cause) for one in found] == [
        (10, n, 1, "replaced") for n in (2, 3, 4, 5)
    ]
    found = waste(LayerStack("s", (layer("w", Entry("/f", EntryType.WHITEOUT)), *copies)))
    assert Counter(one.cause for one in found) == {"deleted": 5}


@given(
    st.lists(st.lists(st.integers(0, 5), unique=True, max_size=5), max_size=6),
    st.lists(st.integers(0, 99), min_size=6, max_size=6),
)
def test_sharing_is_what_plain_counting_says(images: list[list[int]], bytes_of: list[int]) -> None:
    graph = LayerGraph()
    made = [Layer(str(n), str(n), Role.RO, dict, size=size) for n, size in enumerate(bytes_of)]
    for index, members in enumerate(images):
        graph.add_image(f"image {index}", [f"tag{index}"], [made[n] for n in members])
    count = Counter(n for members in images for n in members)
    virtual = sum(bytes_of[n] for members in images for n in members)
    disk = sum(bytes_of[n] for n in count)
    assert disk_bytes(graph.all_stacks()) == disk
    for size, members in zip(sizes(graph), images, strict=True):
        assert size.virtual == sum(bytes_of[n] for n in members)
        assert size.unique == sum(bytes_of[n] for n in members if count[n] == 1)
        assert size.virtual == size.shared + size.unique
    fall = waterfall(graph, max_steps=2)
    assert (fall.virtual, fall.disk) == (virtual, disk)
    assert fall.virtual - sum(step.bytes for step in fall.steps) == fall.disk
    assert len(fall.steps) <= 2


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**6), max_size=100))
def test_savings_grow_by_the_image_with_each_container(image: int, rw: list[int]) -> None:
    found = savings(image, rw)
    assert [one.count for one in found] == list(range(1, len(rw) + 1))
    assert [one.saved for one in found] == [image * (one.count - 1) for one in found]
    assert all(one.shared == image + sum(rw[: one.count]) for one in found)


def test_amplification_and_who_served(journal: Path) -> None:
    stack = journal_graph(journal).stack()
    cost = copy_up_cost(stack)
    assert (cost.copy_ups, cost.copied, cost.written) == (2, 170, 772)
    assert cost.amplification == 170 / 772
    assert served_by(stack) == {0: 13, 1: 4, 2: 2, None: 1}


def test_amplification_without_a_write_is_infinite() -> None:
    copied = Operation(Kind.CHMOD, "/f", layer=0, effects=(Effect(EffectKind.COPIED_UP, "/f", 1, 5),), number=1)
    assert copy_up_cost(LayerStack("s", (), Replay().take_all([copied]))).amplification == float("inf")
    assert copy_up_cost(LayerStack("s", ())).amplification == 0


def test_lookup_depth_counts_each_layer_asked_for_each_name(journal: Path) -> None:
    stack = journal_graph(journal).stack()
    # etc is a directory in three layers, and all are asked; passwd is in the first that is asked.
    assert lookup_depth(stack, "/etc/passwd") == 3 + 1
    assert lookup_depth(stack, "/etc/hosts") == 3 + 2
    # bin: RW, app (not there), base. ash: a whiteout in RW ends it.
    assert lookup_depth(stack, "/bin/ash") == 3 + 1
    # usr: three asked, two have it; share: two; doc: opaque in RW, so only RW is asked for the file.
    assert lookup_depth(stack, "/usr/share/doc/readme") == 3 + 2 + 1 + 1
    assert lookup_depth(stack, "/") == 0


def words(stack: LayerStack, path: str) -> list[tuple[int, str, int]]:
    return [(event.layer, event.what, event.operation) for event in history(stack, path)]


def test_the_history_of_a_path_names_layers_and_operations(journal: Path) -> None:
    stack = journal_graph(journal).stack()
    assert words(stack, "/etc/passwd") == [(2, "added", 0), (0, "copied up", 6), (0, "written", 7)]
    assert words(stack, "/etc/hosts") == [(2, "added", 0), (1, "changed", 0)]
    assert words(stack, "/var/cache/index") == [(2, "added", 0), (1, "hidden", 0)]
    assert words(stack, "/app/start.py") == [(0, "renamed", 15)]
    assert words(stack, "/app/main.py") == [
        (1, "added", 0),
        (0, "copied up", 15),
        (0, "renamed", 15),
        (0, "hidden", 15),
    ]
    assert words(stack, "/usr/share/doc/readme") == [
        (2, "added", 0),
        (0, "hidden", 9),
        (0, "hidden", 11),
        (0, "hidden", 12),
    ]
    assert words(stack, "/tmp.log") == [(0, "created", 18), (0, "written", 19), (0, "removed", 20)]


def test_a_file_that_comes_back_is_restored() -> None:
    def layer(name: str, *entries: Entry) -> Layer:
        table = {entry.path: entry for entry in (Entry("/", EntryType.DIRECTORY), *entries)}
        return Layer(name, name, Role.RO, lambda: table)

    file = Entry("/f", EntryType.FILE, 3)
    mode = Entry("/f", EntryType.FILE, 3, mode=0o755)
    stack = LayerStack(
        "s", (layer("4", mode), layer("3", file), layer("2", Entry("/f", EntryType.WHITEOUT)), layer("1", file))
    )
    found = history(stack, "/f")
    assert [event.what for event in found] == ["added", "hidden", "restored", "mode changed"]
    assert found[-1].detail == "0000 → 0755"


def test_what_was_changed_of_a_file_is_told_by_name() -> None:
    base = Layer(
        "b", "b", Role.RO, lambda: {"/": Entry("/", EntryType.DIRECTORY), "/f": Entry("/f", EntryType.FILE, 5)}
    )
    done = [
        Operation(kind, "/f", 0, (Effect(EffectKind.METADATA, "/f"),), number=number)
        for number, kind in enumerate(
            (Kind.CHMOD, Kind.CHOWN, Kind.UTIMENS, Kind.TRUNCATE, Kind.SETXATTR, Kind.OPEN, Kind.CREATE), 1
        )
    ]
    top = Layer("t", "t", Role.RW, dict)
    stack = LayerStack("s", (top, base), Replay().take_all(done), lambda: iter(done))
    assert [event.what for event in history(stack, "/f")] == [
        "added",
        "mode changed",
        "owner changed",
        "times changed",
        "resized",
        "attribute changed",
        "emptied",
        "metadata changed",
    ]


@given(stacks)
def test_waste_by_path_adds_up_to_the_waste(stack: LayerStack) -> None:
    every = waste(stack)
    found = waste_by_path(stack)
    assert sum(one.bytes for one in found) == sum(one.bytes for one in every)
    assert len({one.path for one in found}) == len(found)
    for one in found:
        of_path = [each for each in every if each.path == one.path]
        assert one.copies == len(of_path)
        assert (set(one.layers), set(one.by)) == ({each.layer for each in of_path}, {each.by for each in of_path})
        assert min(one.by) < max(one.layers)


@given(stacks, st.lists(NAMES, max_size=4))
def test_lookup_depth_is_bounded_and_ends_where_the_path_is_served(stack: LayerStack, parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    depth = lookup_depth(stack, path)
    assert 0 <= depth <= len(stack.layers) * len(parts)
    if not parts:
        return
    seen = merged(stack.layers).get(path)
    if seen is not None and not seen[1].is_dir:
        # It is asked for at least once in each directory on the way, and in the layer that serves it.
        assert depth >= len(parts)
    if stack.layers and len(parts) == 1 and seen is not None and not seen[1].is_dir:
        assert depth == seen[0] + 1 or any(layer.entries["/"].opaque for layer in stack.layers)


READS = st.lists(
    st.tuples(st.sampled_from(["/a", "/b"]), st.sampled_from([None, 0, 1, 2]), st.integers(0, 50), st.booleans()),
    max_size=20,
)


@given(READS)
def test_who_served_how_much_is_what_plain_counting_says(done: list[tuple[str, int | None, int, bool]]) -> None:
    operations = [
        Operation(Kind.READ if read else Kind.LOOKUP, path, layer, size=size if read else 0, number=number)
        for number, (path, layer, size, read) in enumerate(done, 1)
    ]
    stack = LayerStack("s", (), Replay().take_all(operations), lambda: iter(operations))
    assert served_by(stack) == dict(Counter(layer for _, layer, _, _ in done))
    assert stack.replay is not None
    assert stack.replay.totals.read == sum(size for _, _, size, read in done if read)
    for (path, layer), reads in stack.replay.reads.items():
        mine = [(size, read) for p, where, size, read in done if (p, where) == (path, layer)]
        assert (reads.operations, reads.reads) == (len(mine), sum(read for _, read in mine))
        assert reads.bytes == sum(size for size, read in mine if read)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=10))
def test_amplification_is_bytes_copied_for_bytes_written(done: list[tuple[int, int]]) -> None:
    operations = []
    for number, (copied, written) in enumerate(done):
        up = (Effect(EffectKind.COPIED_UP, f"/f{number}", 1, copied),)
        operations.append(Operation(Kind.OPEN, f"/f{number}", 0, up, duration=5, number=2 * number + 1))
        wrote = (Effect(EffectKind.WRITTEN, f"/f{number}", size=written),)
        operations.append(Operation(Kind.WRITE, f"/f{number}", 0, wrote, written, number=2 * number + 2))
    cost = copy_up_cost(LayerStack("s", (), Replay().take_all(operations)))
    copied, written = sum(one for one, _ in done), sum(other for _, other in done)
    assert (cost.copy_ups, cost.copied, cost.written) == (len(done), copied, written)
    assert cost.seconds == sum(5 for one, _ in done if one) / 1e9
    if copied and written:
        assert cost.amplification == copied / written
