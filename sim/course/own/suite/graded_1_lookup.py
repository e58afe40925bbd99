"""Level lookup: which layer answers."""

import pytest

from sim.course.own.pair import Directory, File, Link, Pair

pytestmark = pytest.mark.lookup


def test_a_file_of_one_layer_is_read(pair: Pair) -> None:
    pair.stack({"/etc/motd": "welcome\n"})
    pair.read("/etc/motd")
    pair.status("/etc/motd")


def test_a_name_that_nobody_has_is_enoent(pair: Pair) -> None:
    pair.stack({"/etc/motd": "welcome\n"})
    pair.read("/etc/shadow")
    pair.status("/nothing/at/all")


def test_the_topmost_file_is_seen(pair: Pair) -> None:
    pair.stack({"/etc/motd": "top\n"}, {"/etc/motd": "middle\n"}, {"/etc/motd": "bottom, and longer\n"})
    pair.read("/etc/motd")
    pair.status("/etc/motd")


def test_the_upper_is_above_all(pair: Pair) -> None:
    pair.stack({"/etc/motd": "below\n"}, upper={"/etc/motd": "above\n"})
    pair.read("/etc/motd")


def test_directories_of_one_name_merge(pair: Pair) -> None:
    pair.stack({"/usr/bin/python": "py"}, {"/usr/lib/libc": "c"}, {"/usr/lib/libm": "m"}, upper={"/usr/share/doc": "d"})
    for path in ("/usr/bin/python", "/usr/lib/libc", "/usr/lib/libm", "/usr/share/doc"):
        pair.read(path)


def test_a_file_in_the_middle_ends_the_search(pair: Pair) -> None:
    pair.stack({"/a/b": "a file"}, {"/a/b/c": "hidden"})
    pair.status("/a/b")
    pair.read("/a/b")
    pair.read("/a/b/c")


def test_a_directory_above_a_file_hides_it(pair: Pair) -> None:
    pair.stack({"/a/b/c": "seen"}, {"/a/b": "a file"}, {"/a/b/d": "not merged: the file is between"})
    pair.status("/a/b")
    pair.read("/a/b/c")
    pair.read("/a/b/d")


def test_modes_are_those_of_the_serving_layer(pair: Pair) -> None:
    pair.stack({"/tool": File("x", 0o755), "/d": Directory(0o700)}, {"/tool": File("y", 0o600), "/d": Directory(0o755)})
    pair.status("/tool")
    pair.status("/d")


def test_a_symlink_is_an_object_and_leads_through_the_mount(pair: Pair) -> None:
    pair.stack({"/link": Link("etc/motd"), "/dangling": Link("/nowhere")}, {"/etc/motd": "found through the mount\n"})
    pair.readlink("/link")
    pair.status("/link")
    pair.readlink("/dangling")
    pair.read("/link")


def test_no_symlink_leads_out_of_a_layer(pair: Pair) -> None:
    pair.stack({"/etc": Link("/etc")}, {"/etc/passwd": "of the layer\n"})
    pair.status("/etc")
    pair.readlink("/etc")
