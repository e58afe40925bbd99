"""The command that takes fuse-overlayfs's arguments: what it understands, and that it shows owners as its peer does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusefs import Journal, Options, Redirect, Stack, syscalls
from fusefs.arguments import parse
from fusefs.mapping import Ids, Presentation, PresentedUnion, Range, parse_ranges
from fusefs.mount import DRIVERS, find_mount, unmount
from fusefs.optionstring import split, unescape
from tests.conftest import User

#: How the installed script starts, without its being installed.
COMMAND = (sys.executable, "-c", "from fusefs.dropin import main; main()")

FUSE_DRIVERS = [driver for driver in DRIVERS if driver != "overlayfs"]


def test_it_is_installed_as_a_command() -> None:
    (script,) = metadata.entry_points(group="console_scripts", name="layerlab-overlayfs")
    assert script.value == "fusefs.dropin:main"


# Arguments


def test_what_podman_passes() -> None:
    found = parse(["-o", "lowerdir=/s/l/A:/s/l/B,upperdir=/s/1/diff,workdir=/s/1/work,,volatile", "/s/1/merged"])
    assert (found.lower, found.upper, found.work) == (("/s/l/A", "/s/l/B"), "/s/1/diff", "/s/1/work")
    assert found.options == Options(volatile=True)
    assert (found.mountpoint, found.source, found.ignored) == ("/s/1/merged", "", ())
    assert found.presentation() is None


def test_what_mount_passes_for_fstab() -> None:
    found = parse(["overlay", "/mnt", "-o", "rw,lowerdir=/a,nodev,noauto,x-systemd.automount,_netdev"])
    assert (found.source, found.mountpoint, found.ignored) == ("overlay", "/mnt", ())
    assert found.driver_options == ("rw", "nodev")
    assert parse(["none", "/mnt"]).source == ""


def test_relative_directories_are_those_of_the_caller() -> None:
    assert parse(["-olowerdir=l/A", "m"]).stack() == Stack((Path.cwd() / "l/A",))


def test_options_of_the_kernels_overlayfs() -> None:
    found = parse(["-o", "lowerdir=/a,redirect_dir=on,index=off,metacopy=on,xino=auto", "m"])
    assert found.options == Options(redirect=Redirect.ON, index=False, metacopy=True)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("uidmapping=0:x:3", "uidmapping"),
        ("uidmapping=0:1", "no mapping"),
        ("uidmapping=0:1:0", "empty"),
        ("uidmapping=0:4294967295:2", "beyond"),
        ("gidmapping=0:1:10:5:100:1", "overlap"),
        ("squash_to_uid=abc", "squash_to_uid=abc"),
        ("index=maybe", "on, off"),
        ("redirect_dir=yes", "nofollow"),
        ("xattr_permissions=2", "force_mask"),
    ],
)
def test_a_wrong_value_is_refused_by_name(argument: str, said: str) -> None:
    with pytest.raises(ValueError, match=said if said != "uidmapping" else "0:x:3"):
        parse(["-o", argument, "m"]).presentation()


_names = st.text(st.characters(exclude_characters='\0"', codec="utf-8"), min_size=1, max_size=20)


@given(st.lists(_names, min_size=1, max_size=4), _names)
def test_any_name_can_be_escaped(lower: list[str], upper: str) -> None:
    def escape(name: str) -> str:
        return name.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")

    found = parse(["-o", f"lowerdir={':'.join(map(escape, lower))},upperdir={escape(upper)},volatile", "m"])
    assert found.lower == tuple(lower)
    assert found.upper == upper
    assert found.options.volatile


def test_a_split_loses_nothing() -> None:
    text = r'a\,b,"c,context="x,y",d\\,e'
    assert ",".join(split(text, ",")) == text
    assert [unescape(part) for part in split(r"d\\,e\\", ",")] == ["d\\", "e\\"]


# IDs


def test_the_manuals_example() -> None:
    # fuse-overlayfs(1), uidmapping
    ids = Ids(parse_ranges("0:1000:1:1:110000:65536"))
    assert [ids.shown(stored) for stored in (0, 1)] == [1000, 110000]


@given(st.integers(0, 1 << 31), st.integers(0, 1 << 31), st.integers(1, 1 << 30), st.integers(0, (1 << 32) - 2))
def test_a_range_goes_both_ways(stored: int, shown: int, count: int, one: int) -> None:
    ids = Ids((Range(stored, shown, count),))
    if stored <= one < stored + count:
        assert ids.stored(ids.shown(one)) == one
    else:
        assert ids.shown(one) == 65534


def test_a_presentation_survives_the_way_to_its_process() -> None:
    presentation = Presentation(Ids((Range(0, 5, 9),), None, 7), Ids((), 3), count_links=False)
    assert Presentation.from_plain(asdict(presentation)) == presentation
    assert not presentation.is_plain
    assert Presentation(Ids(overflow=1)).is_plain


def test_an_acl_names_the_ids_that_are_shown(root: None, tmp_path: Path) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    subprocess.run(["touch", tmp_path / "lower/f"], check=True)
    if shutil.which("setfacl") is None:
        pytest.skip("needs setfacl; install acl")
    subprocess.run(["setfacl", "-m", "u:5:r,g:6:rw", tmp_path / "lower/f"], check=True)
    raw = os.getxattr(tmp_path / "lower/f", "system.posix_acl_access")
    presentation = Presentation(Ids((Range(0, 1000, 100),)), Ids((Range(0, 2000, 100),)))
    stack = Stack((tmp_path / "lower",), tmp_path / "upper", tmp_path / "work")
    union = PresentedUnion(stack, None, presentation)
    try:
        node = union.walk(b"/f")
        shown = union.getxattr(node, b"system.posix_acl_access")
        assert (5).to_bytes(4, "little") in raw
        assert (1005).to_bytes(4, "little") in shown
        assert (2006).to_bytes(4, "little") in shown
        union.setxattr(node, b"system.posix_acl_access", shown)
        assert os.getxattr(tmp_path / "upper/f", "system.posix_acl_access") == raw
    finally:
        union.close()


# The process


@contextmanager
def mounted(place: Path, options: str, command: Sequence[str] = COMMAND, driver: str = "") -> Iterator[Path]:
    """Mount by a command on `m` in a place that has `lower`, `upper` and `work`."""
    merged = place / "m"
    merged.mkdir(exist_ok=True)
    more = f",driver={driver}" if driver else ""
    said = f"lowerdir=lower,upperdir=upper,workdir=work{options}{more}"
    done = subprocess.run(
        [*command, "-o", said, "m"], cwd=place, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    try:
        yield merged
    finally:
        syscalls.umount(os.fsencode(merged))


def _layers(place: Path) -> None:
    for name in ("lower/d", "upper", "work"):
        (place / name).mkdir(parents=True)
    for name, owner in (("zero", 0), ("one", 1), ("d/far", 70000)):
        (place / "lower" / name).write_text(name)
        os.chown(place / "lower" / name, owner, owner)


def _owners(place: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for at in sorted([place, *place.rglob("*")]):
        status = at.lstat()
        if at.name.startswith(".wh."):  # the peer marks every directory that it makes
            continue
        found[str(at.relative_to(place))] = (status.st_uid, status.st_gid)
    return found


MAPPINGS = [
    "",
    ",uidmapping=0:1000:1:1:110000:65536,gidmapping=0:1000:1:1:110000:65536",
    ",uidmapping=0:0:1000000",
    ",squash_to_root",
    ",squash_to_uid=7,squash_to_gid=9,uidmapping=0:1000:100",
    ",squash_to_uid=7,squash_to_root",
]


@pytest.mark.usefixtures("root", "fuse")
@pytest.mark.parametrize("options", MAPPINGS)
@pytest.mark.parametrize("driver", FUSE_DRIVERS)
def test_owners_are_those_of_fuse_overlayfs(
    driver: str, options: str, tmp_path: Path, tool: Callable[..., str]
) -> None:
    peer = tool("fuse-overlayfs")
    seen = []
    for name, command, chosen in (("ours", COMMAND, driver), ("theirs", (peer,), "")):
        place = tmp_path / name
        place.mkdir()
        _layers(place)
        with mounted(place, options, command, chosen) as merged:
            (merged / "new").write_text("x")
            (merged / "d/made").mkdir()
            for uid, gid in ((1000, 110004), (5, 5)):
                given = merged / f"given-{uid}"
                given.write_text("x")
                os.chown(given, uid, gid)
            os.chown(merged / "one", -1, 1000)
            shown = _owners(merged)
        seen.append((shown, _owners(place / "upper")))
    assert seen[0] == seen[1]


@pytest.mark.usefixtures("root", "fuse")
@pytest.mark.parametrize("driver", FUSE_DRIVERS)
def test_links_attributes_and_flags_as_asked(driver: str, tmp_path: Path) -> None:
    _layers(tmp_path)
    (tmp_path / "upper/own/below").mkdir(parents=True)
    os.setxattr(tmp_path / "lower/one", "user.colour", b"red")
    with mounted(tmp_path, "", driver=driver) as merged:
        assert (merged / "own").stat().st_nlink == 3
        assert os.getxattr(merged / "one", "user.colour") == b"red"
    with mounted(tmp_path, ",static_nlink,noxattrs=1,nosuid,nodev,noexec,noatime", driver=driver) as merged:
        assert (merged / "own").stat().st_nlink == 1
        with pytest.raises(OSError, match="not supported"):
            os.getxattr(merged / "one", "user.colour")
        with pytest.raises(OSError, match="not supported"):
            os.setxattr(merged / "one", "user.colour", b"blue")
        flags = os.statvfs(merged).f_flag
        assert flags & os.ST_NOSUID
        assert flags & os.ST_NODEV
        assert flags & os.ST_NOEXEC
        assert flags & os.ST_NOATIME
    with mounted(tmp_path, ",ro", driver=driver) as merged, pytest.raises(OSError, match="Read-only"):
        (merged / "new").write_text("")


@pytest.mark.usefixtures("root", "fuse")
def test_unknown_arguments_are_reported_and_ignored(tmp_path: Path) -> None:
    _layers(tmp_path)
    (tmp_path / "m").mkdir()
    options = "lowerdir=lower,bla,foo=1"
    done = subprocess.run(
        [*COMMAND, "-o", options, "--zork", "m"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    try:
        # It has ended and holds neither stream open: the mount is served by a process of its own.
        assert done.returncode == 0
        assert [line for line in done.stderr.splitlines() if line.startswith("unknown argument ignored")] == [
            "unknown argument ignored: bla",
            "unknown argument ignored: foo=1",
            "unknown argument ignored: --zork",
        ]
        assert (tmp_path / "m/one").read_text() == "one"
        found = find_mount(tmp_path / "m")
        assert found is not None
        assert Path(f"/proc/{found.pid}/cwd").readlink() == Path("/")
    finally:
        syscalls.umount(os.fsencode(tmp_path / "m"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "lowerdir=missing", "."], "missing: there is no such directory"),
        (["-o", "lowerdir=."], "no mountpoint specified"),
        (["-o", "lowerdir=.", "nowhere"], "nowhere: there is no such directory to mount on"),
        (["."], "at least one layer"),
        (["-o", "lowerdir=.,squash_to_uid=x", "."], "squash_to_uid=x"),
        (["-o", "lowerdir=.,driver=none", "."], "driver=none: there is no such driver; there are "),
        (["-o"], "-o"),
    ],
)
@pytest.mark.usefixtures("fuse")
def test_what_cannot_be_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("layerlab-overlayfs: ")
    assert said in line
    assert not os.path.ismount(tmp_path)


@pytest.mark.usefixtures("root", "fuse")
def test_fstab_and_mount(tmp_path: Path, tool: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    tool("mount.fuse3", "fuse3")
    _layers(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/layerlab-overlayfs"
    script.write_text(f"#!{sys.executable}\nfrom fusefs.dropin import main\nmain()\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}:/usr/sbin:/sbin")
    merged, kind = str(tmp_path / "m"), "fuse.layerlab-overlayfs"
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    table = tmp_path / "fstab"
    table.write_text(f"{script}#overlay {merged} fuse {options},nodev,noauto,nofail,x-systemd.automount 0 0\n")
    for command in (
        ["mount", "-T", str(table), merged],
        # What mount(8) runs for the type fuse.layerlab-overlayfs; it would not look for the command in our PATH.
        ["mount.fuse3", "overlay", merged, "-o", f"rw,{options}", "-t", kind],
        ["mount.fuse3", "layerlab-overlayfs#overlay", merged, "-o", options],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        try:
            assert (tmp_path / "m/one").read_text() == "one"
            # mount -a finds it by its source and leaves it alone.
            look = ["findmnt", "-no", "SOURCE,FSTYPE", merged]
            assert subprocess.run(look, capture_output=True, text=True, check=True).stdout.split() == ["overlay", kind]
        finally:
            subprocess.run(["umount", merged], check=True)


@pytest.mark.usefixtures("root", "fuse")
def test_it_waits_for_the_mount_before_it_to_end(tmp_path: Path) -> None:
    _layers(tmp_path)
    for _ in range(2):
        code = "import fcntl, os, sys, time\nfd = os.open(sys.argv[1], os.O_RDONLY)\nfcntl.flock(fd, fcntl.LOCK_EX)\n"
        code += "print('held', flush=True)\ntime.sleep(0.5)\n"
        with subprocess.Popen([sys.executable, "-c", code, tmp_path / "upper"], stdout=subprocess.PIPE) as ending:
            assert ending.stdout is not None
            ending.stdout.readline()
            with mounted(tmp_path, "") as merged:
                assert (merged / "one").read_text() == "one"


@pytest.mark.usefixtures("root", "fuse")
def test_unmount_waits_for_its_process_and_the_journal_is_complete(tmp_path: Path) -> None:
    _layers(tmp_path)
    (tmp_path / "m").mkdir()
    options = f"lowerdir=lower,upperdir=upper,workdir=work,journal={tmp_path}/journal.db,record=metadata"
    subprocess.run([*COMMAND, "-o", options, "m"], cwd=tmp_path, check=True, timeout=60)
    found = find_mount(tmp_path / "m")
    with (tmp_path / "m/one").open("a") as file:
        file.write(" and two")
    unmount(tmp_path / "m")
    assert found is not None
    # Gone, or not waited for yet by whoever inherited it.
    assert not Path(f"/proc/{found.pid}").exists() or not Path(f"/proc/{found.pid}/cmdline").read_bytes()
    with Journal(tmp_path / "journal.db") as journal:
        assert [operation.path for operation in journal.operations() if operation.copied] == ["/one"]


@pytest.mark.usefixtures("root", "fuse")
def test_an_upper_in_use_is_refused(tmp_path: Path) -> None:
    _layers(tmp_path)
    (tmp_path / "other").mkdir()
    with mounted(tmp_path, ""):
        command = [*COMMAND, "-o", "lowerdir=lower,upperdir=upper,workdir=work", "other"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "another mount uses this upper directory" in done.stderr


@pytest.mark.usefixtures("root", "fuse")
def test_in_the_foreground_it_shows_operations_and_ends_with_the_mount(tmp_path: Path) -> None:
    _layers(tmp_path)
    merged = tmp_path / "m"
    merged.mkdir()
    options = "lowerdir=lower,upperdir=upper,workdir=work"
    with subprocess.Popen(
        [*COMMAND, "-d", "-o", options, "m"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as shown:
        while not os.path.ismount(merged):
            assert shown.poll() is None
        (merged / "one").write_text("changed")
        syscalls.umount(os.fsencode(merged))
        assert shown.stderr is not None
        said = shown.stderr.read()
        assert shown.wait(30) == 0
    assert "copied up '/one'" in said


_ROOTLESS = """
set -e
mkdir -p lower/d/x upper work m
echo 1 > lower/f
"$0" -c 'from fusefs.dropin import main; main()' -o lowerdir=lower,upperdir=upper,workdir=work m
rm m/f
rm -r m/d
mkdir m/d
ls -A m m/d
umount m
ls upper
"""


@pytest.mark.usefixtures("fuse")
def test_an_ordinary_user_mounts_in_a_user_namespace(user: User, tool: Callable[..., str]) -> None:
    # As rootless podman does: root in a namespace of its own, without trusted attributes.
    unshare = [tool("unshare", "util-linux"), "--user", "--map-root-user", "--mount"]
    if user.run([*unshare, "true"]).returncode:
        pytest.skip("needs user namespaces for ordinary users")
    done = user.run([*unshare, "sh", "-c", _ROOTLESS, sys.executable])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["m:", "d", "m/d:", "d", "f"]
    assert os.getxattr(user.home / "upper/d", "user.overlay.opaque") == b"y"


@pytest.mark.parametrize("word", ["-h", "--help", "-V", "--version"])
def test_help_and_version(word: str) -> None:
    done = subprocess.run([*COMMAND, word], capture_output=True, text=True, check=True, timeout=60)
    assert "layerlab-overlayfs" in done.stdout
    assert not done.stderr
