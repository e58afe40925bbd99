"""Level copyup: changes go to a copy, which is complete; nothing is copied for nothing."""

import pytest

from sim.course.own.pair import Directory, File, Link, Pair, Whiteout

pytestmark = pytest.mark.copyup


def test_appending_to_a_lower_file(pair: Pair) -> None:
    pair.stack({"/etc/motd": "welcome\n"})
    pair.append("/etc/motd", "more\n")
    pair.read("/etc/motd")


def test_a_copy_keeps_mode_and_a_chmod_keeps_content(pair: Pair) -> None:
    pair.stack({"/bin/tool": File("#!/bin/sh\n", 0o755), "/secret": File("s", 0o600)})
    pair.append("/bin/tool", "exit\n")
    pair.status("/bin/tool")
    pair.chmod("/secret", 0o400)
    pair.status("/secret")
    pair.read("/secret")


def test_a_copy_keeps_the_time(pair: Pair) -> None:
    pair.stack({"/old": File("x", mtime=1_000_000_000 * 10**9)})
    pair.chmod("/old", 0o600)
    pair.times("/old")


def test_a_large_file_is_copied_whole(pair: Pair) -> None:
    pair.stack({"/big": "0123456789abcdef" * 40_000})
    pair.append("/big", "end")
    pair.status("/big")
    pair.read("/big")


def test_writing_anew_and_truncating(pair: Pair) -> None:
    pair.stack({"/a": "a long text\n", "/b": "another\n"})
    pair.write("/a", "short\n")
    pair.truncate("/b", 3)
    pair.read("/a")
    pair.read("/b")


def test_reading_copies_nothing(pair: Pair) -> None:
    pair.stack({"/a": "a", "/d/b": "b"})
    pair.tree()
    assert pair.upper("/a") is None, "reading /a made a copy in the upper"
    assert pair.upper("/d") is None, "listing /d made a copy in the upper"


def test_new_files_and_directories(pair: Pair) -> None:
    pair.stack({"/d/old": "o"})
    pair.write("/d/new", "n\n")
    pair.mkdir("/d/sub")
    pair.write("/d/sub/deep", "deep\n")
    pair.symlink("old", "/d/link")
    pair.mkdir("/d/old")
    pair.tree()
    pair.marks()


def test_a_new_file_takes_the_place_of_a_whiteout(pair: Pair) -> None:
    pair.stack({"/a": "old"})
    pair.unlink("/a")
    pair.write("/a", "new")
    pair.read("/a")
    pair.unlink("/a")
    pair.names("/")
    pair.marks()


def test_parents_are_copied_with_their_modes(pair: Pair) -> None:
    pair.stack({"/a": Directory(0o711), "/a/b": Directory(0o750), "/a/b/c": "c"})
    pair.append("/a/b/c", "more")
    pair.status("/a")
    pair.status("/a/b")


def test_a_new_file_where_nobody_sees_a_lower_one(pair: Pair) -> None:
    pair.stack({"/a": Whiteout(), "/k": Link("x")}, {"/a": "deep below"})
    pair.write("/a", "new")
    pair.unlink("/a")
    pair.names("/")
    pair.marks()
