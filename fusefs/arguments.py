"""The arguments of `layerlab-overlayfs`: fuse-overlayfs's, the general ones of mount(8), and a few of our own.

Decided here and only here: what each argument and option means. Where fuse-overlayfs(1) and this differ it is for more:
a backslash keeps a colon or comma in a directory's name, the options of the kernel's overlayfs are understood, and
`journal=FILE` records the operations. Values only: any thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fusefs.marks import Format
from fusefs.optionstring import split, unescape
from fusefs.stack import Options, Redirect, Stack

if TYPE_CHECKING:
    from fusefs.mapping import Presentation

__all__ = ["HELP", "NAME", "Wanted", "parse"]

NAME = "layerlab-overlayfs"

HELP = f"""\
usage: {NAME} [options] <mountpoint>

    -h   --help            print help
    -V   --version         print version
    -f                     stay in the foreground
    -d   --debug           show every operation on standard error (implies -f)
    -o lowerdir=A[:B...]   read-only layers, the topmost first; a backslash keeps a colon or comma in a name
    -o upperdir=DIR        the layer that takes the changes; without it the mount is read-only
    -o workdir=DIR         an empty directory on the same filesystem as upperdir
    -o uidmapping=STORED:SHOWN:COUNT[:...]
    -o gidmapping=STORED:SHOWN:COUNT[:...]
                           show the owners that the layers have as others
    -o squash_to_root      show root as the owner of everything
    -o squash_to_uid=UID   show this user as the owner of everything
    -o squash_to_gid=GID   show this group as the group of everything
    -o static_nlink        show 1 as the number of links of a directory
    -o noacl               no ACLs
    -o noxattrs=1          no extended attributes
    -o volatile            write nothing to disk before the kernel does by itself
    -o redirect_dir=on|follow|nofollow|off
    -o index=on|off
    -o metacopy=on|off
    -o userxattr           as the kernel's overlayfs has them
    -o journal=FILE        record the operations in this file
    -o record=all|metadata|none
                           what is recorded
    -o log=FILE            where messages of the serving process go
    -o driver=NAME         the storage driver; auto chooses the best that works here

Of the general options of mount(8), ro, nodev, nosuid, noexec, noatime and their opposites mean what they always mean.
What is unknown is reported and ignored.
"""

#: Options that are handed to the driver as they are.
_FOR_DRIVER = frozenset({
    "rw", "ro", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync", "atime", "noatime",
    "allow_other", "allow_root", "default_permissions", "context", "fscontext", "defcontext", "rootcontext",
})  # fmt: skip

#: Options that are heeded already, or are meant for mount(8) and fstab, or change nothing that could be seen.
_NEEDLESS = frozenset({
    "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "comment",
    "uhelper", "relatime", "norelatime", "strictatime", "diratime", "nodiratime", "lazytime", "nolazytime", "nonempty",
    "xino", "clone_fd", "splice_read", "splice_write", "splice_move", "threaded", "writeback", "fast_ino", "timeout",
})  # fmt: skip

_SWITCHES = {"on": True, "off": False, "1": True, "0": False}
_REDIRECTS = {
    "on": Redirect.ON,
    "follow": Redirect.FOLLOW,
    "nofollow": Redirect.NOFOLLOW,
    "off": Redirect.FOLLOW,
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the arguments ask for.

    Attributes
    ----------
    mountpoint, source
        Where to mount, and what the mount table calls it; "" where not given.
    lower, upper, work
        The directories, as given.
    options
        How the stack behaves.
    uidmapping, gidmapping, squash_uid, squash_gid, static_nlink, acls, xattrs
        What is shown differently, as given.
    driver_options
        What is handed to the driver.
    ignored
        What is unknown.
    foreground, debug, show
        Whether to stay; whether to show the operations; `help` or `version` where only this is asked for.
    driver, journal, record, log
        As in `fusefs.mount.mount`.
    """

    mountpoint: str = ""
    source: str = ""
    lower: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    options: Options = field(default_factory=Options)
    uidmapping: str = ""
    gidmapping: str = ""
    squash_uid: int | None = None
    squash_gid: int | None = None
    squash_to_root: bool = False
    static_nlink: bool = False
    acls: bool = True
    xattrs: bool = True
    driver_options: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    foreground: bool = False
    debug: bool = False
    show: str = ""
    driver: str = "auto"
    journal: str = ""
    record: str = "all"
    log: str = ""

    def stack(self) -> Stack:
        """Return the directories, absolute."""

        def path(name: str) -> Path | None:
            return Path(os.path.abspath(name)) if name else None

        lower = tuple(Path(os.path.abspath(name)) for name in self.lower)
        return Stack(lower, path(self.upper), path(self.work))

    def presentation(self) -> Presentation | None:
        """Return what is shown differently; None if nothing is."""
        usual = not (self.uidmapping or self.gidmapping or self.squash_to_root or self.static_nlink)
        if usual and self.acls and self.xattrs and self.squash_uid is None and self.squash_gid is None:
            return None
        from fusefs.mapping import Ids, Presentation, overflow_id, parse_ranges

        def ids(kind: str, mapping: str, squash: int | None) -> Ids:
            shown = 0 if squash is None and self.squash_to_root else squash
            return Ids(parse_ranges(mapping) if mapping else (), shown, overflow_id(kind))

        return Presentation(
            ids("uid", self.uidmapping, self.squash_uid),
            ids("gid", self.gidmapping, self.squash_gid),
            count_links=not self.static_nlink,
            access_lists=self.acls,
            attributes=self.xattrs,
        )


