"""What is mounted in a container, as clients ask for it: `-v`, `--mount`, `--volumes-from`, an image's volumes.

Decided here and only here: how the words of a bind are read, what is refused and how that is worded, and which of two
wishes for one place counts. Functions only, but for the look whether a bind's source is there; any thread.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from sim.engine.errors import BadParameterError, EngineError
from sim.engine.model import Config, HostConfig, MountPoint, MountWish
from sim.runtime import Tmpfs

__all__ = ["mount_points", "parse_bind", "parse_tmpfs"]

_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_CONSISTENCIES = ("consistent", "cached", "delegated", "default")
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def mount_points(
    config: Config, host: HostConfig, others: Callable[[str], Iterable[MountPoint]], *, shallow: bool = False
) -> tuple[MountPoint, ...]:
    """Return what is to be mounted; a volume without a name is still to get one.

    Parameters
    ----------
    others
        Returns the mounts of another container, for `--volumes-from`.
    shallow
        Whether what is mounted below a read-only directory of the host stays writable: so it was before API 1.44.

    Raises
    ------
    BadParameterError, EngineError
        A wish makes no sense, or two are for the same place.
    """
    found: dict[str, MountPoint] = {}
    for wish in host.volumes_from or ():
        name, _, mode = wish.partition(":")
        writable = _writable(mode, wish)
        for point in others(name):
            if point.type != "tmpfs":
                found[point.destination] = _taken(point, writable)
    asked: set[str] = {_cleaned(target) for target in host.tmpfs or {}}
    for text in host.binds or ():
        _add(found, asked, _as_before(parse_bind(text, host.volume_driver), shallow))
    for mount in host.mounts or ():
        if shallow and mount.bind_options and mount.bind_options.read_only_force_recursive:
            raise BadParameterError("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
        _add(found, asked, _as_before(_mounted(mount, host.volume_driver), shallow))
    for target in config.volumes or {}:
        place = _cleaned(target)
        if place == "/" or not place.startswith("/"):
            continue
        if place not in found and place not in asked:
            found[place] = MountPoint(type="volume", destination=place, driver="local", copies=True)
    for target, options in (host.tmpfs or {}).items():
        parse_tmpfs(target, options)
    return tuple(found.values())


def _taken(point: MountPoint, writable: bool | None) -> MountPoint:
    return point if writable is None else replace(point, rw=point.rw and writable, copies=False)


def _writable(mode: str, wish: str) -> bool | None:
    words = [word for word in mode.split(",") if word]
    if any(word not in ("ro", "rw", "z", "Z") for word in words):
        raise BadParameterError(f"invalid volumes-from specification: '{wish}': invalid mode: {mode}")
    return None if not words else "ro" not in words


def _as_before(point: MountPoint, shallow: bool) -> MountPoint:
    return replace(point, shallow=True) if shallow and point.type == "bind" and not point.rw else point


def _add(found: dict[str, MountPoint], asked: set[str], point: MountPoint) -> None:
    if point.destination in asked:
        raise BadParameterError(f"Duplicate mount point: {point.destination}")
    asked.add(point.destination)
    found[point.destination] = point


def _cleaned(path: str) -> str:
    """Return a path as Go's path.Clean writes it; `normpath` alone keeps two slashes at the beginning."""
    return re.sub("^//+", "/", posixpath.normpath(path)) if path else ""


