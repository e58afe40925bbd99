"""Level rename: another name, with what it leaves behind and what it replaces."""

import pytest

from sim.course.own.pair import File, Pair

pytestmark = pytest.mark.rename


def test_renaming_a_lower_file(pair: Pair) -> None:
    pair.stack({"/etc/motd": File("welcome\n", 0o640), "/etc/hosts": "h"})
    pair.rename("/etc/motd", "/etc/issue")
    pair.read("/etc/motd")
    pair.read("/etc/issue")
    pair.status("/etc/issue")
    pair.names("/etc")
    pair.marks()


def test_renaming_a_file_of_the_upper_leaves_nothing(pair: Pair) -> None:
    pair.stack({"/etc/hosts": "h"}, upper={"/etc/new": "n"})
    pair.rename("/etc/new", "/etc/newer")
    pair.tree()
    pair.marks()


def test_renaming_onto_a_lower_file(pair: Pair) -> None:
    pair.stack({"/a": "a\n", "/b": "b, hidden afterwards\n"})
    pair.rename("/a", "/b")
    pair.tree()
    pair.unlink("/b")
    pair.names("/")
    pair.marks()


def test_renaming_onto_a_deleted_name(pair: Pair) -> None:
    pair.stack({"/a": "a\n", "/d/b": "b\n"})
    pair.unlink("/d/b")
    pair.rename("/a", "/d/b")
    pair.tree()
    pair.marks()


def test_a_lower_directory_cannot_be_moved(pair: Pair) -> None:
    pair.stack({"/d/x": "x"})
    pair.rename("/d", "/e")
    pair.tree()


def test_a_directory_of_the_upper_can(pair: Pair) -> None:
    pair.stack({"/other": "o"}, upper={"/d/x": "x", "/d/y/z": "z"})
    pair.rename("/d", "/e")
    pair.tree()


def test_what_is_not_there_and_what_does_not_fit(pair: Pair) -> None:
    pair.stack({"/a": "a", "/d/x": "x"}, upper={"/u/v": "v"})
    pair.rename("/nothing", "/b")
    pair.rename("/a", "/d")
    pair.rename("/u", "/a")
    pair.rename("/u", "/d")
    pair.tree()
