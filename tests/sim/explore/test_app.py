"""The explorer in a terminal, driven by its keys and the mouse, and read as a person reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from fusefs import JournalLayer, Recorder, UnionFS
from sim.explore import Target, open_target
from sim.explore.app import Explorer
from sim.explore.panes import Layers, Tree
from sim.graph import Entry, EntryType, Layer, LayerGraph, LayerStack, Role
from tests.sim.graph.conftest import write

SMALL = (80, 24)


def screen(app: Explorer) -> str:
    """Return what is on the screen, line by line, without blanks at the ends."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in lines[:height]) + "\n" * (
        width == 0
    )


def tree(app: Explorer) -> dict[str, list[str]]:
    """Return the words of each row of the tree before its name, by name."""
    place = app.query_one(Tree).content_region
    lines = screen(app).splitlines()[place.y : place.bottom]
    rows = [line[place.x : place.right].split() for line in lines]
    return {words[-1]: words[:-1] for words in rows if words}


def drive(target: Target, steps: Callable[[Explorer, Pilot[None]], Awaitable[None]], size: tuple[int, int]) -> None:
    async def main() -> None:
        app = Explorer(target)
        async with app.run_test(size=size) as pilot:
            await app.workers.wait_for_complete()
            await pilot.pause()
            await steps(app, pilot)

    try:
        asyncio.run(main())
    finally:
        target.close()


@pytest.fixture
def word(dirs: list[Path]) -> str:
    return ":".join(map(str, dirs))


def test_the_first_screen_in_a_small_terminal(word: str) -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        seen = screen(app).splitlines()
        assert len(seen) == 24
        assert max(map(len, seen)) <= 80
        assert seen[0].strip() == "stack clean:app:base  ·  3 layers  ·  5.4 KiB  ·  76% seen, 1.31 KiB wasted"
        assert "Layer 1 on all below" in seen[1]
        assert list(tree(app)) == ["bin/", "etc/", "srv/", "usr/", "var/"]
        for number, name in (("1", "clean"), ("2", "app"), ("3", "base")):
            assert any(line[1:25].split()[:2] == [number, name] for line in seen[2:6])
        for key in ("q Quit", "? Help", "v View", "h History", "w Waste", "/ Search"):
            assert key in seen[-1]

    drive(open_target(word), steps, SMALL)


def test_marks_are_letters_and_layers_are_stepped_through(word: str) -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("o")
        assert tree(app)["id_rsa"] == ["D", "20", "B", "2"]
        assert tree(app)["we\\x0aird\\xff\\x1b[31m"] == ["3", "B", "2"]
        await pilot.press("d")
        assert "Layer 2 on all below" in screen(app)
        assert tree(app)["hosts"] == ["M", "13", "B", "2"]
        await pilot.press("v")
        assert "Layer 2 alone" in screen(app)
        assert "passwd" not in screen(app)
        await pilot.press("v", "c")
        assert "changes only" in screen(app)
        assert "passwd" not in screen(app)

    drive(open_target(word), steps, SMALL)


def test_a_file_is_read_at_each_layer_that_has_it(word: str) -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"hosts", "enter", "enter")
        seen = screen(app)
        assert "10.0.0.1 app" in seen
        assert "version 1 of 2; this is what a process sees" in seen
        await pilot.press("d")
        seen = screen(app)
        assert "127.0.0.1 localhost" in seen
        assert "hidden by layer 2, and stored all the same" in seen
        await pilot.press("escape")
        assert "127.0.0.1" not in screen(app)

    drive(open_target(word), steps, SMALL)


def test_a_deleted_secret_can_be_read(word: str) -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"id_rsa", "enter", "enter")
        assert "BEGIN KEY" in screen(app)
        await pilot.press("escape", "h")
        seen = screen(app)
        assert "History of /srv/id_rsa" in seen
        assert "layer   2  added" in seen
        assert "layer   1  hidden" in seen

    drive(open_target(word), steps, SMALL)


def test_what_is_no_text_is_shown_in_hexadecimal(word: str) -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("right", "down", "enter")
        assert "00000000  00 01 00 01" in screen(app)

    drive(open_target(word), steps, SMALL)


def test_waste_and_help(word: str) -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("w")
        seen = screen(app)
        assert "cannot, in 4 files" in seen
        assert "/var/cache/index" in seen
        assert "deleted" in seen
        await pilot.press("q", "question_mark")
        assert "the history of a path" in screen(app)
        await pilot.press("q")
        assert isinstance(app.focused, Tree)

    drive(open_target(word), steps, SMALL)


