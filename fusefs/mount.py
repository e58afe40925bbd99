"""Mounting a stack of layers: the options, the choice of driver, one process per mount, and unmounting.

Decided here and only here: which driver serves where, what is checked before a mountpoint is touched, and how a mount
is found again and undone. Any thread may call; the serving process is its own, and who starts it may be chosen: a fresh
interpreter is right everywhere, and a program that mounts often can fork one that is prepared (`Starter`).
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs import syscalls
from fusefs.drivers.devfuse.options import Tuning
from fusefs.errors import MountError
from fusefs.journal import Level
from fusefs.serve import NAME, SOURCE, Request
from fusefs.stack import Options, Stack

if TYPE_CHECKING:
    from fusefs.mapping import Presentation

__all__ = [
    "DRIVERS",
    "Mount",
    "Starter",
    "choose_driver",
    "find_mount",
    "find_mounts",
    "mount",
    "start_interpreter",
    "unmount",
]

#: The drivers by name, the best first.
DRIVERS = ("devfuse", "fuse-python", "overlayfs")

#: Has a process serve what a `Request` says, and returns its number. The two descriptors are the process's: one for its
#: answer, one for its messages (see `fusefs.serve.serve_forked`). The starter keeps neither. The process lives on when
#: the starter ends.
Starter = Callable[[Request, int, int], int]

#: The first kernel whose protocol the driver devfuse speaks.
_DEVFUSE_RELEASE = (5, 4)


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted stack.

    Attributes
    ----------
    mountpoint
        Where it is.
    driver
        What serves it.
    pid
        The serving process; 0 for the kernel.
    """

    mountpoint: Path
    driver: str
    pid: int

    @property
    def served(self) -> bool:
        """Whether its serving process is alive; one that the kernel serves always is."""
        return self.pid == 0 or _serves(self.pid)

    def unmount(self) -> None:
        """Unmount it and wait for its process to end, so that its journal is complete."""
        unmount(self.mountpoint)

    def detach(self) -> None:
        """Take the mount away also where it is in use, and wait for nobody: who uses it goes on with it."""
        _umount(self.mountpoint, lazy=True)

    def __enter__(self) -> Mount:
        """Enter a block at whose end it is unmounted."""
        return self

    def __exit__(self, *_: object) -> None:
        """Unmount it."""
        self.unmount()


def mount(
    stack: Stack,
    mountpoint: str | os.PathLike[str],
    *,
    driver: str = "auto",
    options: Options | None = None,
    journal: str | os.PathLike[str] | None = None,
    level: Level = Level.ALL,
    names: Sequence[str] = (),
    log: str | os.PathLike[str] | None = None,
    tuning: Tuning | None = None,
    presentation: Presentation | None = None,
    door: str | os.PathLike[str] | None = None,
    start: Starter | None = None,
) -> Mount:
    """Mount a stack of layers.

    Parameters
    ----------
    stack
        The directories.
    mountpoint
        An empty directory.
    driver
        One of `DRIVERS`, or `auto` for the best one that works here.
    options
        How the stack behaves.
    journal
        File to record the operations in; made, or continued where it exists.
    level
        What is recorded.
    names
        What the journal calls the read-only layers, the topmost first.
    log
        File for the messages of the serving process; without it they are lost. It holds no stream of the caller's,
        who may be gone before the mount is.
    tuning
        How the driver `devfuse` serves; other drivers do not heed it.
    presentation
        What is shown differently from what the layers have, such as who owns it; not by the kernel's overlayfs.
    door
        Where the driver `devfuse` shall have a socket at which whole batches of files can be handed in (`fusefs.door`);
        in a directory that nobody else reaches. Other drivers have none.
    start
        What starts the serving process; None starts an interpreter for it.

    Returns
    -------
    Mount
        The mount, ready for use.

    Raises
    ------
    LayerError, MountError, JournalError
        It cannot be; the text says why and what to do. Nothing is left mounted or changed.
    """
    options = options or Options()
    where = Path(os.path.abspath(mountpoint))
    _check_mountpoint(where)
    chosen = choose_driver() if driver == "auto" else driver
    if chosen not in DRIVERS:
        raise MountError(f"{driver}: there is no such driver; there are {', '.join(DRIVERS)} and auto")
    if chosen == "overlayfs":
        from fusefs.drivers.overlayfs import mount_overlay

        if journal is not None:
            raise MountError("the kernel's overlayfs records nothing: leave the journal out, or choose another driver")
        if presentation is not None:
            raise MountError("the kernel's overlayfs shows owners as the layers have them: choose another driver")
        _check_stack(stack, options)
        mount_overlay(stack, where, options)
        return Mount(where, chosen, 0)
    _check_fuse()
    request = Request(
        driver=chosen,
        lower=[os.path.abspath(path) for path in stack.lower],
        upper=os.path.abspath(stack.upper) if stack.upper else None,
        work=os.path.abspath(stack.work) if stack.work else None,
        mountpoint=str(where),
        mount_options=_mount_options(stack),
        journal=os.path.abspath(journal) if journal else None,
        level=level.value,
        names=list(names),
        marks=options.marks.value if options.marks else None,
        redirect=options.redirect.value,
        index=options.index,
        metacopy=options.metacopy,
        volatile=options.volatile,
        cache=options.cache,
        tuning=asdict(tuning or Tuning()),
        presentation=asdict(presentation) if presentation is not None else None,
        door=os.path.abspath(door) if door else None,
    )
    return Mount(where, chosen, _start(request, log, start or start_interpreter))


