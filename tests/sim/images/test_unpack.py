"""What an unpacked layer looks like: whiteouts in any order, later members over earlier ones, and hostile tars."""

from __future__ import annotations

import itertools
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from sim.images.entry import Entry, Kind, directory, file, hardlink, opaque, symlink, whiteout
from sim.images.errors import LayerTarError
from sim.images.pack import pack
from sim.images.tarwrite import TarWriter
from sim.images.unpack import Unpacked, measure, remove_tree, unpack


def tar(entries: Sequence[Entry]) -> bytes:
    parts: list[bytes] = []
    writer = TarWriter(lambda data: parts.append(bytes(data)))
    for entry in entries:
        writer.add(entry)
    writer.finish()
    return b"".join(parts)


def layer(target: Path, entries: Sequence[Entry]) -> Unpacked:
    target.mkdir(exist_ok=True)
    found = unpack([tar(entries)], target)
    assert found == measure(target)
    return found


def mark(path: Path) -> str:
    status = os.lstat(path)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return "whiteout"
    if stat.S_ISDIR(status.st_mode):
        names = ("trusted.overlay.opaque", "user.overlay.opaque")
        found = set(os.listxattr(path)) & set(names)
        return "opaque" if found else "directory"
    return "link" if stat.S_ISLNK(status.st_mode) else "file"


def look(root: Path) -> dict[str, str]:
    found = {}
    for here, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(here) / name
            found[str(path.relative_to(root))] = mark(path)
    return found


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([whiteout("a")], {"a": "whiteout"}),
        ([whiteout("d/a")], {"d": "directory", "d/a": "whiteout"}),
        ([whiteout("a"), file("a", "x")], {"a": "file"}),
        ([whiteout("a"), directory("a")], {"a": "opaque"}),
        ([whiteout("a"), file("a/b")], {"a": "opaque", "a/b": "file"}),
        ([whiteout("a"), whiteout("a/b")], {"a": "opaque", "a/b": "whiteout"}),
        ([directory("a"), opaque("a"), file("a/b")], {"a": "opaque", "a/b": "file"}),
        ([whiteout("a"), symlink("a", "b")], {"a": "link"}),
        ([opaque("a")], {"a": "opaque"}),
    ],
)
def test_marks_in_any_order(tmp_path: Path, entries: list[Entry], expected: dict[str, str]) -> None:
    for number, order in enumerate(itertools.permutations(entries)):
        layer(tmp_path / str(number), order)
        assert look(tmp_path / str(number)) == expected, order


def test_later_members_win(tmp_path: Path) -> None:
    layer(tmp_path / "1", [file("a", "old"), file("a", "new"), directory("d"), file("d/x"), file("d", "file now")])
    assert (tmp_path / "1" / "a").read_text() == "new"
    assert look(tmp_path / "1") == {"a": "file", "d": "file"}
    layer(tmp_path / "2", [file("a"), directory("a"), file("a/b")])
    assert look(tmp_path / "2") == {"a": "opaque", "a/b": "file"}  # the file had hidden what lies below
    layer(tmp_path / "3", [file("a/b"), directory("a", 0o700)])
    assert look(tmp_path / "3") == {"a": "directory", "a/b": "file"}
    assert stat.S_IMODE(os.stat(tmp_path / "3" / "a").st_mode) == 0o700


def test_hard_links_count_once(tmp_path: Path) -> None:
    found = layer(tmp_path / "l", [file("a", "12345"), hardlink("b", "a"), symlink("s", "a"), hardlink("t", "s")])
    assert (found.size, found.entries) == (6, 4)
    assert os.path.samefile(tmp_path / "l" / "a", tmp_path / "l" / "b")
    assert os.readlink(tmp_path / "l" / "t") == "a"


def test_a_whiteout_of_the_longest_name(tmp_path: Path) -> None:
    name = "n" * 255
    layer(tmp_path / "l", [whiteout(name)])
    assert look(tmp_path / "l") == {name: "whiteout"}
    parts: list[bytes] = []
    pack(tmp_path / "l", lambda data: parts.append(bytes(data)))
    (tmp_path / "copy").mkdir()
    unpack(parts, tmp_path / "copy")
    assert look(tmp_path / "copy") == {name: "whiteout"}


def test_opaque_root(tmp_path: Path) -> None:
    assert layer(tmp_path / "l", [opaque(""), file("a")]).opaque


