"""Files taken out of the layers are those that the mounted view has, and in the same tar."""

from __future__ import annotations

import os
import socket
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

import fusefs
from fusefs import Stack, UnionFS
from fusefs.union import Union
from sim.engine.fetching import Fetching
from sim.images.pack import pack, pack_members, pack_name

pytestmark = pytest.mark.usefixtures("root", "fuse")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Return three layers, the topmost with changes of each kind to the two below."""
    base, app, upper, work = (tmp_path / name for name in ("base", "app", "upper", "work"))
    for place in (base, app, upper, work):
        place.mkdir()
    for path in ("etc", "kept/deep/er", "gone", "opaque", "moved/inside", "merged"):
        (base / path).mkdir(parents=True)
    for path in ("etc/passwd", "kept/deep/er/file", "gone/file", "opaque/below", "moved/inside/file", "merged/base"):
        (base / path).write_text(path)
    (base / "twice").write_bytes(b"2")
    os.link(base / "twice", base / "merged/twice")
    (app / "merged").mkdir()
    (app / "merged/app").write_text("app")
    (app / "absolute").symlink_to("/merged")
    (app / "climbing").symlink_to("../../../kept/deep")
    (app / ("n" * 200)).write_text("a long name")
    (app / "naïve").write_text("not ASCII")
    os.mkfifo(app / "fifo")
    os.mknod(app / "null", 0o20666, os.makedev(1, 3))
    with open(app / "holes", "wb") as sparse:
        sparse.seek(1 << 20)
        sparse.write(b"end")
        sparse.truncate(3 << 20)
    (app / "large").write_bytes(os.urandom(700_000))
    whole = Stack((app, base), upper, work)
    with UnionFS(lower=[app, base], upper=upper, work=work) as view:
        view.write_bytes("/etc/passwd", b"changed")
        view.write_bytes("/merged/new", b"new")
        view.chmod("/merged/base", 0o4711)
        view.chown("/merged/app", 70_000, 5_000_000)
        view.unlink("/gone/file")
        view.rmdir("/gone")
        view.unlink("/opaque/below")
        view.rmdir("/opaque")
        view.mkdir("/opaque")
        view.write_bytes("/opaque/above", b"above")
        view.link("/merged/new", "/linked")
        view.setxattr("/merged/new", "user.mine", b"\0\1value")
        view.setxattr("/merged/new", "trusted.overlay.opaque", b"y")
        view.utimens("/merged/new", (5, 1_234_567_890_123_456_789))
        view.mkdir("/.wh-no-mark")
    (upper / "etc/void").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(upper)  # the path of a socket is short
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        yield whole


def members(data: bytes) -> list[tuple[object, ...]]:
    """Return all that a tar says."""
    found: list[tuple[object, ...]] = []
    with tarfile.open(fileobj=BytesIO(data)) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            content = stream.read() if stream is not None else b""
            found.append(
                (member.name, member.type, member.mode, member.uid, member.gid, member.mtime, member.linkname,
                 member.devmajor, member.devminor, dict(member.pax_headers), content)
            )  # fmt: skip
    return found


def of_layers(stack: Stack, path: str, shown: bytes, points: tuple[bytes, ...] = ()) -> bytes | None:
    assert stack.upper is not None
    data = bytearray()
    union = Union(Stack((stack.upper, *stack.lower)))
    try:
        fetching = Fetching(union)
        if not fetching.find(path, points):
            return None
        pack_members(fetching.members(shown), data.extend)
    finally:
        union.close()
    return bytes(data)


@pytest.mark.parametrize("path", ["/", "/kept", "/merged", "/opaque", "/absolute/", "/climbing/er", "/holes", "/etc"])
def test_a_tar_is_that_of_the_mounted_view(stack: Stack, path: str, tmp_path: Path) -> None:
    mountpoint = tmp_path / "view"
    mountpoint.mkdir()
    taken = of_layers(stack, path, b"shown")
    seen = bytearray()
    with fusefs.mount(stack, mountpoint):
        place = {"/absolute/": "/merged", "/climbing/er": "/kept/deep/er"}.get(path, path)
        above = os.open(f"{mountpoint}{os.path.dirname(place)}", os.O_RDONLY)
        try:
            pack_name(above, os.fsencode(os.path.basename(place) or "."), b"shown", seen.extend)
        finally:
            os.close(above)
    assert taken is not None
    assert members(taken) == members(bytes(seen))
    assert len(members(taken)) > (10 if path == "/" else 0)


def test_a_whole_view_is_that_of_the_mounted_one(stack: Stack, tmp_path: Path) -> None:
    mountpoint = tmp_path / "view"
    mountpoint.mkdir()
    assert stack.upper is not None
    taken, seen = bytearray(), bytearray()
    union = Union(Stack((stack.upper, *stack.lower)))
    try:
        pack_members(Fetching(union).whole(), taken.extend)
    finally:
        union.close()
    with fusefs.mount(stack, mountpoint):
        pack(mountpoint, seen.extend, as_layer=False)
    assert taken == seen
    assert b".wh." not in taken.replace(b".wh-no-mark", b"")


@pytest.mark.parametrize(
    ("path", "points"),
    [
        ("/merged", (b"/merged",)),
        ("/merged", (b"/merged/app",)),
        ("/merged/app", (b"/merged",)),
        ("/absolute/app", (b"/merged",)),
        ("/etc/../merged/app", (b"/etc",)),
        ("/", (b"/etc/hosts",)),
        ("/gone", (b"/gone",)),  # which is made before something is mounted there
        ("/gone/below", (b"/gone",)),
        ("/absolute", ()),  # a symlink is told of with where it leads
    ],
)
def test_what_is_mounted_is_not_in_the_layers(stack: Stack, path: str, points: tuple[bytes, ...]) -> None:
    assert of_layers(stack, path, b"shown", points) is None


def test_a_neighbour_of_something_mounted_is_in_the_layers(stack: Stack) -> None:
    assert of_layers(stack, "/merged", b"shown", (b"/merge", b"/merged2", b"/kept")) is not None


@pytest.mark.parametrize("path", ["/gone", "/gone/file", "/opaque/below", "/etc/passwd/", "/etc/passwd/x", "/socket/."])
def test_what_is_not_there_is_not_found(stack: Stack, path: str) -> None:
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        of_layers(stack, path, b"shown")


def test_a_file_that_is_cut_while_it_is_read_is_shown_as_it_is_then(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stack.upper is not None
    victim = stack.upper / "merged/new"
    victim.write_bytes(b"x" * 1000)
    read = Union.open

    def cut(union: Union, *words: object, **more: object) -> object:
        file = read(union, *words, **more)  # type: ignore[arg-type]
        victim.write_bytes(b"y" * 10)
        return file

    monkeypatch.setattr(Union, "open", cut)
    taken = of_layers(stack, "/merged/new", b"shown")
    assert taken is not None
    assert members(taken)[0][-1] == b"y" * 10
