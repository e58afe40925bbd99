"""Users, the files of /etc, detach keys, capabilities, specs: values and pure functions."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import runtime
from sim.runtime import (
    DetachKeys,
    InvalidSpecError,
    Limits,
    Namespaces,
    ProcessSpec,
    UnknownUserError,
    capability_mask,
    capability_names,
    errors,
    examine,
    resolve_user,
    update_hosts,
    write_etc_files,
)
from sim.runtime.capabilities import NAMES

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\n# no:x:1:1::/:/bin/sh\nbroken\nweb:x:33:34:Web:/srv:/bin/sh\n42:x:7:8::/n:/bin/sh\n"
)
GROUP = "root:x:0:\nweb:x:34:\ntape:x:26:web,other\nbad:x:y:web\naudio:x:29:web\n"


@pytest.mark.parametrize(
    ("wish", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (), "/root"),
        ("web", 33, 34, (26, 29), "/srv"),
        ("33", 33, 34, (26, 29), "/srv"),
        ("web:tape", 33, 26, (), "/srv"),
        ("web:77", 33, 77, (), "/srv"),
        ("1000", 1000, 0, (), "/"),
        ("1000:1000", 1000, 1000, (), "/"),
        (":tape", 0, 26, (), "/root"),
        ("42", 7, 8, (), "/n"),  # a name that looks like a number is a name first
    ],
)
def test_users(wish: str, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
    found = resolve_user(wish, PASSWD, GROUP)
    assert (found.uid, found.gid, found.groups, found.home) == (uid, gid, groups, home)


def test_more_groups() -> None:
    assert resolve_user("web", PASSWD, GROUP, ["tape", "5"]).groups == (26, 29, 5)


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ("eve", "unable to find user eve: no matching entries in passwd file"),
        ("broken", "unable to find user broken"),
        ("web:eve", "unable to find group eve: no matching entries in group file"),
        ("99999999999", "uids and gids must be in range 0-2147483647"),
        ("-1", "unable to find user -1"),
    ],
)
def test_users_that_are_not_there(wish: str, text: str) -> None:
    with pytest.raises(UnknownUserError, match=text):
        resolve_user(wish, PASSWD, GROUP)


@given(st.text(), st.text(), st.text())
def test_any_files_give_a_user_or_an_error(wish: str, passwd: str, group: str) -> None:
    try:
        found = resolve_user(wish, passwd, group)
    except UnknownUserError:
        return
    assert found.uid >= 0
    assert found.gid >= 0


def test_the_kernels_own_list_of_capabilities() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("needs linux/capability.h (Debian: linux-libc-dev)")
    known = {}
    for line in header.read_text().splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "#define" and words[1].startswith("CAP_") and words[2].isdigit():
            known[words[1].removeprefix("CAP_")] = int(words[2])
    assert {name: number for number, name in enumerate(NAMES)}.items() >= known.items()


@pytest.mark.parametrize(
    ("add", "drop", "names"),
    [
        (["ALL"], ["MKNOD"], set(NAMES) - {"MKNOD"}),
        (["kill"], ["all"], {"KILL"}),
        ([], ["ALL"], set()),
        (["SYS_ADMIN"], ["SYS_ADMIN"], set(capability_names(0xA80425FB))),
    ],
)
def test_adding_and_dropping(add: list[str], drop: list[str], names: set[str]) -> None:
    assert set(capability_names(capability_mask(add, drop))) == names


def test_no_capability_of_that_name() -> None:
    with pytest.raises(InvalidSpecError, match="invalid capability 'nonsense'"):
        capability_mask(add=["nonsense"])


@pytest.mark.parametrize(
    ("keys", "typed", "passed", "detached"),
    [
        ("ctrl-p,ctrl-q", [b"a\x10", b"\x10\x11"], b"a\x10", True),
        ("ctrl-p,ctrl-q", [b"\x10x\x11"], b"\x10x\x11", False),
        ("ctrl-a,d", [b"\x01", b"d"], b"", True),
        ("a,a,b", [b"aaab"], b"a", True),
        ("", [b"\x10\x11"], b"\x10\x11", False),
        ("ctrl-@", [b"\0"], b"", True),
    ],
)
def test_detach_keys(keys: str, typed: list[bytes], passed: bytes, detached: bool) -> None:
    finder = DetachKeys(keys)
    results = [finder.feed(part) for part in typed]
    assert b"".join(part for part, _ in results) == passed
    assert results[-1][1] is detached


@pytest.mark.parametrize("keys", ["ctrl-", "ctrl-1", "ab", "ctrl-p,,x"])
def test_keys_that_are_none(keys: str) -> None:
    with pytest.raises(ValueError, match="invalid detach keys"):
        DetachKeys(keys)


def spec(**wishes: Any) -> ProcessSpec:
    return ProcessSpec(**{"args": ("true",), "rootfs": Path("/"), **wishes})


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ({"args": ()}, "no command specified"),
        ({"args": ("",)}, "no command specified"),
        ({"args": ("a\0b",)}, "null byte"),
        ({"env": ("=x",)}, "invalid environment variable: =x"),
        ({"cwd": "tmp"}, "must be absolute"),
        ({"hostname": "h" * 65}, "longer than 64"),
        ({"oom_score_adj": 1001}, "range for oom score adj"),
        ({"namespaces": Namespaces(user="new")}, "needs mappings"),
    ],
)
def test_specs_that_make_no_sense(wishes: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidSpecError, match=text):
        spec(**wishes)


def test_a_spec_travels() -> None:
    one = spec(limits=Limits(memory=5), env=("A=1",))
    assert pickle.loads(pickle.dumps(one)) == one


def test_errors_come_back_as_what_they_were() -> None:
    for name, code in (("CommandNotFoundError", 127), ("CommandNotExecutableError", 126), ("Nonsense", 125)):
        error = errors.by_name(name, "text")
        assert (error.code, str(error)) == (code, "text")


def test_the_files_of_etc(tmp_path: Path) -> None:
    binds = write_etc_files(
        tmp_path, "box", hosts=[("10.0.0.2", "box box.lan")], dns=["10.0.0.1"], search=["lan"], options=["ndots:1"]
    )
    assert [bind.target for bind in binds] == ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"]
    assert (tmp_path / "hosts").read_text().endswith("10.0.0.2\tbox box.lan\n")
    lines = (tmp_path / "resolv.conf").read_text().splitlines()
    assert lines[0] == "nameserver 10.0.0.1"
    assert lines[-2:] == ["search lan", "options ndots:1"]
    assert (tmp_path / "hostname").read_text() == "box\n"
    inode = (tmp_path / "hosts").stat().st_ino
    update_hosts(tmp_path / "hosts", [])
    assert "box" not in (tmp_path / "hosts").read_text()
    assert (tmp_path / "hosts").stat().st_ino == inode  # or a running container would not see it
    given = write_etc_files(tmp_path, "", over={"/etc/hosts": Path("/x")})
    assert [bind.target for bind in given] == ["/etc/resolv.conf"]


def test_the_machine_is_examined() -> None:
    findings = {finding.name: finding for finding in examine()}
    assert findings["kernel"].available
    assert {"seccomp", "nft", "bridges", "a container", "overlayfs in a container"} <= findings.keys()
    assert all(finding.text for finding in findings.values())


def test_every_public_name_is_there() -> None:
    for name in runtime.__all__:
        assert getattr(runtime, name).__doc__, name
    assert dir(runtime) == sorted(runtime.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = runtime.nonsense