def parse(arguments: Sequence[str]) -> Wanted:
    r"""Read the command's arguments.

    Raises
    ------
    ValueError
        A known option has a wrong value; the text says which.

    Examples
    --------
    >>> found = parse(["-o", r"lowerdir=/b\:1:/a,upperdir=u,workdir=w,,volatile,bla", "/mnt"])
    >>> found.lower, found.upper, found.options.volatile, found.ignored, found.mountpoint
    (('/b:1', '/a'), 'u', True, ('bla',), '/mnt')
    """
    wanted = Wanted()
    places: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        match word:
            case "--":
                places += rest
                rest = []
            case "-h" | "--help":
                return replace(wanted, show="help")
            case "-V" | "--version":
                return replace(wanted, show="version")
            case "-f":
                wanted = replace(wanted, foreground=True)
            case "-d" | "--debug":
                wanted = replace(wanted, foreground=True, debug=True)
            case "-s":
                pass
            case "-o" if not rest:
                raise ValueError("-o: the options are missing")
            case "-o":
                wanted = _options(wanted, rest.pop(0))
            case _ if word.startswith("-o"):
                wanted = _options(wanted, word[2:])
            case _ if word.startswith("-") and word != "-":
                wanted = replace(wanted, ignored=(*wanted.ignored, word))
            case _:
                places.append(word)
    # mount(8) calls its helpers with the source before the mountpoint.
    source = places[-2] if len(places) > 1 and places[-2] != "none" else ""
    return replace(wanted, mountpoint=places[-1] if places else "", source=wanted.source or source)


def _options(wanted: Wanted, text: str) -> Wanted:
    for word in split(text, ","):
        name, _, value = word.partition("=")
        if name and not name.startswith("x-"):
            wanted = _option(wanted, name, value, word)
    return wanted


def _option(wanted: Wanted, name: str, value: str, word: str) -> Wanted:
    """Return what is wanted with one more option."""
    options = wanted.options
    plain = unescape(value)
    match name:
        case "lowerdir":
            return replace(wanted, lower=tuple(unescape(one) for one in split(value, ":") if one))
        case "lowerdir+":
            return replace(wanted, lower=(*wanted.lower, plain))
        case "upperdir":
            return replace(wanted, upper=plain)
        case "workdir":
            return replace(wanted, work=plain)
        case "uidmapping":
            return replace(wanted, uidmapping=plain)
        case "gidmapping":
            return replace(wanted, gidmapping=plain)
        case "squash_to_uid":
            return replace(wanted, squash_uid=_number(name, plain))
        case "squash_to_gid":
            return replace(wanted, squash_gid=_number(name, plain))
        case "squash_to_root":
            return replace(wanted, squash_to_root=True)
        case "static_nlink":
            return replace(wanted, static_nlink=True)
        case "noacl":
            return replace(wanted, acls=False)
        case "noxattrs":
            return replace(wanted, xattrs=not _choice(name, plain or "1", _SWITCHES))
        case "volatile":
            options = replace(options, volatile=True)
        case "fsync":
            options = replace(options, volatile=not _choice(name, plain, _SWITCHES))
        case "redirect_dir":
            options = replace(options, redirect=_choice(name, plain, _REDIRECTS))
        case "index":
            options = replace(options, index=_choice(name, plain, _SWITCHES))
        case "metacopy":
            options = replace(options, metacopy=_choice(name, plain, _SWITCHES))
        case "userxattr":
            options = replace(options, marks=Format.USER)
        case "xattr_permissions" if plain in ("1", "2"):
            raise ValueError(
                f"{word}: owners and modes in extended attributes cannot be shown;"
                " remove 'force_mask' from storage.conf, or take fuse-overlayfs"
            )
        case "debug":
            return replace(wanted, foreground=True, debug=True)
        case "driver":
            return replace(wanted, driver=plain)
        case "journal":
            return replace(wanted, journal=os.path.abspath(plain))
        case "record":
            return replace(wanted, record=_choice(name, plain, {one: one for one in ("all", "metadata", "none")}))
        case "log":
            return replace(wanted, log=os.path.abspath(plain))
        case "fsname":
            return replace(wanted, source=plain)
        case _ if name in _FOR_DRIVER:
            return replace(wanted, driver_options=(*wanted.driver_options, word))
        case _ if name in _NEEDLESS or name == "subtype":
            return wanted
        case _:
            return replace(wanted, ignored=(*wanted.ignored, word))
    return replace(wanted, options=options)


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and int(value) < (1 << 32) - 1):
        raise ValueError(f"{name}={value}: the value is the number of a user or group")
    return int(value)


def _choice(name: str, value: str, choices: dict[str, T]) -> T:
    if value not in choices:
        raise ValueError(f"{name}={value}: the value is one of {', '.join(choices)}")
    return choices[value]
