"""A container whose root is nobody on the host, on a mounted stack of layers that knows nothing of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fusefs import Journal, MountError, Stack, mount, unmount
from fusefs.mount import choose_driver, find_mount
from sim.runtime import Mapping, Namespaces, capability_mask, fork_mount, owners_within

pytestmark = pytest.mark.usefixtures("needs_root", "fuse")

#: Root inside is 800000 outside; two ranges, so that a number in the second one is shifted by something else.
MAPS = (Mapping(0, 800000, 1000), Mapping(1000, 900000, 60000))


@pytest.fixture
def shifted(box: Any, tmp_path: Path) -> Iterator[Path]:
    """The box's files, root's all but one of 33 and one of 1005, as the lower layer of a mount for such a container."""
    if choose_driver() != "devfuse":
        pytest.skip("needs the driver devfuse (Linux 5.4)")
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    (box.rootfs / "srv").mkdir(exist_ok=True)
    for name, owner in (("www", 33), ("ada", 1005), ("far", 500000)):
        (box.rootfs / "srv" / name).write_text(f"{name}\n")
        os.chown(box.rootfs / "srv" / name, owner, owner)
    (box.rootfs / "srv/secret").write_text("of root")
    (box.rootfs / "srv/secret").chmod(0o600)
    stack = Stack((box.rootfs,), tmp_path / "upper", tmp_path / "work")
    shown = owners_within(MAPS, MAPS)
    mount(stack, tmp_path / "merged", journal=tmp_path / "journal.db", start=fork_mount, presentation=shown)
    yield tmp_path / "merged"
    if find_mount(tmp_path / "merged"):
        unmount(tmp_path / "merged")


def inside(merged: Path, **wishes: Any) -> dict[str, Any]:
    return {"rootfs": merged, "namespaces": Namespaces(user="new"), "uid_map": MAPS, "gid_map": MAPS, **wishes}


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def test_files_belong_to_whom_they_belong_to_inside(box: Any, shifted: Path) -> None:
    text = box.sh("cd /srv && stat -c '%n %u %g' www ada secret far /bin/busybox", **inside(shifted))
    assert text.splitlines() == [
        "www 33 33",
        "ada 1005 1005",
        "secret 0 0",
        "far 65534 65534",  # a number that it does not have
        "/bin/busybox 0 0",
    ]
    assert owner(shifted / "srv/ada") == (900005, 900005)  # seen from the host


def test_what_is_made_is_stored_as_its_own(box: Any, shifted: Path, tmp_path: Path) -> None:
    script = """
        echo new > /srv/new && mkdir /srv/dir && ln -s new /srv/link && mkfifo /srv/pipe
        chown 33:1005 /srv/dir && chown 1005 /srv/secret && echo more >> /srv/www && chmod 4755 /srv/new
    """
    box.sh(script, **inside(shifted))
    box.sh("echo mine > /tmp/mine", **inside(shifted, user="1005:33"))
    upper = tmp_path / "upper"
    assert owner(upper / "srv/new") == owner(upper / "srv/link") == owner(upper / "srv/pipe") == (0, 0)
    assert stat.S_IMODE((upper / "srv/new").stat().st_mode) == 0o4755
    assert owner(upper / "srv/dir") == (33, 1005)
    assert owner(upper / "srv/secret") == (1005, 0)  # copied up, then given away
    assert owner(upper / "srv/www") == (33, 33)
    assert owner(upper / "tmp/mine") == (1005, 33)
    unmount(shifted)
    with Journal(tmp_path / "journal.db") as journal:
        assert {"/srv/new", "/srv/dir", "/srv/www"} <= {operation.path for operation in journal.operations()}


def test_its_root_may_do_all_with_its_own_files_and_nothing_with_those_of_others(box: Any, shifted: Path) -> None:
    assert box.sh("cat /srv/secret", **inside(shifted)) == "of root"
    assert box.run("cat", "/srv/secret", **inside(shifted, user="33")).code == 1
    refused = box.run("sh", "-c", "echo x >> /srv/far", **inside(shifted))
    assert refused.code != 0
    assert b"ermission denied" in refused.stderr
    assert box.run("chown", "0", "/srv/far", **inside(shifted)).code != 0


def test_nothing_is_owned_by_root_of_the_host(box: Any, shifted: Path) -> None:
    look = "find / -xdev -user 65534 ! -path '/srv/far' ! -path '/proc*' ! -path '/sys*' | head"
    assert box.sh(look, **inside(shifted, capabilities=capability_mask())) == ""


def test_the_kernel_shows_owners_as_they_are(box: Any, tmp_path: Path) -> None:
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    stack = Stack((box.rootfs,), tmp_path / "upper", tmp_path / "work")
    with pytest.raises(MountError, match="as the layers have them"):
        mount(stack, tmp_path / "merged", driver="overlayfs", presentation=owners_within(MAPS, MAPS))
    assert find_mount(tmp_path / "merged") is None