def parse_bind(text: str, driver: str = "") -> MountPoint:
    """Read one `-v`: `[source:]destination[:mode]`.

    Examples
    --------
    >>> point = parse_bind("/srv:/data:ro")
    >>> point.type, point.source, point.destination, point.rw
    ('bind', '/srv', '/data', False)
    >>> parse_bind("cache:/data").name
    'cache'
    """
    parts = text.split(":")
    if len(parts) > 3 or not text or "" in parts[:2]:
        raise BadParameterError(f"invalid volume specification: '{text}'")
    source, target, mode = ("", parts[0], "") if len(parts) == 1 else (parts[0], parts[1], ":".join(parts[2:]))
    writable, copies, propagation = _mode(mode)
    kind = "bind" if source.startswith("/") else "volume"
    _check_target(target, f"invalid volume specification: '{text}': invalid mount config for type \"{kind}\": ")
    target = _cleaned(target)
    if kind == "bind":
        return MountPoint(
            type="bind",
            source=_cleaned(source),
            destination=target,
            mode=mode,
            rw=writable,
            propagation=propagation or "rprivate",
            makes=True,
        )
    if propagation:
        raise BadParameterError(f"invalid volume specification: '{text}'")
    return MountPoint(
        type="volume",
        name=source,
        destination=target,
        driver=driver or "local",
        mode=mode or ("z" if source else ""),
        rw=writable,
        copies=copies,
    )


def _mode(mode: str) -> tuple[bool, bool, str]:
    """Return whether it is writable, whether the image's content is copied, and the propagation."""
    writable, copies, propagation = True, True, ""
    seen: set[str] = set()
    for word in mode.split(",") if mode else ():
        if word in ("ro", "rw"):
            kind, writable = "rw", word == "rw"
        elif word in ("z", "Z"):
            kind = "label"
        elif word == "nocopy":
            kind, copies = "copy", False
        elif word in _PROPAGATIONS:
            kind, propagation = "propagation", word
        elif word in _CONSISTENCIES:
            kind = "consistency"
        else:
            kind = ""
        if not kind or kind in seen:
            raise BadParameterError(f"invalid mode: {mode}")
        seen.add(kind)
    return writable, copies, propagation


def _check_target(target: str, before: str) -> None:
    if not target.startswith("/"):
        raise BadParameterError(f"{before}invalid mount path: '{target}' mount path must be absolute")
    if _cleaned(target) == "/":
        raise BadParameterError(f"{before}invalid specification: destination can't be '/'")


def _mounted(wish: MountWish, driver: str) -> MountPoint:
    """Read one `--mount`."""
    before = f'invalid mount config for type "{wish.type}": '
    if wish.type not in ("bind", "volume", "tmpfs"):
        raise BadParameterError(f"{before}mount type unknown")
    if not wish.target:
        raise BadParameterError(f"{before}field Target must not be empty")
    _check_target(wish.target, before)
    for kind, given in (("bind", wish.bind_options), ("volume", wish.volume_options), ("tmpfs", wish.tmpfs_options)):
        if given is not None and kind != wish.type:
            raise BadParameterError(f"{before}field {kind.capitalize()}Options must not be specified")
    target = _cleaned(wish.target)
    if wish.type == "tmpfs":
        if wish.source:
            raise BadParameterError(f"{before}field Source must not be specified")
        chosen = wish.tmpfs_options
        options = ",".join(
            word
            for word, wanted in (
                (f"size={chosen.size_bytes}" if chosen else "", bool(chosen and chosen.size_bytes)),
                (f"mode={chosen.mode:o}" if chosen else "", bool(chosen and chosen.mode)),
                ("ro", wish.read_only),
            )
            if wanted
        )
        return MountPoint(type="tmpfs", destination=target, rw=not wish.read_only, options=options)
    if wish.type == "bind":
        return _bound(wish, target, before)
    chosen_volume = wish.volume_options
    if wish.source.startswith("/"):
        raise BadParameterError(f"{before}invalid mount path: '{wish.source}' is no volume's name")
    named = chosen_volume.driver_config.name if chosen_volume and chosen_volume.driver_config else ""
    return MountPoint(
        type="volume",
        name=wish.source,
        destination=target,
        driver=named or driver or "local",
        mode="z",
        rw=not wish.read_only,
        copies=not (chosen_volume and chosen_volume.no_copy) and not (chosen_volume and chosen_volume.subpath),
        subpath=chosen_volume.subpath if chosen_volume else "",
    )