def raw(name: bytes, flag: bytes = b"0", link: bytes = b"", content: bytes = b"") -> bytes:
    """Return a member as no honest writer spells it."""
    head = bytearray(512)
    head[: len(name)] = name
    head[100:108] = b"0000644\0"
    head[108:124] = b"0000000\0" * 2
    head[124:136] = b"%011o\0" % len(content)
    head[136:148] = b"%011o\0" % 0
    head[156:157] = flag
    head[157 : 157 + len(link)] = link
    head[257:265] = b"ustar\00000"
    head[329:345] = b"0000001\0" * 2
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + content + bytes(-len(content) % 512)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([raw(b"../escape")], "'..' could leave"),
        ([raw(b"a/../../escape")], "'..' could leave"),
        ([raw(b"/etc/passwd")], "absolute name"),
        ([raw(b"out", b"2", b"OUTSIDE"), raw(b"out/x", content=b"x")], "symbolic link"),
        ([raw(b"out", b"2", b"OUTSIDE"), raw(b"out/.wh.victim")], "symbolic link"),
        ([raw(b"out", b"2", b"OUTSIDE"), raw(b"out/.wh..wh..opq")], "symbolic link"),
        ([raw(b"d/"), raw(b"d/out", b"2", b".."), raw(b"d/out/x", content=b"x")], "symbolic link"),
        ([raw(b"out", b"2", b"OUTSIDE"), raw(b"stolen", b"1", b"out/victim")], "no file of this layer"),
        ([raw(b"stolen", b"1", b"../OUTSIDE/victim")], "'..' could leave"),
        ([raw(b"stolen", b"1", b"/etc/passwd")], "absolute name"),
        ([raw(b"stolen", b"1", b"missing")], "no file of this layer"),
        ([raw(b"self"), raw(b"self", b"1", b"self")], "hard link to itself"),
        ([raw(b"d/", b"5"), raw(b"l", b"1", b"d")], "no file of this layer"),
        ([raw(b".wh...")], "could leave"),
        ([raw(b".wh..")], "could leave"),
        ([raw(b"d/.wh...")], "could leave"),
        ([raw(b".wh.")], "could leave"),
        ([raw(b".wh.a/b")], "anything below"),
        ([raw(b"f"), raw(b"f/x")], "through a symbolic link or a file"),
        ([raw(b"./", b"2", b"OUTSIDE")], "root"),
        ([raw(b"n" * 99, b"?")], "unknown type"),
        ([raw(b"l", b"2", b"")], "without a target"),
    ],
)
def test_hostile_members_stay_inside(tmp_path: Path, members: list[bytes], message: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    before = sorted(os.listdir(tmp_path)), os.stat(outside).st_mtime_ns
    target = tmp_path / "outside" / "layer"
    data = b"".join(members)
    at = data.find(b"OUTSIDE")
    if at >= 0:  # the link leads to the real directory outside; the header's checksum is set anew
        place = os.fsencode(outside)
        block = at - at % 512
        changed = bytearray(data)
        changed[at : at + 100] = (place + data[at + 7 : block + 257]).ljust(100, b"\0")[:100]
        changed[block + 148 : block + 156] = b" " * 8
        changed[block + 148 : block + 156] = b"%06o\0 " % sum(changed[block : block + 512])
        data = bytes(changed)
    target.mkdir()
    with pytest.raises(LayerTarError, match=message) as caught:
        unpack([data + bytes(1024)], target)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == before[0]
    assert sorted(os.listdir(outside)) == ["layer", "victim"]
    assert (outside / "victim").read_text() == "untouched"
    assert os.stat(outside / "victim").st_nlink == 1


def test_a_symlink_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    layer(tmp_path / "l", [symlink("x", "../victim"), file("x", "new"), symlink("d", ".."), directory("d")])
    assert (tmp_path / "victim").read_text() == "untouched"
    assert look(tmp_path / "l") == {"x": "file", "d": "opaque"}


@pytest.mark.usefixtures("root")
def test_forged_overlay_attributes_become_data(tmp_path: Path) -> None:
    forged = Entry(
        b"d", Kind.DIRECTORY, 0o755, xattrs=((b"trusted.overlay.opaque", b"y"), (b"trusted.overlay.redirect", b"/"))
    )
    layer(tmp_path / "l", [forged])
    assert sorted(os.listxattr(tmp_path / "l" / "d")) == [
        "trusted.overlay.overlay.opaque",
        "trusted.overlay.overlay.redirect",
    ]


@pytest.mark.usefixtures("root")
def test_a_device_when_unprivileged() -> None:
    with tempfile.TemporaryDirectory() as place:
        os.chown(place, 65534, 65534)
        target = Path(place)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgid(65534)
                os.setuid(65534)
                unpack([tar([file("mine", "1", uid=5), whiteout("gone"), directory("o"), opaque("o")])], target)
                assert look(target) == {"mine": "file", "gone": "whiteout", "o": "opaque"}
                try:
                    unpack([tar([Entry(b"null", Kind.CHARACTER, 0o666, device=(1, 3))])], target)
                except LayerTarError as error:
                    code = 0 if "root" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_very_deep_paths(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 2000)
    layer(tmp_path / "l", [file(deep + "/leaf", "x")])
    parts: list[bytes] = []
    pack(tmp_path / "l", lambda data: parts.append(bytes(data)))
    (tmp_path / "copy").mkdir()
    assert unpack(parts, tmp_path / "copy").entries == 2001
    here = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        remove_tree(here, b"l")
        remove_tree(here, b"copy")
    finally:
        os.close(here)
    assert os.listdir(tmp_path) == []


def test_too_many_members(tmp_path: Path) -> None:
    with pytest.raises(LayerTarError, match="more than 2 members"):
        unpack([tar([file("a"), file("b"), file("c")])], tmp_path, most_entries=2)
