"""Control groups: where they are on this machine, a container's own, its limits, freezing and figures.

Decided here and only here: where a container's groups are, and how they are made, frozen, emptied and removed. Each
controller is looked for by itself, since a machine may have some in trees of version 1 and others in the tree of
version 2; what a machine has not is said in a warning and not pretended. Which file holds which limit is decided in
`limits.py`. Objects may be used by any thread; the kernel is what they share.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sim.runtime.devicefilter import attach_device_filter
from sim.runtime.errors import ContainerError, InvalidSpecError, NotRunningError, UnsupportedError
from sim.runtime.limits import check_limits, legacy_settings, unified_settings
from sim.runtime.spec import Limits
from sim.runtime.stats import Stats, legacy_stats, number, table, unified_stats

__all__ = ["ControlGroup", "Layout", "Stats", "check_limits", "sweep"]

_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
#: What runc lets every container use: making any node, but using only the harmless ones and its own terminals.
_DEVICES = ("c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm")
_MORE_DEVICES = ("c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a machine's controllers are.

    Attributes
    ----------
    legacy
        Controller of version 1 and the directory of the caller's own group there.
    unified
        Root of the tree of version 2 as the caller sees it, or None.
    """

    legacy: dict[str, Path]
    unified: Path | None

    @classmethod
    def of_machine(cls) -> Layout:
        """Return the layout of this machine, as this process sees it."""
        return cls.read(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())

    @classmethod
    def read(cls, mountinfo: str, membership: str) -> Layout:
        """Read a layout from the texts of /proc/self/mountinfo and /proc/self/cgroup."""
        own = {}
        for line in membership.splitlines():
            _, controllers, path = line.split(":", 2)
            own.update(dict.fromkeys(controllers.split(","), path))
        legacy: dict[str, Path] = {}
        unified = None
        for line in mountinfo.splitlines():
            before, _, after = line.partition(" - ")
            fields, (kind, _, options) = before.split(), after.split(" ", 2)
            if kind == "cgroup2":
                unified = Path(fields[4])
            elif kind == "cgroup":
                for controller in set(options.split(",")) & set(_CONTROLLERS):
                    below = os.path.relpath(own.get(controller, "/"), fields[3])
                    place = Path(fields[4])
                    legacy.setdefault(controller, place if below.startswith("..") else place / below)
        return cls(legacy, unified)

    @property
    def is_unified(self) -> bool:
        """Whether the controllers that matter are those of version 2."""
        return self.unified is not None and "memory" not in self.legacy and "pids" not in self.legacy

    def available(self) -> frozenset[str]:
        """Return the controllers that containers can have here."""
        if self.is_unified and self.unified is not None:
            with contextlib.suppress(OSError):
                return frozenset((self.unified / "cgroup.controllers").read_text().split()) | {"freezer"}
        return frozenset(self.legacy)


