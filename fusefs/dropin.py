"""`layerlab-overlayfs`: the union as a command that takes fuse-overlayfs's arguments.

So that podman and buildah use it as their `mount_program`, and fstab through the type `fuse.layerlab-overlayfs`.

Decided here and only here: when the command ends, and what the driver is told. What the arguments mean is decided in
`arguments.py`.

Without `-f` the command ends once the mount works (status 0) or cannot be (1, and one line on standard error); a
process of its own goes on serving. Everything is in one interpreter, forked once, since podman mounts often. One
thread until the driver starts its own.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fusefs.arguments import HELP, NAME, Wanted, parse
from fusefs.errors import FusefsError, MountError

if TYPE_CHECKING:
    from fusefs.operation import Operation
    from fusefs.serve import Request

__all__ = ["main", "run"]

#: Options of those that are so without being said; drivers are told of what is unusual only.
_USUAL = frozenset({"rw", "async", "exec", "atime", "nodev", "nosuid", "default_permissions"})

#: How long to wait for the end of a mount that had the same directories, in seconds.
_PATIENCE = 3.0


def _complain(text: str) -> None:
    print(f"{NAME}: {text}", file=sys.stderr, flush=True)


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for; return the exit status. In the serving process it returns when the mount is gone.

    Parameters
    ----------
    arguments
        What comes after the command's name.
    """
    try:
        wanted = parse(arguments)
        if wanted.show:
            _show(wanted.show)
            return 0
        for word in wanted.ignored:
            print(f"unknown argument ignored: {word}", file=sys.stderr, flush=True)
        return _mount(wanted)
    except (ValueError, FusefsError) as error:
        _complain(" ".join(str(error).split()))
        return 1


def _show(what: str) -> None:
    if what == "help":
        print(HELP, end="")
        return
    from importlib.metadata import PackageNotFoundError, version

    for package, name in (("layerlab", NAME), ("fuse-python", "fuse-python")):
        try:
            print(f"{name}: version {version(package)}")
        except PackageNotFoundError:
            print(f"{name}: not installed")


def _mount(wanted: Wanted) -> int:
    from fusefs.mount import DRIVERS, choose_driver
    from fusefs.serve import Request

    if not wanted.mountpoint:
        raise MountError(f"no mountpoint specified; `{NAME} --help` lists what it takes")
    mountpoint = os.path.abspath(wanted.mountpoint)
    if not os.path.isdir(mountpoint):
        raise MountError(f"{mountpoint}: there is no such directory to mount on; make it first")
    stack = wanted.stack()
    presentation = wanted.presentation()
    driver = choose_driver() if wanted.driver == "auto" else wanted.driver
    possible = [name for name in DRIVERS if name != "overlayfs"]
    if driver not in possible:
        raise MountError(f"driver={driver}: there is no such driver; there are {', '.join(possible)} and auto")
    request = Request(
        driver=driver,
        lower=[str(path) for path in stack.lower],
        upper=str(stack.upper) if stack.upper else None,
        work=str(stack.work) if stack.work else None,
        mountpoint=mountpoint,
        mount_options=[],
        answer=-1,
        journal=wanted.journal or None,
        level=wanted.record,
        log=wanted.log or None,
        marks=wanted.options.marks.value if wanted.options.marks else None,
        redirect=wanted.options.redirect.value,
        index=wanted.options.index,
        metacopy=wanted.options.metacopy,
        volatile=wanted.options.volatile,
        presentation=asdict(presentation) if presentation else None,
    )
    end = time.monotonic() + _PATIENCE
    for path in (stack.upper, stack.work):
        if path is not None:
            _wait_for_end(path, end)
    if wanted.foreground:
        return _serve_here(request, wanted)
    return _serve_apart(request, wanted)


def _wait_for_end(path: Path, end: float) -> None:
    """Wait for a process that is about to end and still holds an upper or work directory.

    umount(8) returns before the process that served the mount is gone, and podman mounts the same directories again
    at once. Whether the directory can be used is decided afterwards, where the stack is opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while time.monotonic() < end:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
            else:
                return
    except OSError:  # a filesystem without locks
        return
    finally:
        os.close(fd)


def _driver_options(wanted: Wanted, driver: str) -> list[str]:
    """Return the options of the mount as drivers take them; called in the process that serves."""
    found = [f"fsname={wanted.source or f'layerlab:{os.getpid()}'}".replace(",", "\\,"), f"subtype={NAME}"]
    if driver == "fuse-python":  # libfuse 2 refuses a mountpoint with files in it unless told otherwise
        found.append("nonempty")
    if os.geteuid() == 0:
        found += ["allow_other", "dev", "suid"]
    for word in wanted.driver_options:
        opposite = word[2:] if word.startswith("no") else f"no{word}"
        found = [one for one in found if one not in (word, opposite, {"rw": "ro", "async": "sync"}.get(word))]
        if word not in _USUAL:
            found.append(word)
    if not wanted.upper and "ro" not in found:
        found.append("ro")
    return found


def _serve_here(request: Request, wanted: Wanted) -> int:
    """Serve in this process until the mount is gone."""
    from fusefs.serve import run

    answers: list[str] = []

    def say(text: str) -> None:
        if not answers and text != "ok":
            _complain(text.removeprefix("error "))
        answers.append(text)

    served = replace(request, mount_options=_driver_options(wanted, request.driver))
    status = run(served, say, _print if wanted.debug else None)
    return status if answers[:1] == ["ok"] else 1


def _print(operation: Operation, /) -> None:
    """Show an operation on standard error."""
    error = f" = {os.strerror(operation.error)}" if operation.error else ""
    effects = "".join(f", {effect.kind.value} {effect.path!a}" for effect in operation.effects)
    target = f" {operation.target!a}" if operation.target else ""
    layer = "-" if operation.layer is None else operation.layer
    print(f"{operation.kind.value} {operation.path!a}{target} layer {layer}{effects}{error}", file=sys.stderr)


def _serve_apart(request: Request, wanted: Wanted) -> int:
    """Serve in a process of its own; return once the mount works or cannot be."""
    from fusefs.serve import run

    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os.close(writing)
        with open(reading, "rb") as answer:
            said = answer.read().decode(errors="surrogateescape").strip()
        if said == "ok":
            return 0
        raise MountError(said.removeprefix("error ") or f"{request.mountpoint}: the serving process ended")
    status = 1
    try:
        os.close(reading)
        os.setsid()
        os.chdir("/")
        served = replace(request, mount_options=_driver_options(wanted, request.driver))
        status = run(served, _answering(writing))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _answering(fd: int) -> Callable[[str], None]:
    """Return what says one thing to the starter. With `ok` the process lets go of the streams that it was given."""
    descriptors = [fd]

    def say(text: str) -> None:
        if not descriptors:
            return
        if text == "ok":
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nowhere, stream)
            os.close(nowhere)
        os.write(descriptors[0], text.encode(errors="surrogateescape") + b"\n")
        os.close(descriptors.pop())

    return say


def main() -> NoReturn:
    """Run the command with this process's arguments and end the process."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
