"""The steps that the demo's container takes: what it does to its root filesystem, and what that shows.

Decided here: the commands, and which file and directory of the base they act on, so that they work on the demo's own
base image and on any real root filesystem that has a shell. Values only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

__all__ = ["Step", "Targets", "choose_targets", "script", "steps"]

#: Begins the line by which the container says that it has come to a step (the control character "record separator").
MARK = "\x1e"


@dataclass(frozen=True, slots=True)
class Targets:
    """Paths of the base layer that the steps act on.

    Attributes
    ----------
    read
        A file that is only read.
    delete
        A file that is deleted.
    renew
        A directory with something in it, that is deleted and made anew.
    rename
        A file that is renamed.
    """

    read: str
    delete: str
    renew: str
    rename: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes
    ----------
    title
        What is done, in a few words.
    command
        Shell commands.
    lesson
        What the union filesystem does about it.
    """

    title: str
    command: str
    lesson: str


def steps(targets: Targets) -> tuple[Step, ...]:
    """Return the steps, in their order."""
    read, delete, renew, rename = targets.read, targets.delete, targets.renew, targets.rename
    return (
        Step(
            "Look around",
            'read -r name </proc/sys/kernel/hostname; echo "process $$ on the machine $name"; ls /',
            "a process 1 in namespaces of its own; / lists every layer's names as one",
        ),
        Step(
            "Read a file of the base",
            f"head -n 1 {read}",
            "lookup goes from the top down until a layer has the name; reading copies nothing",
        ),
        Step(
            "Read a file that two layers have",
            "cat /etc/motd",
            "the upper one is seen, the lower one is shadowed",
        ),
        Step(
            "Edit /etc/passwd",
            "echo 'guest:x:1000:1000::/home/guest:/bin/sh' >>/etc/passwd",
            "opened for writing: the whole file is copied up to the RW layer first",
        ),
        Step(
            "Delete a file of the base",
            f"rm {delete}",
            "a whiteout in the RW layer hides it; the base keeps it",
        ),
        Step(
            "Delete a directory and make it anew",
            f"rm -r {renew} && mkdir {renew} && echo fresh >{renew}/new",
            "the new directory is opaque: nothing of the old one comes back",
        ),
        Step(
            "Rename a file of the base",
            f"mv {rename} {rename}.renamed",
            "copied up under its new name, with a whiteout for the old one",
        ),
        Step(
            "Make new files",
            "mkdir -p /srv/data && cd /srv/data && echo 1 >one && ln one two && ln -s one three",
            "they are in the RW layer only",
        ),
    )


def script(wanted: tuple[Step, ...]) -> str:
    """Return a shell script of the steps.

    Before each step, and at the end, it writes a line with the step's number and waits for a line on its standard
    input. So whoever reads knows which operations belong to which step.
    """
    lines = ["step() { printf '\\036%s\\n' \"$1\"; read -r _ || exit 1; }"]
    for number, step in enumerate(wanted):
        lines += [f"step {number}", f"{{ {step.command}; }} </dev/null 2>&1"]
    return "\n".join([*lines, f"step {len(wanted)}"])


#: Where a root filesystem usually has what the steps need, the best place first.
_READ = ("etc/os-release", "etc/debian_version", "etc/hostname", "etc/group")
_DELETE = ("etc/issue.net", "etc/issue", "etc/debian_version", "etc/shells", "etc/networks", "etc/group")
_RENAME = ("etc/shells", "etc/issue", "etc/host.conf", "etc/hosts", "etc/protocols", "etc/fstab", "etc/profile")
_RENEW = ("etc/skel", "etc/profile.d", "etc/default", "var/log", "var/cache", "usr/share/doc", "etc/init.d")


def choose_targets(base: Path) -> Targets:
    """Choose what the steps act on.

    Parameters
    ----------
    base
        The base layer's directory.

    Raises
    ------
    click.ClickException
        It has no shell, no /etc/passwd, or nothing to act on.
    """
    if not _reaches_file(base, "bin/sh"):
        raise click.ClickException(f"{base}: there is no /bin/sh in it; give a whole root filesystem with --rootfs")
    if not _is_file(base, "etc/passwd"):
        raise click.ClickException(f"{base}: there is no /etc/passwd in it; give a whole root filesystem with --rootfs")
    read = next((name for name in _READ if _reaches_file(base, name)), "etc/passwd")
    taken = {"etc/passwd", "etc/motd", read}
    delete = _first(base, _DELETE, taken, "file to delete")
    taken.add(delete)
    rename = _first(base, _RENAME, taken, "file to rename")
    for renew in _RENEW:
        place = base / renew
        if _is_directory(base, renew) and any(place.iterdir()) and len(list(place.iterdir())) <= 100:
            return Targets(f"/{read}", f"/{delete}", f"/{renew}", f"/{rename}")
    names = ", ".join(f"/{name}" for name in _RENEW)
    raise click.ClickException(f"{base}: there is no directory in it to delete and make anew; tried {names}")


def _first(base: Path, names: tuple[str, ...], taken: set[str], what: str) -> str:
    for name in (*names, *_files(base / "etc")):
        if name not in taken and _is_file(base, name):
            return name
    raise click.ClickException(f"{base}: there is no {what} in its /etc; give a whole root filesystem with --rootfs")


def _files(directory: Path) -> Iterator[str]:
    for name in sorted(os.listdir(directory)):
        # Names that the shell would take apart are no example for anybody.
        if name.replace("-", "").replace(".", "").replace("_", "").isalnum():
            yield f"etc/{name}"


def _mode(base: Path, name: str) -> int:
    """Return the mode of what a layer has at a path, 0 for nothing; never through a symlink out of the layer."""
    place = base
    for part in Path(name).parts[:-1]:
        place /= part
        if place.is_symlink():
            return 0
    try:
        return (base / name).lstat().st_mode
    except OSError:
        return 0


def _is_file(base: Path, name: str) -> bool:
    return stat.S_ISREG(_mode(base, name))


def _is_directory(base: Path, name: str) -> bool:
    return stat.S_ISDIR(_mode(base, name))


def _reaches_file(base: Path, name: str) -> bool:
    """Whether a path leads to something in the layer, through symlinks as a process in it would follow them."""
    place, rest, hops = base, list(Path(name).parts), 0
    while rest:
        part = rest.pop(0)
        place = place.parent if part == ".." and place != base else place if part == ".." else place / part
        if place.is_symlink():
            hops += 1
            if hops > 40:
                return False
            target = Path(os.readlink(place))
            place = base if target.is_absolute() else place.parent
            rest = [*(part for part in target.parts if part != "/"), *rest]
    return place.is_file()
