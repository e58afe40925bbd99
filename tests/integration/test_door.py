"""What is put into a view at the door of who serves it is seen through the mount at once, and leads nowhere else."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import fusefs
from fusefs import Journal, Kind, Stack
from fusefs.door import fill
from fusefs.filling import Item
from fusefs.mount import find_mount
from tests.conftest import User
from tests.patience import until

pytestmark = pytest.mark.usefixtures("fuse")

FILE, DIRECTORY, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


@dataclass(frozen=True)
class View:
    """A mount with a door."""

    place: Path
    root: Path
    door: Path

    def put(self, *items: Item, directory: str = "/", points: tuple[bytes, ...] = ()) -> tuple[int, OSError | None]:
        """Hand items in, as their owner."""
        return fill(self.door, os.fsencode(directory), points, [mine(item) for item in items])


def mine(item: Item) -> Item:
    return Item(item.path, item.mode, os.getuid(), os.getgid(), item.modified, item.content)


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    for name in ("base", "upper", "work", "view"):
        (tmp_path / name).mkdir()
    (tmp_path / "base/etc").mkdir()
    (tmp_path / "base/etc/motd").write_text("of the base")
    (tmp_path / "base/etc/passwd").write_text("root")
    (tmp_path / "base/inside").symlink_to("etc")
    (tmp_path / "base/outside").symlink_to("/../../../../" + str(tmp_path))
    door = tmp_path / "door"
    stack = Stack((tmp_path / "base",), tmp_path / "upper", tmp_path / "work")
    fusefs.mount(stack, tmp_path / "view", driver="devfuse", door=door, journal=tmp_path / "journal.db")
    yield View(tmp_path, tmp_path / "view", door)
    if find_mount(tmp_path / "view") is not None:
        fusefs.unmount(tmp_path / "view")
    assert not door.exists()


def test_what_the_kernel_has_remembered_is_forgotten(view: View) -> None:
    root = view.root
    assert not (root / "new").exists()
    assert sorted(os.listdir(root / "etc")) == ["motd", "passwd"]
    assert (root / "etc/motd").read_text() == "of the base"
    before = (root / "etc").stat()
    with open(root / "etc/motd", "rb") as old:
        found = view.put(
            Item(b"new", FILE, modified=5_000_000_001, content=b"content"),
            Item(b"etc/motd", stat.S_IFREG | 0o600, modified=7, content=b"another"),
            Item(b"etc/more", LINK, modified=8, content=b"motd"),
            Item(b"tree", DIRECTORY, modified=9),
            Item(b"tree/below", FILE, content=b"x" * 100_000),
        )
        assert found == (5, None)
        assert old.read() == b"of the base"
    assert (root / "new").read_bytes() == b"content"
    assert (root / "new").stat().st_mtime_ns == 5_000_000_001
    assert (root / "etc/motd").read_text() == (root / "etc/more").read_text() == "another"
    assert stat.S_IMODE((root / "etc/motd").stat().st_mode) == 0o600
    assert sorted(os.listdir(root / "etc")) == ["more", "motd", "passwd"]
    assert (root / "etc").stat().st_mtime_ns > before.st_mtime_ns
    assert (root / "tree/below").stat().st_size == 100_000
    assert sorted(os.listdir(view.place / "upper")) == ["etc", "new", "tree"]


def test_a_directory_that_is_there_gets_what_the_item_says(view: View) -> None:
    (view.root / "etc").stat()
    assert view.put(Item(b"etc", stat.S_IFDIR | 0o711, modified=123_000_000_000)) == (1, None)
    found = (view.root / "etc").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o711, 123_000_000_000)
    assert fill(view.door, b"/", (), (), [(b"etc", 77)]) == (0, None)
    assert (view.root / "etc").stat().st_mtime_ns == 77


@pytest.mark.parametrize(
    ("item", "points"),
    [
        (Item(b"etc", FILE), ()),  # in place of a directory
        (Item(b"etc/motd", DIRECTORY), ()),  # a directory in place of a file
        (Item(b"absent/file", FILE), ()),
        (Item(b"etc/motd/file", FILE), ()),
        (Item(b"etc/passwd", FILE), (b"/etc/passwd",)),
        (Item(b"etc/passwd", FILE), (b"/etc",)),
        (Item(b"inside/passwd", FILE), (b"/etc",)),
        (Item(b"inside/../inside/passwd", FILE), (b"/etc",)),
    ],
)
def test_what_must_go_another_way_is_left(view: View, item: Item, points: tuple[bytes, ...]) -> None:
    first, last = Item(b"first", FILE), Item(b"last", FILE)
    assert view.put(first, item, last, points=points) == (1, None)
    assert (view.root / "first").exists()
    assert not (view.root / "last").exists()
    assert (view.root / "etc/passwd").read_text() == "root"


def test_nothing_leads_out_of_the_view(view: View) -> None:
    assert view.put(Item(b"inside/through", FILE, content=b"1")) == (1, None)
    assert (view.root / "etc/through").read_text() == "1"
    for path in (b"outside/base/through", b"../../base/through", b"inside/../../../base/through"):
        assert view.put(Item(path, FILE)) == (0, None)
    assert not (view.place / "base/through").exists()


def test_an_error_is_told_with_how_many_are_there(view: View) -> None:
    done, error = view.put(Item(b"first", FILE), Item(b"n" * 300, FILE), Item(b"last", FILE))
    assert (done, error and error.errno) == (1, errno.ENAMETOOLONG)
    assert not (view.root / "last").exists()


def test_it_is_recorded_as_what_whoever_came_has_done(view: View) -> None:
    view.put(Item(b"made", FILE, content=b"12345"))

    def told() -> list[tuple[Kind, int, int]]:
        with Journal(view.place / "journal.db") as journal:
            return [(each.kind, each.size, each.pid) for each in journal.operations() if each.path == "/made"]

    until(lambda: (Kind.WRITE, 5, os.getpid()) in told(), told)
    assert (Kind.CREATE, 0, os.getpid()) in told()


def test_others_are_busy_meanwhile(view: View) -> None:
    (view.root / "busy").mkdir()
    script = "import os\nfor n in range(500):\n open(f'{n}', 'w').close(); os.listdir('.'); os.unlink(f'{n}')"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=view.root / "busy")
    try:
        for number in range(10):
            items = [Item(b"%d-%d" % (number, each), FILE, content=b"x") for each in range(50)]
            assert view.put(*items, directory="/busy") == (50, None)
    finally:
        assert process.wait(100) == 0
    assert len(os.listdir(view.root / "busy")) == 500


def test_who_does_not_go_on_keeps_nobody(view: View) -> None:
    with socket.socket(socket.AF_UNIX) as caller, socket.socket(socket.AF_UNIX) as gone:
        caller.connect(str(view.door))
        caller.sendall(b"\1")
        gone.connect(str(view.door))
        gone.sendall(b"\xff" * 16)  # more than anybody may say
        gone.close()
        assert (view.root / "etc/motd").read_text() == "of the base"
        began = time.monotonic()
        fusefs.unmount(view.root, timeout=60)
        assert time.monotonic() - began < 9  # who serves has not waited until it gave the caller up
    with pytest.raises(OSError):  # noqa: PT011
        view.put(Item(b"late", FILE))


def test_another_user_is_not_heard(view: View, root: None, user: User, tool: Callable[[str], str]) -> None:
    for place in (view.place, *view.place.parents[:-2]):
        place.chmod(0o755)
    os.chmod(view.door, 0o777)
    script = (
        "import socket, sys\ns = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "try: s.sendall(bytes(16)); print(s.recv(8))\nexcept (BrokenPipeError, ConnectionResetError): print(b'')"
    )
    command = [tool("setpriv"), f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups", sys.executable, "-c"]
    said = subprocess.run([*command, script, str(view.door)], capture_output=True, text=True, timeout=60, check=False)
    assert said.stdout == "b''\n", said.stderr
