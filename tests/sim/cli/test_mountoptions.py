"""Option strings of mount(8)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs.marks import Format
from fusefs.stack import Redirect
from sim.cli.mountoptions import parse


def test_all_options_at_once() -> None:
    said = parse(
        "rw,lowerdir=/c:/b:/a,upperdir=/u,workdir=/w,index=on,metacopy=on,redirect_dir=nofollow,volatile,userxattr"
    )
    assert said.lower == (Path("/c"), Path("/b"), Path("/a"))
    assert (said.upper, said.work) == (Path("/u"), Path("/w"))
    assert said.options.index
    assert said.options.metacopy
    assert said.options.volatile
    assert said.options.redirect is Redirect.NOFOLLOW
    assert said.options.marks is Format.USER


def test_lower_directories_one_by_one_are_the_topmost_first() -> None:
    # As the kernel has it since 6.5: each `lowerdir+` lies below those before it.
    assert parse("lowerdir+=/top,lowerdir+=/base").lower == (Path("/top"), Path("/base"))


def test_a_colon_separates_only_where_it_is_a_separator() -> None:
    assert parse("lowerdir+=/a:b").lower == (Path("/a:b"),)
    assert parse(r"upperdir=/a\,b,workdir=/c").upper == Path("/a,b")


def test_read_only_leaves_the_upper_out() -> None:
    said = parse("lowerdir=/a,upperdir=/u,workdir=/w,ro")
    assert (said.upper, said.work) == (None, None)


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_what_is_escaped_comes_back(names: list[str]) -> None:
    def escaped(name: str) -> str:
        return "".join(f"\\{one}" if one in ":,\\" else one for one in name)

    said = parse(f"lowerdir={':'.join(map(escaped, names))},index=off")
    assert [str(path) for path in said.lower] == [str(Path(name)) for name in names]


@pytest.mark.parametrize(
    "text", ["nosuch", "lowerdir=", "upperdir=", "index", "index=1", "redirect_dir=maybe", "lowerdir=a:"]
)
def test_what_is_wrong_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)
