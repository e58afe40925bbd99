"""In a user namespace a container cannot undo how its mounts were made, not even with every capability it can have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import Bind, ContainerError, Mapping, Namespaces, capability_mask

#: With the seccomp profile as it is, CAP_SYS_ADMIN lets mount(2) and umount(2) through.
ADMIN = capability_mask(add=("SYS_ADMIN",))


@pytest.fixture
def world(box: Any) -> dict[str, Any]:
    """Wishes for a container in a user namespace: for root one of its own, an ordinary user has no other."""
    if os.geteuid() != 0:
        return {"capabilities": ADMIN}
    for directory, _, files in os.walk(box.rootfs):
        for name in (".", *files):
            os.chown(os.path.join(directory, name), 800000, 800000, follow_symlinks=False)
    mapping = (Mapping(0, 800000, 65536),)
    return {"capabilities": ADMIN, "namespaces": Namespaces(user="new"), "uid_map": mapping, "gid_map": mapping}


def refused(box: Any, world: dict[str, Any], command: str, **wishes: Any) -> str:
    """Return in what words a command was refused; it must have been."""
    result = box.run("sh", "-c", command, **{**world, **wishes})
    assert result.code != 0, (command, result.stdout)
    return str(result.stderr.decode())


def test_it_may_mount_at_all(box: Any, world: dict[str, Any]) -> None:
    """Or what follows would prove nothing."""
    made = "mount -t tmpfs none /srv && mount -o remount,bind,ro /srv && ! touch /srv/x 2>/dev/null"
    undone = "mount -o remount,bind,rw /srv && touch /srv/x && umount /srv && ls /srv"
    assert box.sh(f"{made} && {undone}", **world) == ""


@pytest.mark.parametrize("flags", ["remount,bind,rw", "remount,rw"])
def test_a_read_only_bind_stays_so(box: Any, world: dict[str, Any], tmp_path: Path, flags: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("kept")
    bind = Bind(tmp_path / "data", "/srv/data", read_only=True)
    assert "permission denied" in refused(box, world, f"mount -o {flags} /srv/data", mounts=(bind,)).lower()
    assert "Read-only file system" in refused(box, world, "touch /srv/data/new", mounts=(bind,))
    # Nor by way of another place where it is seen.
    script = "mount --rbind /srv /mnt 2>/dev/null || mount --rbind /srv /tmp; mount -o remount,bind,rw /tmp/data"
    assert "permission denied" in refused(box, world, script, mounts=(bind,)).lower()
    assert os.listdir(tmp_path / "data") == ["file"]


@pytest.mark.parametrize("path", ["/proc/sys", "/proc/irq", "/sys", "/proc/bus"])
def test_what_is_protected_stays_so(box: Any, world: dict[str, Any], path: str) -> None:
    assert "permission denied" in refused(box, world, f"mount -o remount,bind,rw {path}").lower()
    assert refused(box, world, f"umount {path}")


def test_what_is_masked_stays_so(box: Any, world: dict[str, Any]) -> None:
    masked = [
        path for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware") if Path(path).exists()
    ]
    assert len(masked) > 1
    for path in masked:
        assert refused(box, world, f"umount {path}")
        assert refused(box, world, f"umount -l {path}")
        assert refused(box, world, f"mount --move {path} /srv")
    for path in (each for each in masked if each.startswith("/proc/")):
        assert box.sh(f"umount {path} 2>/dev/null; cat {path}", **world) == ""
    assert box.sh("umount /sys/firmware 2>/dev/null; ls /sys/firmware", **world) == ""


def test_a_fresh_procfs_shows_no_more(box: Any, world: dict[str, Any]) -> None:
    """The kernel mounts none where parts of the one that is there are hidden."""
    assert refused(box, world, "mount -t proc proc /srv")


def test_a_namespace_within_undoes_nothing_either(box: Any, world: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    bind = Bind(tmp_path / "data", "/srv/data", read_only=True)
    for command in ("umount /proc/kcore", "umount /srv/data", "mount -o remount,bind,rw /srv/data"):
        assert (
            box.sh(f"unshare -m sh -c 'mount --rbind /srv /srv && ! {command} 2>/dev/null'", mounts=(bind,), **world)
            == ""
        )
    assert os.listdir(tmp_path / "data") == []


def test_a_read_only_root_stays_so(box: Any, world: dict[str, Any]) -> None:
    for flags in ("remount,bind,rw", "remount,rw"):
        assert refused(box, world, f"mount -o {flags} /; touch /new", read_only=True)
    assert not (box.rootfs / "new").exists()


def test_the_namespaces_are_its_own_all_the_same(box: Any, world: dict[str, Any]) -> None:
    """Who makes the mounts has a user namespace above it; the container's other namespaces belong to its own."""
    script = "hostname changed && hostname; id -u; echo $$; stat -c %u:%g /dev /dev/shm /dev/pts/ptmx; touch /dev/new"
    words = box.sh(script, **world).split()
    assert words == ["changed", "0", "1", "0:0", "0:0", "0:0"]
    network = {**world, "capabilities": capability_mask(add=("NET_ADMIN",))}
    assert "mtu 1234" in box.sh("ip link set lo mtu 1234 && ip link show lo", **network)


def test_what_cannot_be_mounted_is_told(box: Any, world: dict[str, Any], tmp_path: Path) -> None:
    """Who makes the mounts is in the container's pid namespace, which does not end before somebody has reaped it."""
    (box.rootfs / "srv/file").touch()
    for bind, said in ((Bind(tmp_path, "/proc/sys"), "inside /proc"), (Bind(tmp_path, "/srv/file"), "it is a file")):
        with pytest.raises(ContainerError, match=said):
            box.run("true", mounts=(bind,), **world)
