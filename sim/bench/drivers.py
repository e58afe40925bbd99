"""The storage drivers that are measured side by side.

Decided here and only here: which there are, with which options each is mounted, and why one is left out. The same
functions serve the command, pytest and the notebook. One thread.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from fusefs import FusefsError, JournalLayer, Level, Options, Recorder, Redirect, Stack, UnionFS, mount
from fusefs.drivers.devfuse.options import Passthrough, Tuning
from fusefs.mount import choose_driver
from sim.bench import peers
from sim.bench.errors import Unavailable
from sim.bench.files import MountedFiles, UnionFiles
from sim.bench.result import Missing
from sim.bench.session import Driver, Layout, PlainSession, Session

__all__ = ["DRIVERS", "choose"]


def _stack(layout: Layout) -> Stack:
    return Stack(layout.lower, layout.upper, layout.work)


def _options(layout: Layout, *, metacopy: bool = False) -> Options:
    # overlayfs takes metacopy=on with redirects only: they say where the data is of what was moved.
    redirect = Redirect.ON if metacopy else Options().redirect
    return Options(metacopy=metacopy, redirect=redirect, volatile=layout.durability == "off")


def _mounted(
    name: str,
    layout: Layout,
    driver: str,
    *,
    passthrough: Passthrough = Passthrough.AUTO,
    level: Level = Level.NONE,
    metacopy: bool = False,
) -> Session:
    """Mount with one of our drivers, or by the kernel."""
    journal = layout.merged.with_name("journal.db") if level is not Level.NONE else None
    options = _options(layout, metacopy=metacopy)
    if driver == "overlayfs":  # as it is without options, on this kernel
        options = replace(options, index=_kernel_default("index"))
    made = mount(
        _stack(layout),
        layout.merged,
        driver=driver,
        options=options,
        journal=journal,
        level=level,
        tuning=Tuning(passthrough=passthrough),
    )
    return Session(name, layout, MountedFiles(layout.merged), layout.merged, pid=made.pid, close=made.unmount)


def _kernel_default(parameter: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/sys/module/overlay/parameters/{parameter}").read_text().strip() == "Y"
    return False


def _in_process(name: str, layout: Layout, *, level: Level = Level.NONE) -> Session:
    record: Recorder | None = None
    if level is not Level.NONE:
        layers = [JournalLayer(0, "rw", "upper", layout.upper)]
        layers += [JournalLayer(number, "ro", path.name, path) for number, path in enumerate(layout.lower, 1)]
        record = Recorder(layout.merged.with_name("journal.db"), layers, level=level)
    fs = UnionFS(layout.lower, layout.upper, layout.work, record=record, options=_options(layout))

    def close() -> None:
        fs.close()
        if record is not None:
            record.close()

    return Session(name, layout, UnionFiles(fs), None, close=close)


def _plain(layout: Layout) -> Session:
    return PlainSession("plain", layout, MountedFiles(layout.merged), layout.merged)


def _nothing() -> str:
    return ""


def _no_fuse() -> str:
    if not os.path.exists("/dev/fuse"):
        return "the kernel offers no FUSE here; try 'modprobe fuse'"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse: permission denied; run the command with sudo"
    if os.geteuid() != 0 and not (shutil.which("fusermount3") or shutil.which("fusermount")):
        return "fusermount is not installed; apt-get install fuse3"
    return ""


def _no_fuse_python() -> str:
    from importlib.util import find_spec

    return _no_fuse() or ("" if find_spec("fuse") else "fuse-python is not installed; pip install fuse-python")


def _no_devfuse() -> str:
    lacking = _no_fuse()
    if lacking:
        return lacking
    try:
        return "" if choose_driver() == "devfuse" else "devfuse needs Linux 5.4 or newer"
    except FusefsError as error:
        return str(error)


def _no_overlayfs() -> str:
    if os.geteuid() != 0:
        return "the kernel's overlayfs is mounted by root only; run the command with sudo"
    known = "\toverlay\n" in Path("/proc/filesystems").read_text()
    return "" if known else "this kernel has no overlayfs; try 'modprobe overlay'"


def _all() -> Iterable[Driver]:
    ours: Callable[..., Session] = _mounted
    devfuse = functools.partial(ours, driver="devfuse")
    yield Driver("plain", "a plain directory, no union at all", "", _plain, _nothing)
    yield Driver(
        "overlayfs", "the kernel's own union", "-t overlay", _bind("overlayfs", driver="overlayfs"), _no_overlayfs
    )
    yield Driver(
        "overlayfs+metacopy", "the kernel's own union, at its best", "-t overlay -o metacopy=on,redirect_dir=on",
        _bind("overlayfs+metacopy", driver="overlayfs", metacopy=True), _no_overlayfs, extra=True,
    )  # fmt: skip
    yield Driver(
        "devfuse", "the FUSE protocol in Python, with kernel passthrough", "--driver devfuse",
        lambda layout: devfuse("devfuse", layout), _no_devfuse,
    )  # fmt: skip
    yield Driver(
        "devfuse-no-passthrough", "the same without passthrough, as for an ordinary user",
        "--driver devfuse --passthrough off",
        _bind("devfuse-no-passthrough", driver="devfuse", passthrough=Passthrough.OFF), _no_devfuse,
    )  # fmt: skip
    yield Driver(
        "devfuse+metacopy", "the same, a change of metadata copies no data",
        "--driver devfuse -o metacopy=on,redirect_dir=on",
        _bind("devfuse+metacopy", driver="devfuse", metacopy=True), _no_devfuse, extra=True,
    )  # fmt: skip
    yield Driver(
        "fuse-python", "libfuse 2 from Python", "--driver fuse-python",
        _bind("fuse-python", driver="fuse-python"), _no_fuse_python,
    )  # fmt: skip
    yield Driver(
        "in-process", "the union in this process, no mount", "UnionFS(...)", _bind_process("in-process"), _nothing
    )
    overlay = functools.partial(peers.program_lacks, "fuse-overlayfs", "fuse-overlayfs")
    union = functools.partial(peers.program_lacks, "unionfs", "unionfs-fuse")
    yield Driver(
        "fuse-overlayfs", "overlayfs in C over FUSE", "fuse-overlayfs",
        lambda layout: peers.fuse_overlayfs(layout, "fuse-overlayfs"), overlay,
    )  # fmt: skip
    best = peers.FUSE_OVERLAYFS_BEST
    yield Driver(
        "fuse-overlayfs-best", "the same, at its best documented options", f"fuse-overlayfs -o {','.join(best)}",
        lambda layout: peers.fuse_overlayfs(layout, "fuse-overlayfs-best", best), overlay,
    )  # fmt: skip
    yield Driver(
        "unionfs-fuse", "a union in C over FUSE", "unionfs -o cow,max_files=32768",
        lambda layout: peers.unionfs(layout, "unionfs-fuse"), union,
    )  # fmt: skip
    most = peers.UNIONFS_BEST
    yield Driver(
        "unionfs-fuse-best", "the same, at its best documented options",
        f"unionfs -o cow,max_files=32768,{','.join(most)}",
        lambda layout: peers.unionfs(layout, "unionfs-fuse-best", most), union,
    )  # fmt: skip
    for base, why in (("devfuse", _no_devfuse), ("fuse-python", _no_fuse_python)):
        for level in (Level.METADATA, Level.ALL):
            name = f"{base}+record-{level.value}"
            yield Driver(
                name, f"{base}, recording level {level.value}",
                f"--driver {base} --journal FILE --record {level.value}",
                _bind(name, driver=base, level=level), why, extra=True,
            )  # fmt: skip
    for level in (Level.METADATA, Level.ALL):
        name = f"in-process+record-{level.value}"
        yield Driver(
            name, f"the union in this process, recording level {level.value}", "UnionFS(..., record=Recorder(...))",
            _bind_process(name, level), _nothing, extra=True,
        )  # fmt: skip


def _bind(
    name: str,
    *,
    driver: str,
    passthrough: Passthrough = Passthrough.AUTO,
    level: Level = Level.NONE,
    metacopy: bool = False,
) -> Callable[[Layout], Session]:
    return lambda layout: _mounted(name, layout, driver, passthrough=passthrough, level=level, metacopy=metacopy)


def _bind_process(name: str, level: Level = Level.NONE) -> Callable[[Layout], Session]:
    return lambda layout: _in_process(name, layout, level=level)


#: By name, in the order of reports.
DRIVERS: Mapping[str, Driver] = MappingProxyType({driver.name: driver for driver in _all()})


def choose(names: Iterable[str] = (), known: Mapping[str, Driver] = DRIVERS) -> tuple[list[Driver], list[Missing]]:
    """Return the drivers that can be measured here, and those that are left out with the reasons.

    Parameters
    ----------
    names
        Which are wanted; without any, all that are not extra.
    known
        The drivers to choose from.

    Raises
    ------
    Unavailable
        There is no driver of a name, or none of them can be used.
    """
    wanted = list(names) or [driver.name for driver in known.values() if not driver.extra]
    found, missing = [], []
    for name in dict.fromkeys(wanted):
        if name not in known:
            raise Unavailable(f"{name}: there is no such driver; there are {', '.join(known)}")
        lacking = known[name].lacks()
        if lacking:
            missing.append(Missing(name, lacking))
        else:
            found.append(known[name])
    if not found:
        raise Unavailable("; ".join(f"{one.what}: {one.why}" for one in missing))
    return found, missing