def test_searching_goes_round_and_says_where_it_is(word: str) -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"s", "enter")
        assert "1 of 7: /bin/sh" in screen(app)
        await pilot.press("n")
        assert "2 of 7: /etc/hosts" in screen(app)
        await pilot.press("N", "N")
        assert "7 of 7: /usr/share" in screen(app)
        await pilot.press("slash", *"nowhere", "enter")
        assert "nothing here is called 'nowhere'" in screen(app)

    drive(open_target(word), steps, SMALL)


def test_the_mouse_opens_and_chooses(word: str) -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.click(Tree, offset=(30, 2))
        assert "passwd" in screen(app)
        await pilot.click(Layers, offset=(5, 3))
        assert "Layer 3 alone" in screen(app)

    drive(open_target(word), steps, SMALL)


def test_directories_are_closed_from_within(word: str) -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        pane = app.query_one(Tree)
        await pilot.press("down", "right", "right", "end")
        await pilot.press("home", "down", "down", "down", "left")
        assert pane.row is not None
        assert pane.row.path == "/etc"
        await pilot.press("left")
        assert [row.path for row in pane.rows] == ["/bin", "/etc", "/srv", "/usr", "/var"]

    drive(open_target(word), steps, SMALL)


@pytest.mark.parametrize("size", [(40, 10), (200, 60)])
def test_other_sizes_of_terminals(word: str, size: tuple[int, int]) -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("o", "w", "escape", "question_mark", "escape", "pagedown", "pageup", "tab", "down")
        assert len(screen(app).splitlines()) == size[1]

    drive(open_target(word), steps, size)


def test_nothing_at_all_can_be_looked_at() -> None:
    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        await pilot.press("o", "d", "v", "c", "h", "enter", "right", "left", "n")
        assert "nothing to see" in screen(app)
        await pilot.press("slash", "a", "enter", "w", "escape")
        assert "nothing here is called 'a'" in screen(app)

    drive(Target("stack", LayerGraph(), LayerStack("empty", ())), steps, SMALL)


def test_a_running_container_is_followed(tmp_path: Path) -> None:
    base, upper, work = (tmp_path / name for name in ("base", "upper", "work"))
    write(base, "/etc/motd", "hello")
    write(base, "/etc/issue", "issue")
    upper.mkdir()
    work.mkdir()
    journal = tmp_path / "web.db"
    layers = [JournalLayer(0, "rw", "web", upper), JournalLayer(1, "ro", "base", base)]
    with Recorder(journal, layers) as record, UnionFS([base], upper, work, record=record) as fs:

        async def steps(app: Explorer, pilot: Pilot[None]) -> None:
            assert "live, 0 operations" in screen(app)
            await pilot.press("o")
            fs.write_bytes("/etc/motd", b"changed!")
            fs.unlink("/etc/issue")
            fs.write_bytes("/new\x1b", b"n")
            record.flush()
            await pilot.pause(0.6)
            seen = tree(app)
            assert (seen["motd"][0], seen["issue"][0], seen["new\\x1b"][0]) == ("M", "D", "A")
            assert "/new\\x1b" in screen(app).splitlines()[-2]
            await pilot.press("f")
            fs.unlink("/etc/motd")
            record.flush()
            await pilot.pause(0.6)
            assert "stopped" in screen(app)
            await pilot.press("f")
            record.close()
            await pilot.pause(0.6)
            assert "ended" in screen(app)
            await pilot.press("w")
            assert "copied up, in 1 copy-up" in screen(app)

        drive(open_target(str(journal)), steps, SMALL)


@pytest.mark.parametrize("count", [1, 127])
def test_one_layer_and_127(count: int) -> None:
    layers = []
    for number in range(count):
        table = {"/": Entry("/", EntryType.DIRECTORY), "/same": Entry("/same", EntryType.FILE, number)}
        layers.append(Layer(f"l{number}", f"l{number}", Role.RO, lambda table=table: table))  # type: ignore[misc]

    async def steps(app: Explorer, pilot: Pilot[None]) -> None:
        assert f"{count} layer" in screen(app)
        await pilot.press("tab", "end")
        assert f"Layer {count} alone" in screen(app)
        assert tree(app)["same"][0] == "A"
        await pilot.press("tab", "enter")
        assert f"version {count} of {count}; hidden by layer 1" in screen(app) or count == 1
        await pilot.press("u", "d", "escape", "h")
        assert "History of /same" in screen(app)

    drive(Target("stack", LayerGraph(), LayerStack("deep", tuple(layers))), steps, SMALL)
