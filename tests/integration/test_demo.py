"""The demo: what it makes, what it leaves, that the kernel agrees, and that it can be interrupted anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fusefs import Journal, Kind
from tests.conftest import User

pytestmark = pytest.mark.usefixtures("fuse", "busybox")

COMMAND = [sys.executable, "-P", "-m", "sim.cli"]
FIGURES = ["cross-section.png", "sharing.png", "timeline.png"]


@pytest.fixture(scope="session")
def busybox(tool: Callable[..., str]) -> None:
    """Need a static busybox."""
    tool("busybox", "busybox-static")


def layerlab(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL
    )


@dataclass(frozen=True)
class Thing:
    """One object of a tree, with all that can be seen of it but its inode number."""

    kind: int
    mode: int
    owner: tuple[int, int]
    device: int
    modified: int
    content: str
    attributes: tuple[tuple[str, bytes], ...]


def snapshot(root: Path) -> dict[str, Thing]:
    """Return everything in a tree."""
    found: dict[str, Thing] = {}
    for place, directories, files in os.walk(root):
        for name in (*directories, *files, "."):
            path = os.path.join(place, name)
            status = os.lstat(path)
            content = ""
            if stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            names = sorted(os.listxattr(path, follow_symlinks=False))
            found[os.path.relpath(path, root)] = Thing(
                stat.S_IFMT(status.st_mode),
                stat.S_IMODE(status.st_mode),
                (status.st_uid, status.st_gid),
                status.st_rdev,
                status.st_mtime_ns,
                content,
                tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names),
            )
    return found


def in_seconds(things: dict[str, Thing]) -> dict[str, Thing]:
    return {path: replace(thing, modified=thing.modified // 10**9) for path, thing in things.items()}


def test_it_does_its_job_and_leaves_the_figures_and_the_store(tmp_path: Path) -> None:
    done = layerlab("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert os.listdir(tmp_path) == ["layerlab-demo"]
    output = tmp_path / "layerlab-demo"
    assert sorted(os.listdir(output)) == [*FIGURES[:2], "store", FIGURES[2]]
    for name in FIGURES:
        assert (output / name).read_bytes().startswith(b"\x89PNG")
        assert str(output / name) in done.stdout
    index = json.loads((output / "store/index.json").read_text())
    names = {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]}
    assert {name.rpartition("layerlab/")[2] for name in names} >= {"base:latest", "web:latest", "tools:latest"}
    for said in (
        "process 1 on the machine demo",
        "Welcome to the web image",
        "copied up from base",
        "whiteout hides it in base",
        "opaque: hides all in base",
        "now /etc/shells.renamed",
        "web → RW" if "web → RW" in done.stdout else "base → RW",
    ):
        assert said in done.stdout


def test_a_second_run_finds_the_images_there(tmp_path: Path) -> None:
    assert layerlab("demo", cwd=tmp_path).returncode == 0
    store = tmp_path / "layerlab-demo" / "store"
    layers = {path.name: path.stat().st_mtime_ns for path in (store / "layers").iterdir()}
    blobs = sorted(os.listdir(store / "blobs/sha256"))
    assert layerlab("demo", cwd=tmp_path).returncode == 0
    assert {path.name: path.stat().st_mtime_ns for path in (store / "layers").iterdir()} == layers
    assert sorted(os.listdir(store / "blobs/sha256")) == blobs


@pytest.mark.usefixtures("overlayfs")
@pytest.mark.parametrize("driver", ["fuse-python", "auto"])
def test_the_kernel_shows_the_same_tree(tmp_path: Path, driver: str) -> None:
    """The demo's RW layer over the same lowers, mounted by the kernel's overlayfs, is what the FUSE mount showed."""
    done = layerlab("demo", "--keep", "--driver", driver, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "layerlab-demo" / "container"
    try:
        seen = snapshot(place / "merged")
    finally:
        assert layerlab("umount", place / "merged").returncode == 0
    with Journal(place / "journal.db") as journal:
        lower = [layer.path for layer in journal.layers() if layer.number > 0]
        assert journal.closed
        numbers = [operation.number for operation in journal.operations()]
        kinds = {operation.kind for operation in journal.operations()}
    assert numbers == list(range(1, len(numbers) + 1))
    assert kinds >= {Kind.READ, Kind.WRITE, Kind.UNLINK, Kind.RMDIR, Kind.MKDIR, Kind.RENAME, Kind.LINK, Kind.SYMLINK}
    assert len(lower) == 2
    kernel = tmp_path / "kernel"
    for name in ("merged", "work"):
        (kernel / name).mkdir(parents=True)
    options = f"lowerdir={lower[0]}:{lower[1]},upperdir={place}/upper,workdir={kernel}/work"
    # By mount(2): the newer call takes no option of more than 256 bytes.
    old = {**os.environ, "LIBMOUNT_FORCE_MOUNT2": "always"}
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, kernel / "merged"], check=True, env=old)
    try:
        expected = snapshot(kernel / "merged")
    finally:
        subprocess.run(["umount", kernel / "merged"], check=True)
    assert expected["etc/skel/new"].content == hashlib.sha256(b"fresh\n").hexdigest()
    assert "etc/issue" not in expected
    if driver == "fuse-python":  # it passes times in whole seconds
        seen, expected = in_seconds(seen), in_seconds(expected)
    assert seen == expected


def test_keep_leaves_all_and_the_next_run_clears_it(tmp_path: Path) -> None:
    output = tmp_path / "a b"
    done = layerlab("demo", "--keep", "--output", "a b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    merged = output / "container" / "merged"
    try:
        assert os.path.ismount(merged)
        (merged / "etc/later").write_text("later")
        assert (output / "container/upper/etc/later").read_text() == "later"
        # What is suggested to be typed does what is said of it.
        next_act = done.stdout.split("  Next")[1]
        suggested = [line.strip() for line in next_act.splitlines() if line.startswith("  layerlab ")]
        journal, figure, umount = (line.removeprefix("layerlab ") for line in suggested)
        for line in (journal, figure):
            ran = subprocess.run(
                f"{' '.join(map(_quoted, COMMAND))} {line}", shell=True, cwd=tmp_path, capture_output=True, text=True
            )
            assert ran.returncode == 0, ran.stderr
        assert (tmp_path / "cross-section.png").exists()
        assert umount == "umount 'a b'/container/merged"
    finally:
        again = layerlab("demo", "--output", "a b", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert not (output / "container").exists()


def _quoted(word: str) -> str:
    return f"'{word}'"


def test_what_is_suggested_at_the_end_works(tmp_path: Path) -> None:
    done = layerlab("demo", cwd=tmp_path)
    line = next(line for line in done.stdout.splitlines() if " figure images " in line)
    words = line.split()[1:5]
    assert words == ["figure", "images", "--store", "layerlab-demo/store"]
    assert layerlab(*words, cwd=tmp_path).stdout == "images.png\n"


def test_operations_belong_to_their_steps(tmp_path: Path) -> None:
    """The steps are told apart exactly: each operation is printed with the step that made it."""
    done = layerlab("demo", cwd=tmp_path)
    sections = done.stdout.split("The operations")[1].split("\n\n")
    deleting = next(section for section in sections if section.startswith("Delete a file of the base"))
    assert "/etc/issue" in deleting
    assert "unlink" in deleting
    assert "/etc/passwd   " not in deleting
    making = next(section for section in sections if section.startswith("Make new files"))
    for kind in ("mkdir", "create", "link", "symlink"):
        assert kind in making


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """Return a root filesystem that is not the demo's own: merged directories, another shell, many files."""
    base = tmp_path / "rootfs"
    for name in ("usr/bin", "usr/lib", "etc/profile.d", "var/log", "proc", "dev", "sys", "tmp"):
        (base / name).mkdir(parents=True)
    (base / "bin").symlink_to("usr/bin")
    program = shutil.which("busybox")
    assert program is not None
    shutil.copy(program, base / "usr/bin/busybox")
    for name in ("sh", "ls", "cat", "head", "rm", "mkdir", "mv", "ln", "echo"):
        (base / "usr/bin" / name).symlink_to("busybox")
    (base / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (base / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (base / "etc/debian_version").write_text("12\n")
    (base / "etc/profile.d/x.sh").write_text("true\n")
    (base / "etc/group").write_text("root:x:0:\n")
    for number in range(300):
        (base / f"usr/lib/file{number}").write_text(str(number))
    return base


@pytest.mark.parametrize("form", ["directory", "tar", "tar.gz"])
def test_on_another_root_filesystem(tmp_path: Path, rootfs: Path, form: str) -> None:
    source = rootfs
    if form != "directory":
        source = tmp_path / f"rootfs.{form}"
        with tarfile.open(source, "w:gz" if form == "tar.gz" else "w") as archive:
            archive.add(rootfs, ".")
    done = layerlab("demo", "--rootfs", source, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "/etc/profile.d" in done.stdout
    assert "opaque: hides all in base" in done.stdout


def _bad_rootfs(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    empty = tmp_path / "empty"
    empty.mkdir()
    yield "/bin/sh", empty
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"no tar at all" * 1000)
    yield "", broken


def test_a_root_filesystem_that_is_none(tmp_path: Path) -> None:
    for named, source in _bad_rootfs(tmp_path):
        done = layerlab("demo", "--rootfs", source, "--output", "out", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert named in done.stderr
        assert os.listdir(tmp_path / "out") == ["store"]


def test_a_container_whose_process_ends_early(tmp_path: Path, rootfs: Path) -> None:
    (rootfs / "usr/bin/sh").unlink()
    (rootfs / "usr/bin/sh").write_text("#!/bin/busybox false\n")
    (rootfs / "usr/bin/sh").chmod(0o755)
    done = layerlab("demo", "--rootfs", rootfs, "--output", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "ended early" in done.stderr
    assert os.listdir(tmp_path / "out") == ["store"]


@pytest.mark.usefixtures("overlayfs")
def test_with_the_kernel_as_the_driver(tmp_path: Path) -> None:
    done = layerlab("demo", "--driver", "overlayfs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / "layerlab-demo")) == ["cross-section.png", "sharing.png", "store"]


def test_a_driver_that_is_not_there(tmp_path: Path) -> None:
    done = layerlab("demo", "--driver", "nosuch", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "nosuch" in done.stderr
    assert os.listdir(tmp_path / "layerlab-demo") == ["store"]


#: Texts on whose appearance the demo is interrupted: once in every act, and within its process.
POINTS = ["1  Images", "Both share", "Mounted by", "Look around", "rm -r /etc/skel", "ln one two", "5  Figures"]


@pytest.mark.parametrize(
    ("point", "number"),
    [*((point, signal.SIGINT) for point in POINTS), *((point, signal.SIGTERM) for point in POINTS[2:5:2])],
)
def test_interrupted(tmp_path: Path, point: str, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if point in line:
            break
    else:
        pytest.fail(f"it never said {point!r}")
    # A terminal sends Ctrl-C to everything in the foreground, a `kill` goes to the one process.
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert complaint.startswith("layerlab: interrupted")
    assert complaint.count("\n") == 1
    left = set(os.listdir(tmp_path / "layerlab-demo")) if (tmp_path / "layerlab-demo").exists() else set()
    assert left <= {"store", *FIGURES}


def test_after_a_kill_the_next_run_clears_up(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo"], stdout=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "Look around" in line:
                break
        process.kill()
        process.wait()
        assert os.path.ismount(tmp_path / "layerlab-demo/container/merged")
    finally:
        process.stdout.close()
        done = layerlab("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "layerlab-demo/container").exists()


def test_as_an_ordinary_user(user: User) -> None:
    done = user.run([*COMMAND, "demo"])
    if "user namespace" in done.stderr:
        pytest.skip(f"needs user namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "copied up from base" in done.stdout
    assert sorted(os.listdir(user.home / "layerlab-demo")) == [*FIGURES[:2], "store", FIGURES[2]]
