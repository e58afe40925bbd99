"""What is remembered of extended attributes is true: of those that are asked for in vain, again and again."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from fusefs import Stack, UnionFS
from fusefs.mapping import Presentation, PresentedUnion
from fusefs.union import Union

CAPABILITY = "security.capability"
ACCESS = "system.posix_acl_access"

#: What setcap(8) writes: one permitted capability, and an ACL that lets user 5 read.
VALUES = {
    CAPABILITY: struct.pack("<IIIII", 0x02000000, 1 << 10, 0, 0, 0),
    ACCESS: struct.pack("<I", 2)
    + b"".join(
        struct.pack("<HHI", tag, permissions, identity)
        for tag, permissions, identity in (
            (1, 6, 0xFFFFFFFF), (2, 4, 5), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 4, 0xFFFFFFFF),
        )
    ),
}  # fmt: skip


def layers(place: Path) -> tuple[Path, Path, Path]:
    lower, upper, work = (place / name for name in ("lower", "upper", "work"))
    for path in (lower, upper, work):
        path.mkdir()
    for name in ("one", "two"):
        (lower / name).write_bytes(b"lower")
    return lower, upper, work


def error_of(call: Callable[..., object], *arguments: object) -> int:
    try:
        call(*arguments)
    except OSError as error:
        return error.errno or 0
    return 0


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("name", sorted(VALUES))
def test_an_attribute_comes_and_goes_however_often_it_was_asked_for_in_vain(tmp_path: Path, name: str) -> None:
    lower, upper, work = layers(tmp_path)
    os.setxattr(lower / "two", name, VALUES[name])
    with UnionFS([lower], upper, work) as fs:
        fs.write_bytes("/new", b"new")
        assert fs.getxattr("/two", name) == VALUES[name]
        for path in ("/one", "/new"):
            for _ in range(3):
                assert error_of(fs.getxattr, path, name) == errno.ENODATA
            assert fs.listxattr(path) == []
            fs.setxattr(path, name, VALUES[name])
            assert fs.getxattr(path, name) == VALUES[name]
            assert fs.listxattr(path) == [name]
            fs.removexattr(path, name)
            assert error_of(fs.getxattr, path, name) == errno.ENODATA
            assert error_of(fs.removexattr, path, name) == errno.ENODATA
            assert fs.listxattr(path) == []
        fs.chmod("/two", 0o600)
        assert fs.listxattr("/two") == [name]
        fs.rename("/two", "/one")
        assert fs.listxattr("/one") == [name]


@pytest.mark.usefixtures("root")
def test_a_new_file_has_what_it_inherits(tmp_path: Path) -> None:
    lower, upper, work = layers(tmp_path)
    with UnionFS([lower], upper, work) as fs:
        fs.mkdir("/dir")
        assert error_of(fs.getxattr, "/dir", "system.posix_acl_default") == errno.ENODATA
        fs.setxattr("/dir", "system.posix_acl_default", VALUES[ACCESS])
        fs.write_bytes("/dir/new", b"")
        fs.mkdir("/dir/below")
        assert fs.listxattr("/dir/new") == [ACCESS]
        assert fs.getxattr("/dir/below", "system.posix_acl_default") == VALUES[ACCESS]


def test_what_is_not_shown_is_refused_each_time(tmp_path: Path) -> None:
    lower, upper, work = layers(tmp_path)
    union = PresentedUnion(Stack((lower,), upper, work), None, Presentation(access_lists=False))
    hidden = PresentedUnion(Stack((lower,)), None, Presentation(attributes=False))
    for one in (union, hidden):
        node = one.lookup(one.root, b"one")
        for _ in range(2):
            assert error_of(one.getxattr, node, ACCESS.encode()) == errno.EOPNOTSUPP
        one.close()


def test_times_are_set_together_or_alone(tmp_path: Path) -> None:
    lower, upper, work = layers(tmp_path)
    union = Union(Stack((lower,), upper, work))
    node = union.lookup(union.root, b"one")
    far, before = 4_102_444_800_123_456_789, -86_400_000_000_001
    union.utimens(node, far, before)
    assert (union.attributes(node).st_atime_ns, union.attributes(node).st_mtime_ns) == (far, before)
    union.utimens(node, None, far)
    assert (union.attributes(node).st_atime_ns, union.attributes(node).st_mtime_ns) == (far, far)
    link = union.symlink(union.root, b"link", b"one")
    union.utimens(link, before, before)
    assert stat.S_ISLNK(union.attributes(link).st_mode)
    assert union.attributes(link).st_mtime_ns == before
    assert union.attributes(node).st_mtime_ns == far
    union.close()
