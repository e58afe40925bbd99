"""Where it is measured: a directory of the run, and filesystems in images made for it.

Decided here and only here: which filesystems there are and how each is made, and that nothing of it stays. An image is
a sparse file behind a loop device that was told to go away with its mount, and its name is removed once it is mounted;
so unmounting is all that is ever needed. What a run that was killed left behind is removed by the next one.

Threads: one at a time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fusefs import syscalls
from sim.bench.errors import Unavailable

__all__ = [
    "FILESYSTEMS",
    "Filesystem",
    "MakeFilesystem",
    "clear",
    "filesystem",
    "home",
    "mounts_below",
    "refuse_clones",
    "room",
    "unmount",
]

_PREFIX = "layerlab-bench-"
_SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class MakeFilesystem:
    """How a filesystem is made.

    Attributes
    ----------
    kind
        Its type for the kernel.
    words
        What is particular about it.
    command
        What makes it; the image's name comes last.
    package
        Where the command is.
    smallest
        Bytes that it needs at least.
    no_cow
        Whether the directory of read-only layers is made such that the filesystem refuses to clone out of it.
    """

    kind: str
    words: str
    command: tuple[str, ...]
    package: str
    smallest: int = 64 << 20
    no_cow: bool = False


#: By name; `here`, the filesystem of the run's own directory, is made by nobody.
FILESYSTEMS: Mapping[str, MakeFilesystem] = MappingProxyType(
    {
        "ext4": MakeFilesystem(
            "ext4", "no reflink", ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"), "e2fsprogs"
        ),
        "xfs": MakeFilesystem(
            "xfs", "made without reflink", ("mkfs.xfs", "-q", "-f", "-m", "reflink=0"), "xfsprogs", 320 << 20
        ),
        "xfs-reflink": MakeFilesystem(
            "xfs", "reflink", ("mkfs.xfs", "-q", "-f", "-m", "reflink=1"), "xfsprogs", 320 << 20
        ),
        "btrfs": MakeFilesystem(
            "btrfs",
            "read-only layers with chattr +C, so that nothing is cloned out of them",
            ("mkfs.btrfs", "-q", "-f"),
            "btrfs-progs",
            256 << 20,
            no_cow=True,
        ),
        "btrfs-reflink": MakeFilesystem("btrfs", "reflink", ("mkfs.btrfs", "-q", "-f"), "btrfs-progs", 256 << 20),
    }
)


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A filesystem to measure on.

    Attributes
    ----------
    name
        `here`, or one of `FILESYSTEMS`.
    root
        A directory on it that belongs to the run.
    words
        Type, mount options and what is particular.
    image
        Whether it was made for the run, so that nobody else uses its space.
    no_cow
        See `MakeFilesystem`.
    """

    name: str
    root: Path
    words: str
    image: bool = False
    no_cow: bool = False


@contextlib.contextmanager
def home(base: Path | None = None) -> Iterator[Path]:
    """Make a directory for a run, removed with all that is mounted in it when the block ends, however it ends.

    Raises
    ------
    Unavailable
        It cannot be made.
    """
    where = Path(base or tempfile.gettempdir())
    _sweep(where)
    try:
        place = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=where))
    except OSError as error:
        raise Unavailable(f"{where}: no directory for the run can be made there: {error.strerror}") from None
    place.chmod(0o755)
    try:
        yield place
    finally:
        clear(place)


def clear(place: Path) -> None:
    """Unmount all that is mounted below a directory, and remove it."""
    for point in reversed(mounts_below(place)):
        unmount(point)
    shutil.rmtree(place, ignore_errors=True)


def unmount(point: Path) -> None:
    """Unmount; what is still in use is taken out of the tree at once, and unmounted when it is used no more."""
    try:
        syscalls.umount(os.fsencode(point))
    except OSError:
        with contextlib.suppress(OSError):
            syscalls.umount(os.fsencode(point), syscalls.MNT_DETACH)


def mounts_below(place: Path) -> list[Path]:
    """Return the mountpoints below a directory, in the order in which they were mounted."""
    found = []
    inside = f"{os.path.realpath(place)}/"
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        point = line.split()[4].replace("\\040", " ").replace("\\134", "\\")
        if point.startswith(inside):
            found.append(Path(point))
    return found


def _sweep(where: Path) -> None:
    """Remove what runs left there whose process is gone: killed, or with the machine."""
    for old in where.glob(f"{_PREFIX}*-*"):
        number = old.name.removeprefix(_PREFIX).split("-")[0]
        if number.isdigit() and not os.path.exists(f"/proc/{number}") and old.owner() == _me():
            clear(old)