def _bound(wish: MountWish, target: str, before: str) -> MountPoint:
    if not wish.source:
        raise BadParameterError(f"{before}field Source must not be empty")
    if not wish.source.startswith("/"):
        raise BadParameterError(f"{before}invalid mount path: '{wish.source}' mount path must be absolute")
    chosen = wish.bind_options
    propagation = chosen.propagation if chosen else ""
    if propagation and propagation not in _PROPAGATIONS:
        raise BadParameterError(f"{before}invalid propagation mode: {propagation}")
    shallow, deep = (chosen.read_only_non_recursive, chosen.read_only_force_recursive) if chosen else (False, False)
    for asked, name in ((shallow, "ReadOnlyNonRecursive"), (deep, "ReadOnlyForceRecursive")):
        if asked and not wish.read_only:
            raise BadParameterError(f"mount options conflict: !ReadOnly && BindOptions.{name}")
    if shallow and deep:
        raise BadParameterError("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive")
    makes = bool(chosen and chosen.create_mountpoint)
    if not makes and not os.path.lexists(wish.source):
        raise BadParameterError(f"{before}bind source path does not exist: {wish.source}")
    return MountPoint(
        type="bind",
        source=_cleaned(wish.source),
        destination=target,
        rw=not wish.read_only,
        propagation=propagation or "rprivate",
        makes=makes,
        recursive=not (chosen and chosen.non_recursive),
        shallow=shallow,
    )


def parse_tmpfs(target: str, options: str) -> Tmpfs:
    """Read one `--tmpfs`: options as mount(8) takes them.

    Examples
    --------
    >>> parse_tmpfs("/run", "size=64k,mode=755,exec").size
    65536
    """
    _check_target(target, 'invalid mount config for type "tmpfs": ')
    values: dict[str, int] = {}
    flags = {"exec": False, "dev": False, "suid": False, "ro": False}
    for word in options.split(",") if options else ():
        name, equals, value = word.partition("=")
        if name in ("noexec", "nodev", "nosuid", "rw"):
            flags[{"noexec": "exec", "nodev": "dev", "nosuid": "suid", "rw": "ro"}[name]] = False
        elif name in flags:
            flags[name] = True
        elif equals and name in ("size", "mode", "uid", "gid"):
            values[name] = _number(value, name, options)
        elif name not in ("defaults", "relatime", "noatime", "nr_inodes", "nr_blocks", "async", "sync", "strictatime"):
            raise BadParameterError(f'invalid tmpfs option ["{word}"]')
    return Tmpfs(
        _cleaned(target),
        size=values.get("size", 0),
        mode=values.get("mode", 0o1777),
        uid=values.get("uid", 0),
        gid=values.get("gid", 0),
        executable=flags["exec"],
        devices=flags["dev"],
        setuid=flags["suid"],
        read_only=flags["ro"],
    )


def _number(text: str, name: str, options: str) -> int:
    found = re.fullmatch(r"(\d+)([bkmgt]?)", text.lower())
    if found is None or (name != "size" and found[2]):
        raise BadParameterError(f"invalid tmpfs option {name}={text} in {options!r}")
    return int(found[1], 8) if name == "mode" else int(found[1]) * _UNITS[found[2]]


def volume_labels(host: HostConfig) -> Mapping[str, MountWish]:
    """Return the mounts of type volume by their place: they may say labels and options of a new volume."""
    return {_cleaned(wish.target): wish for wish in host.mounts or () if wish.type == "volume" and wish.volume_options}


def subdirectory(volume: str, subpath: str) -> str:
    """Return the part of a volume's directory that is mounted.

    Raises
    ------
    EngineError
        It would lead out of the volume, or is not there.
    """
    if not subpath:
        return volume
    place = os.path.realpath(os.path.join(volume, subpath))
    if not place.startswith(os.path.realpath(volume) + "/") or not os.path.exists(place):
        raise EngineError(f"cannot access path {os.path.join(volume, subpath)}: no such file or directory")
    return place
