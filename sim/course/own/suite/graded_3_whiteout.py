"""Level whiteout: marks that are there are honoured, deletions leave them, and only where they are needed."""

import pytest

from sim.course.own.pair import Directory, Pair, Whiteout

pytestmark = pytest.mark.whiteout


def test_a_whiteout_hides_a_file(pair: Pair) -> None:
    pair.stack({"/etc/motd": Whiteout(), "/etc/more": "m"}, {"/etc/motd": "hidden\n", "/etc/hosts": "h\n"})
    pair.read("/etc/motd")
    pair.names("/etc")


def test_a_whiteout_hides_a_directory_and_all_in_it(pair: Pair) -> None:
    pair.stack({"/usr/share": Whiteout()}, {"/usr/share/doc/manual": "m", "/usr/bin/x": "x"})
    pair.tree()
    pair.read("/usr/share/doc/manual")


def test_a_name_above_a_whiteout_is_seen(pair: Pair) -> None:
    pair.stack({"/a": "again"}, {"/a": Whiteout()}, {"/a": "first"})
    pair.read("/a")
    pair.names("/")


def test_deleting_a_lower_file(pair: Pair) -> None:
    pair.stack({"/etc/motd": "m", "/etc/hosts": "h"})
    pair.unlink("/etc/motd")
    pair.read("/etc/motd")
    pair.names("/etc")
    pair.marks()


def test_deleting_a_file_of_the_upper_leaves_nothing(pair: Pair) -> None:
    pair.stack({"/etc/hosts": "h"}, upper={"/etc/new": "n"})
    pair.unlink("/etc/new")
    pair.names("/etc")
    pair.marks()


def test_deleting_a_file_of_upper_and_lower(pair: Pair) -> None:
    pair.stack({"/etc/motd": "below"}, upper={"/etc/motd": "above"})
    pair.unlink("/etc/motd")
    pair.status("/etc/motd")
    pair.marks()


def test_deleting_what_a_whiteout_hides_already_is_enoent(pair: Pair) -> None:
    pair.stack({"/a": Whiteout(), "/b": "b"}, {"/a": "x"})
    pair.unlink("/a")
    pair.marks()


def test_a_directory_must_look_empty(pair: Pair) -> None:
    pair.stack({"/d/x": "x", "/d/y": "y"})
    pair.rmdir("/d")
    pair.unlink("/d/x")
    pair.unlink("/d/y")
    pair.rmdir("/d")
    pair.names("/")
    pair.marks()


def test_a_directory_of_whiteouts_only_is_empty(pair: Pair) -> None:
    pair.stack({"/d": Directory()}, upper={"/d/gone": Whiteout(), "/d": Directory()})
    pair.names("/d")
    pair.rmdir("/d")
    pair.marks()


def test_parents_of_a_mark_keep_their_mode(pair: Pair) -> None:
    pair.stack({"/a": Directory(0o711), "/a/b": Directory(0o750), "/a/b/c": "c"})
    pair.unlink("/a/b/c")
    pair.status("/a")
    pair.status("/a/b")