def _me() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def room(path: Path) -> int:
    """Return the bytes that can still be written where a directory lies."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def filesystem(name: str, place: Path, size: int) -> Iterator[Filesystem]:
    """Make a filesystem of a kind; at the end of the block it is unmounted and gone.

    Parameters
    ----------
    name
        `here`, or one of `FILESYSTEMS`.
    place
        The run's directory.
    size
        Bytes that it has to hold.

    Raises
    ------
    Unavailable
        This machine cannot; the text says what is missing.
    """
    if name == "here":
        root = place / "here"
        root.mkdir()
        yield Filesystem(name, root, _describe(root))
        shutil.rmtree(root, ignore_errors=True)
        return
    made = FILESYSTEMS.get(name)
    if made is None:
        raise Unavailable(f"{name}: there is no such filesystem; there are here, {', '.join(FILESYSTEMS)}")
    root = place / name
    with contextlib.ExitStack() as stack:
        _mount_image(made, name, root, max(size + size // 8, made.smallest) + (64 << 20))
        stack.callback(_unmount, root)
        words = f"{_describe(root)}; {made.words}; a loop image on {_describe(place).split(' (')[0]}"
        yield Filesystem(name, root, words, image=True, no_cow=made.no_cow)


def _mount_image(made: MakeFilesystem, name: str, root: Path, size: int) -> None:
    """Make an image, format it and mount it on `root`, which is made; nothing stays if that fails."""
    if os.geteuid() != 0:
        raise Unavailable(f"{name}: an image can be mounted by root only; run the command with sudo")
    if not _kernel_has(made.kind):
        raise Unavailable(f"{name}: this kernel has no {made.kind}; try 'modprobe {made.kind}'")
    if not shutil.which(made.command[0], path=os.environ.get("PATH", "") + _SBIN):
        raise Unavailable(f"{name}: {made.command[0]} is not installed; apt-get install {made.package}")
    if room(root.parent) < size:
        raise Unavailable(f"{name}: {root.parent} has no room for an image of {size >> 20} MiB; use --place DIR")
    image = root.with_suffix(".img")
    device = ""
    try:
        with open(image, "wb") as stream:
            stream.truncate(size)
        _run(*made.command, str(image))
        try:
            device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
        except Unavailable:  # where the filesystem of the image has no direct I/O
            device = _run("losetup", "--find", "--show", str(image)).strip()
        root.mkdir()
        syscalls.mount(os.fsencode(device), os.fsencode(root), made.kind.encode(), 0, b"")
    except BaseException as error:
        if device:
            with contextlib.suppress(Unavailable):
                _run("losetup", "--detach", device)
        with contextlib.suppress(OSError):
            root.rmdir()
        if isinstance(error, OSError):
            raise Unavailable(f"{name}: the image cannot be mounted: {error.strerror}") from None
        raise
    finally:
        image.unlink(missing_ok=True)
    # A device in use is not detached at once but when it is used no more.
    _run("losetup", "--detach", device)


def refuse_clones(directory: Path) -> None:
    """Have btrfs make what is put into a directory such that it cannot be cloned out of it (chattr(1), C)."""
    _run("chattr", "+C", str(directory))


def _unmount(root: Path) -> None:
    for point in (*reversed(mounts_below(root)), root):
        unmount(point)
    with contextlib.suppress(OSError):
        root.rmdir()


def _kernel_has(kind: str) -> bool:
    def known() -> bool:
        return any(line.split()[-1] == kind for line in Path("/proc/filesystems").read_text().splitlines())

    if not known() and shutil.which("modprobe", path=os.environ.get("PATH", "") + _SBIN):
        with contextlib.suppress(Unavailable):
            _run("modprobe", "-q", kind)
    return known()


def _run(*command: str) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": os.environ.get("PATH", "") + _SBIN},
    )
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise Unavailable(f"{command[0]}: {said}")
    return done.stdout


def _describe(path: Path) -> str:
    """Return type and mount options of what a directory lies on."""
    real = os.path.realpath(path)
    best = ("", "unknown", "")
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        point, options = left.split()[4:6]
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            kind, _, more = right.split(" ", 2)
            words = [one for one in dict.fromkeys([*options.split(","), *more.split(",")]) if "=/" not in one]
            best = (point, kind, ",".join(words))
    return f"{best[1]} ({best[2]})"