def choose_driver() -> str:
    """Return the name of the best driver that can work on this machine.

    Raises
    ------
    MountError
        None can.
    """
    _check_fuse()
    return "devfuse" if _kernel_release() >= _DEVFUSE_RELEASE else "fuse-python"


def _kernel_release() -> tuple[int, ...]:
    """Return the first two numbers of the kernel's release."""
    return tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])


def _check_fuse() -> None:
    if not os.path.exists("/dev/fuse"):
        raise MountError("/dev/fuse: the kernel offers no FUSE here; try 'modprobe fuse', or use UnionFS in Python")
    if os.geteuid() != 0 and not (shutil.which("fusermount") or shutil.which("fusermount3")):
        raise MountError("fusermount: not found, and only root mounts without it; install the package 'fuse3'")
    if os.geteuid() != 0 and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise MountError("/dev/fuse: permission denied; run as root, or open it up with 'chmod 666 /dev/fuse'")


def _check_stack(stack: Stack, options: Options) -> None:
    """Open and close a stack, for its checks."""
    from fusefs.stack import open_stack

    open_stack(stack, options).close()


def _check_mountpoint(path: Path) -> None:
    try:
        listed = os.listdir(path)
    except FileNotFoundError:
        raise MountError(f"{path}: there is no such directory to mount on; make it first") from None
    except NotADirectoryError:
        raise MountError(f"{path}: this is not a directory; name one to mount on") from None
    except PermissionError:
        raise MountError(f"{path}: permission denied; name a directory that you own") from None
    except OSError as error:
        raise MountError(f"{path}: a mount that answers no more is here ({error.strerror}); unmount it first") from None
    if find_mount(path) is not None:
        raise MountError(f"{path}: something is mounted here already; unmount it first or name another directory")
    if listed:
        raise MountError(f"{path}: this directory is not empty; name an empty one to mount on")


def _start(request: Request, log: str | os.PathLike[str] | None, start: Starter) -> int:
    """Have a process serve and wait until it does; return its ID."""
    reading, writing = os.pipe()
    try:
        output = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            pid = start(request, writing, output)
        finally:
            os.close(output)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        with open(reading, "rb") as answer:
            said = answer.read().decode(errors="surrogateescape").strip()
    except BaseException:
        process = _open_process(pid)
        if process >= 0:
            signal.pidfd_send_signal(process, signal.SIGTERM)  # it unmounts
        _wait_for(pid, process, 10)
        raise
    if said != "ok":
        status = _wait_for(pid, _open_process(pid), 10)
        ended = "" if status is None else f" with {status}"
        raise MountError(said.removeprefix("error ") or f"{request.mountpoint}: the serving process ended{ended}")
    return pid


def start_interpreter(request: Request, answer: int, log: int) -> int:
    """Start an interpreter that serves a mount; return its number."""
    import subprocess  # here and below: a process that serves a mount has no use for it, and would carry it along

    _reap()
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from fusefs.serve import main; sys.exit(main())"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=log,
        pass_fds=(answer,),
        start_new_session=True,
        cwd="/",
        env=_environment(),
    )
    _CHILDREN.add(process.pid)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(replace(request, answer=answer).to_json().encode())
    process.returncode = 0  # it is asked for by its number: it may outlive this process, of which Popen would warn
    return process.pid


#: Serving processes that this process started, so that their end can be waited for.
_CHILDREN: set[int] = set()


def _reap() -> None:
    """Let those go that have ended without being unmounted from here."""
    for pid in tuple(_CHILDREN):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0]:
                _CHILDREN.discard(pid)


def _environment() -> dict[str, str]:
    """Return the environment of a serving process: where its modules are, and nothing of the caller's own."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")}
    own = str(Path(__file__).resolve().parent.parent)
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))
    kept["PYTHONUTF8"] = "1"
    kept["PYTHONHASHSEED"] = "0"  # a listing's order is then the same on every mount
    return kept


def _mount_options(stack: Stack) -> list[str]:
    found = ["subtype=layerlab"]
    if os.geteuid() == 0:
        found += ["allow_other", "dev", "suid"]
    if stack.upper is None:
        found.append("ro")
    return found


def _mounts() -> Iterator[tuple[str, str, str]]:
    """Yield mountpoint, filesystem type and source of each mount, the last one mounted on a point last."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            left, _, right = line.partition(" - ")
            kind, source = right.split()[:2]
            yield _unescape(left.split()[4]), kind, _unescape(source)


