"""Level opaque: a directory that begins anew."""

import pytest

from sim.course.own.pair import Directory, Pair, Whiteout

pytestmark = pytest.mark.opaque


def test_an_opaque_directory_hides_all_below(pair: Pair) -> None:
    pair.stack({"/d": Directory(opaque=True), "/d/new": "n"}, {"/d/old": "o", "/d/sub/x": "x"})
    pair.tree()
    pair.read("/d/old")


def test_an_opaque_directory_in_the_middle(pair: Pair) -> None:
    pair.stack({"/d/top": "t"}, {"/d": Directory(opaque=True), "/d/middle": "m"}, {"/d/bottom": "b"})
    pair.tree()


def test_a_directory_made_anew_is_opaque(pair: Pair) -> None:
    pair.stack({"/d/old": "o"})
    pair.unlink("/d/old")
    pair.rmdir("/d")
    pair.mkdir("/d")
    pair.names("/d")
    pair.write("/d/new", "n")
    pair.tree()
    pair.marks()


def test_a_directory_in_a_files_place(pair: Pair) -> None:
    pair.stack({"/d": "a file"}, {"/d/hidden": "h"})
    pair.unlink("/d")
    pair.mkdir("/d")
    pair.tree()


def test_deleting_in_an_opaque_directory_leaves_nothing(pair: Pair) -> None:
    pair.stack({"/d/old": "o"}, upper={"/d": Directory(opaque=True), "/d/old": "mine"})
    pair.unlink("/d/old")
    pair.tree()
    pair.marks()


def test_a_new_directory_where_nothing_is_below_merges_with_nothing(pair: Pair) -> None:
    pair.stack({"/d": Whiteout(), "/x": "x"}, {"/d/old": "o"})
    pair.mkdir("/d")
    pair.tree()