class ControlGroup:
    """The control groups of one container, one in each hierarchy.

    Parameters
    ----------
    name
        Path of the group: "layerlab/ID"; below the caller's own groups in version 1, from the root in version 2.
    layout
        Where the controllers are; by default this machine's.
    """

    def __init__(self, name: str, layout: Layout | None = None) -> None:
        parts = Path(name).parts
        if not parts or ".." in parts:
            raise InvalidSpecError(f"invalid name of a control group: {name!r}")
        self.name = name.strip("/")
        self.layout = layout or Layout.of_machine()
        self.holds_devices = False
        if self.layout.is_unified and self.layout.unified is not None:
            self.places = {"": self.layout.unified / self.name}
        else:
            self.places = {controller: path / self.name for controller, path in self.layout.legacy.items()}

    @classmethod
    def at(cls, name: str, directories: dict[str, str]) -> ControlGroup:
        """Return the group that was made before, by the directories it said it has."""
        group = cls.__new__(cls)
        group.name, group.layout = name, Layout({}, None)
        group.holds_devices = True
        group.places = {controller: Path(path) for controller, path in directories.items()}
        return group

    def _file(self, controller: str, name: str) -> Path:
        return self.places.get(controller, self.places.get("", Path("/nonexistent"))) / name

    @property
    def is_unified(self) -> bool:
        """Whether this is a group of version 2."""
        return "" in self.places

    @property
    def directories(self) -> dict[str, str]:
        """Return the directories by the name they have in a container's /sys/fs/cgroup."""
        return {name: os.fspath(path) for name, path in self.places.items()}

    def create(self, limits: Limits = Limits(), devices: Iterable[str] | None = ()) -> list[str]:  # noqa: B008 - frozen
        """Make the groups and set the limits; return warnings about what this machine cannot hold to.

        Parameters
        ----------
        limits
            See `Limits`.
        devices
            More rules "c 10:200 rwm"; None allows every device.

        Raises
        ------
        UnsupportedError
            The caller may not make control groups.
        """
        check_limits(limits)
        try:
            for controller, place in self.places.items():
                if controller == "":
                    self._delegate(place)
                with contextlib.suppress(OSError):  # one of a dead container, whose limits would still hold
                    place.rmdir()
                _make(place)
                if controller == "cpuset":
                    _inherit_cpuset(place)
        except OSError as error:
            self.remove()
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise UnsupportedError(f"the caller may not make control groups: {error.strerror}") from error
            raise ContainerError(f"cannot make the control group {self.name}: {error}") from error
        try:
            warnings = self.apply(limits)
            self._allow(devices)
        except BaseException:
            self.remove()
            raise
        return warnings

    def _delegate(self, place: Path) -> None:
        """Give the group's parents the controllers, from the root down."""
        root = self.layout.unified
        assert root is not None
        wanted = [name for name in ("cpuset", "cpu", "io", "memory", "pids") if name in self.layout.available()]
        for parent in reversed([each for each in place.parents if each == root or root in each.parents]):
            parent.mkdir(exist_ok=True)
            for name in wanted:
                with contextlib.suppress(OSError):
                    (parent / "cgroup.subtree_control").write_text(f"+{name}")

    def _allow(self, devices: Iterable[str] | None) -> None:
        if devices is None:
            return
        if self.is_unified:
            try:
                attach_device_filter(self.places[""], (*_DEVICES, *_MORE_DEVICES, *devices))
                self.holds_devices = True
            except OSError:  # who may not attach one gets a container that may make no nodes
                self.holds_devices = False
            return
        if "devices" not in self.places:
            return
        self.holds_devices = True
        (self.places["devices"] / "devices.deny").write_text("a")
        for rule in (*_DEVICES, *_MORE_DEVICES, *devices):
            (self.places["devices"] / "devices.allow").write_text(rule)

    def apply(self, limits: Limits) -> list[str]:
        """Set limits, also of running containers (`update`); return warnings.

        Raises
        ------
        ContainerError
            The kernel refuses a value.
        """
        warnings = check_limits(limits)
        current = number(self._file("memory", "memory.memsw.limit_in_bytes"))
        settings = unified_settings(limits) if self.is_unified else legacy_settings(limits, current)
        for setting in settings:
            path = next(
                (path for name in setting.files if (path := self._file(setting.controller, name)).exists()), None
            )
            if path is None:
                warnings.append(setting.warning)
                continue
            try:
                path.write_text(setting.value)
            except OSError as error:
                if setting.optional:
                    warnings.append(setting.warning)
                    continue
                text = f"cannot set {path.name} of the control group {self.name} to {setting.value}: {error.strerror}"
                raise ContainerError(text) from error
        return list(dict.fromkeys(warnings))

    def exists(self) -> bool:
        """Whether the groups are there."""
        return any(place.is_dir() for place in self.places.values())

    def pids(self) -> list[int]:
        """Return the processes of the container, as the caller numbers them."""
        found: set[int] = set()
        for place in list(self.places.values())[:1] if self.is_unified else self._one():
            for directory, _, _ in os.walk(place):
                with contextlib.suppress(OSError):
                    found |= {int(line) for line in Path(directory, "cgroup.procs").read_text().split()}
        return sorted(found)

    def _one(self) -> list[Path]:
        return [self.places[name] for name in ("pids", "freezer", "memory", "cpu") if name in self.places][:1]

    def freeze(self, frozen: bool = True) -> None:
        """Stop all processes (`pause`), or let them go on; return when it is so.

        Raises
        ------
        UnsupportedError
            This machine has no freezer.
        NotRunningError
            The last process has ended, and the group went with it.
        ContainerError
            The processes do not do it.
        """
        if self.is_unified:
            file, wish, state = self._file("", "cgroup.freeze"), str(int(frozen)), self._file("", "cgroup.events")
            done = f"frozen {int(frozen)}"
        else:
            file = state = self._file("freezer", "freezer.state")
            wish = done = "FROZEN" if frozen else "THAWED"
        if file.parent.is_dir() and not file.exists():
            raise UnsupportedError("this machine has no freezer: a container cannot be paused")
        deadline = time.monotonic() + 10
        try:
            file.write_text(wish)
            while done not in state.read_text():
                if time.monotonic() > deadline:
                    raise ContainerError(f"the processes of {self.name} do not {'stop' if frozen else 'go on'}")
                time.sleep(0.001)
                if not self.is_unified:
                    file.write_text(wish)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            if not self.exists():
                raise NotRunningError("the container is not running") from error
            raise UnsupportedError("this machine has no freezer: a container cannot be paused") from error

    def frozen(self) -> bool:
        """Whether its processes are stopped."""
        file = self._file("", "cgroup.freeze") if self.is_unified else self._file("freezer", "freezer.state")
        with contextlib.suppress(OSError):
            return file.read_text().strip() in ("1", "FROZEN", "FREEZING")
        return False

    def kill(self) -> None:
        """Send KILL to all processes, also to those that are just being made, until none is left."""
        with contextlib.suppress(OSError):
            if self.is_unified:
                self._file("", "cgroup.kill").write_text("1")
        for _ in range(100):
            pids = self.pids()
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, 9)
            with contextlib.suppress(OSError, UnsupportedError, ContainerError):
                self.freeze(False)
            time.sleep(0.005)

    def out_of_memory(self) -> bool:
        """Whether a process was killed since the limit was reached."""
        if self.is_unified:
            return table(self._file("", "memory.events")).get("oom_kill", 0) > 0
        return table(self._file("memory", "memory.oom_control")).get("oom_kill", 0) > 0

    def stats(self) -> Stats:
        """Return the container's figures."""
        return unified_stats(self.places[""]) if self.is_unified else legacy_stats(self.places)

    def remove(self) -> None:
        """Remove the groups, once their last process is gone; those of other names below them first."""
        for place in self.places.values():
            deadline = time.monotonic() + 5
            for directory, _, _ in os.walk(place, topdown=False):
                while True:
                    try:
                        os.rmdir(directory)
                    except FileNotFoundError:
                        pass
                    except OSError as error:
                        if error.errno == errno.EBUSY and time.monotonic() < deadline:
                            time.sleep(0.002)  # the last process is a zombie still, or just leaving
                            continue
                    break
            with contextlib.suppress(OSError):  # the parent goes with its last child
                if len(Path(self.name).parts) > 1:
                    place.parent.rmdir()


