"""The option string of mount(8), as in `mount -t overlay -o lowerdir=B:A,upperdir=U,workdir=W`.

Decided here: which of the options of the kernel's overlayfs are understood, and how its escapes are undone: a backslash
keeps a comma or a colon from separating, and a second backslash is one (the kernel's document `filesystems/overlayfs`,
section "Multiple lower layers").

Values only; any thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from fusefs.marks import Format
from fusefs.optionstring import split, unescape
from fusefs.stack import Options, Redirect

__all__ = ["MountOptions", "parse"]

T = TypeVar("T")

_SWITCHES = {"on": True, "off": False}

_REDIRECTS = {
    "on": Redirect.ON,
    "follow": Redirect.FOLLOW,
    "nofollow": Redirect.NOFOLLOW,
    "off": Redirect.FOLLOW,  # the kernel follows what is there, unless it was built otherwise
}


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What an option string says.

    Attributes
    ----------
    lower
        The read-only layers, the topmost first.
    upper, work
        As in `fusefs.Stack`; None where not given.
    options
        How the stack behaves.
    """

    lower: tuple[Path, ...] = ()
    upper: Path | None = None
    work: Path | None = None
    options: Options = field(default_factory=Options)


def parse(text: str) -> MountOptions:
    r"""Read an option string.

    Raises
    ------
    ValueError
        An option is unknown or has a wrong value; the text says which ones there are.

    Examples
    --------
    >>> found = parse("lowerdir=/b:/a,upperdir=/u,workdir=/w,redirect_dir=on")
    >>> [str(path) for path in found.lower], str(found.upper), found.options.redirect.value
    (['/b', '/a'], '/u', 'on')
    >>> [str(path) for path in parse(r"lowerdir=/one\:two:/three\,four").lower]
    ['/one:two', '/three,four']
    """
    said = MountOptions()
    for word in split(text, ","):
        name, equals, value = word.partition("=")
        if name in ("", "rw", "defaults"):
            continue
        if name == "ro":
            said = replace(said, upper=None, work=None)
        elif name in _PATHS or name in _BEHAVIOURS or name == "lowerdir+":
            if not equals and name not in ("volatile", "userxattr"):
                raise ValueError(f"the option {name} needs a value: {name}=...")
            said = _apply(said, name, value)
        else:
            known = ", ".join(sorted([*_PATHS, *_BEHAVIOURS, "ro", "rw"]))
            raise ValueError(f"there is no option {name!r}; there are {known}")
    return said


_PATHS = ("lowerdir", "upperdir", "workdir")
_BEHAVIOURS = ("redirect_dir", "index", "metacopy", "volatile", "userxattr")


def _apply(said: MountOptions, name: str, value: str) -> MountOptions:
    options = said.options
    match name:
        case "lowerdir":
            return replace(said, lower=tuple(_path(one) for one in split(value, ":")))
        case "lowerdir+":
            return replace(said, lower=(*said.lower, _path(value)))
        case "upperdir":
            return replace(said, upper=_path(value))
        case "workdir":
            return replace(said, work=_path(value))
        case "redirect_dir":
            options = replace(options, redirect=_choice(name, value, _REDIRECTS))
        case "index":
            options = replace(options, index=_choice(name, value, _SWITCHES))
        case "metacopy":
            options = replace(options, metacopy=_choice(name, value, _SWITCHES))
        case "volatile":
            options = replace(options, volatile=True)
        case "userxattr":
            options = replace(options, marks=Format.USER)
    return replace(said, options=options)


def _path(text: str) -> Path:
    plain = unescape(text)
    if not plain:
        raise ValueError("a directory's name is empty: look for a comma or a colon too many")
    return Path(plain)


def _choice(name: str, value: str, choices: dict[str, T]) -> T:
    if value not in choices:
        raise ValueError(f"{name}={value}: the value is one of {', '.join(choices)}")
    return choices[value]