def _unescape(text: str) -> str:
    """Undo the octal escapes of the kernel's mount tables."""
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def find_mount(mountpoint: str | os.PathLike[str]) -> Mount | None:
    """Return what is mounted exactly at a place, None if nothing is. A mount of another kind has its type as driver."""
    where = os.path.realpath(os.path.dirname(os.path.abspath(mountpoint)))
    path = os.path.join(where, os.path.basename(os.path.abspath(mountpoint)))
    found: Mount | None = None
    for point, kind, source in _mounts():
        if point == path:
            pid = source.removeprefix(SOURCE) if source.startswith(SOURCE) else ""
            found = Mount(Path(path), "fuse" if pid.isdigit() else kind, int(pid) if pid.isdigit() else 0)
    return found


def find_mounts(below: str | os.PathLike[str]) -> list[Mount]:
    """Return the mounts of this package below a directory, the innermost first; also those that nobody serves."""
    top = os.path.realpath(below)
    found = []
    for point, _, source in _mounts():
        pid = source.removeprefix(SOURCE)
        if source.startswith(SOURCE) and pid.isdigit() and point.startswith(f"{top}/"):
            found.append(Mount(Path(point), "fuse", int(pid)))
    return found[::-1]


def unmount(mountpoint: str | os.PathLike[str], *, timeout: float = 10.0, lazy: bool = False) -> None:
    """Unmount what is mounted at a place, also where the serving process is dead, and wait for that process to end.

    Parameters
    ----------
    mountpoint
        The place.
    timeout
        Seconds after which the process is told to end: in another mount namespace, copied meanwhile from this one,
        its mount may be there yet.
    lazy
        Whether to take the mount away also where it is in use: who uses it goes on with it.

    Raises
    ------
    MountError
        Nothing is mounted there, or it is in use.
    """
    found = find_mount(mountpoint)
    if found is None:
        raise MountError(f"{os.fspath(mountpoint)}: nothing is mounted here")
    if lazy:  # its process may serve for long yet
        found.detach()
        return
    process = _open_process(found.pid)
    try:
        _umount(found.mountpoint)
    except BaseException:
        if process >= 0:
            os.close(process)
        raise
    _wait_for(found.pid, process, timeout)


def _umount(path: Path, lazy: bool = False) -> None:
    if os.geteuid() == 0:
        try:
            syscalls.umount(os.fsencode(path), syscalls.MNT_DETACH if lazy else 0)
        except OSError as error:
            raise MountError(f"{path}: cannot be unmounted: {error.strerror}{_users(path)}") from None
        return
    import subprocess

    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        raise MountError("fusermount: not found, and only root unmounts without it; install the package 'fuse3'")
    done = subprocess.run([program, "-uz" if lazy else "-u", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().rpartition(": ")[2] or "refused"
        raise MountError(f"{path}: cannot be unmounted: {said}{_users(path)}")


def _users(path: Path) -> str:
    """Return who keeps a mount busy, as far as this process may see it."""
    users: list[str] = []
    inside = (str(path), f"{path}/")
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            held = [os.readlink(process / "cwd"), os.readlink(process / "root")]
            held += [os.readlink(one) for one in (process / "fd").iterdir()]
            if any(one == inside[0] or one.startswith(inside[1]) for one in held):
                users.append(f"{process.name} ({(process / 'comm').read_text().strip()})")
    return f"; in use by process {', '.join(users[:3])}: end it or leave the directory" if users else ""


def _open_process(pid: int) -> int:
    """Return a descriptor of a process that serves a mount; -1 where it is gone, or another one has its number."""
    if not pid:
        return -1
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return -1
    if pid in _CHILDREN or _serves(pid):
        return process
    os.close(process)
    return -1


def _wait_for(pid: int, process: int, timeout: float) -> int | None:
    """Wait until a serving process is gone, and close its descriptor; one that does not end is told to.

    Returns
    -------
    int or None
        Its exit status; None where it is not this process's child.
    """
    mine = pid in _CHILDREN
    _CHILDREN.discard(pid)
    if process >= 0:
        try:
            poll = select.poll()
            poll.register(process, select.POLLIN)
            if not poll.poll(timeout * 1000):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, signal.SIGTERM)
                poll.poll(1000)
        finally:
            os.close(process)
    if mine:
        with contextlib.suppress(ChildProcessError):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None


def _serves(pid: int) -> bool:
    """Tell whether a process is alive and serves a mount; one that has ended, and whose parent sleeps, is not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    name, _, rest = status.partition(b"(")[2].rpartition(b")")
    if rest.split()[:1] in ([b"Z"], [b"X"]):
        return False
    return name.decode(errors="replace") == NAME or b"layerlab-overlayfs" in command or b"fusefs.dropin" in command
