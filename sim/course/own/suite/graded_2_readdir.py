"""Level readdir: what a merged directory lists."""

import pytest

from sim.course.own.pair import Directory, Link, Pair

pytestmark = pytest.mark.readdir


def test_names_of_one_layer(pair: Pair) -> None:
    pair.stack({"/a": "1", "/b": "2", "/d": Directory()})
    pair.names("/")
    pair.names("/d")


def test_names_of_all_layers_each_once(pair: Pair) -> None:
    pair.stack({"/e/a": "1", "/e/b": "2"}, {"/e/b": "3", "/e/c": "4"}, upper={"/e/d": "5"})
    pair.names("/e")


def test_a_file_in_the_middle_ends_the_merging(pair: Pair) -> None:
    pair.stack({"/e/a": "1"}, {"/e": "a file"}, {"/e/z": "not seen"})
    pair.names("/e")


def test_what_is_no_directory_is_not_listed(pair: Pair) -> None:
    pair.stack({"/file": "x"})
    pair.names("/file")
    pair.names("/nothing")


def test_many_names(pair: Pair) -> None:
    pair.stack({f"/many/{n}": "" for n in range(400)}, {f"/many/{n}": "" for n in range(300, 900)})
    pair.names("/many")


def test_the_whole_tree(pair: Pair) -> None:
    pair.stack(
        {"/usr/bin/python": "py", "/etc/motd": "top\n", "/lib": Link("usr/lib")},
        {"/usr/lib/libc": "c" * 70_000, "/etc/motd": "bottom\n", "/etc/hosts": "localhost\n"},
        upper={"/var/log/syslog": "line\n"},
    )
    pair.tree()