def sweep(prefix: str = "layerlab", layout: Layout | None = None, *, age: float = 0) -> list[str]:
    """Remove the control groups below a name that no process is in: what a machine's or a shim's death left.

    Parameters
    ----------
    prefix
        The name.
    layout
        Where control groups are; None looks.
    age
        Seconds that a group must have been there: another engine may have just made one, which is still empty.

    Returns
    -------
    list of str
        The names that were removed.
    """
    layout = layout or Layout.of_machine()
    roots = [layout.unified] if layout.is_unified else list(layout.legacy.values())
    removed = set()
    for root in roots:
        if root is None or not (root / prefix).is_dir():
            continue
        for place in (root / prefix).iterdir():
            if place.is_dir():
                with contextlib.suppress(OSError):  # somebody is in it
                    if age and time.time() - place.stat().st_mtime < age:
                        continue
                    place.rmdir()
                    removed.add(f"{prefix}/{place.name}")
        with contextlib.suppress(OSError):
            (root / prefix).rmdir()
    return sorted(removed)


def _make(place: Path) -> None:
    for _ in range(20):  # the parent goes with its last child, which may be right now
        with contextlib.suppress(FileNotFoundError):
            place.mkdir(parents=True, exist_ok=True)
            return
    place.mkdir(parents=True, exist_ok=True)


def _no(what: str, then: str) -> str:
    return f"Your kernel does not support {what} capabilities or the cgroup is not mounted. {then}"


def _inherit_cpuset(place: Path) -> None:
    """Give a new cpuset what its parent has: without processors and memory no process may enter it."""
    names = ("cpuset.cpus", "cpuset.mems")
    chain = [place]
    # Both are looked at: somebody else who has just made the parent may have written one of them so far.
    while not all((chain[-1].parent / name).read_text().strip() for name in names):
        chain.append(chain[-1].parent)
    for each in reversed(chain):
        for name in names:
            if not (each / name).read_text().strip():
                (each / name).write_text((each.parent / name).read_text())
