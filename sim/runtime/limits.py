"""Limits: which there can be, which file of which control group holds each, and what is said where it is not there.

Decided here and only here: the ranges of limits, and the words for what a machine cannot hold to; both are moby's
(`daemon/daemon_unix.go`), since clients look for them. Pure functions; any thread may call.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sim.runtime.errors import InvalidSpecError
from sim.runtime.spec import Limits

__all__ = ["Setting", "check_limits", "legacy_settings", "number_set", "unified_settings"]

_PERIOD = 100_000  #: microseconds of which a container may have its share
_SMALLEST_MEMORY = 6 << 20

_UNMOUNTED = "or the cgroup is not mounted."
_NO_MEMORY = f"Your kernel does not support memory limit capabilities {_UNMOUNTED} Limitation discarded."
_NO_SWAP = f"Your kernel does not support swap limit capabilities {_UNMOUNTED} Memory limited without swap."
_NO_SWAPPINESS = (
    f"Your kernel does not support memory swappiness capabilities {_UNMOUNTED} Memory swappiness discarded."
)
_NO_RESERVATION = f"Your kernel does not support memory soft limit capabilities {_UNMOUNTED} Limitation discarded."
_NO_OOM = "Your kernel does not support OomKillDisable. OomKillDisable discarded."
_NO_QUOTA = f"Your kernel does not support CPU cfs quota {_UNMOUNTED} Quota discarded."
_NO_PERIOD = f"Your kernel does not support CPU cfs period {_UNMOUNTED} Period discarded."
_NO_SHARES = f"Your kernel does not support CPU shares {_UNMOUNTED} Shares discarded."
_NO_CPUSET = f"Your kernel does not support cpuset {_UNMOUNTED} Cpuset discarded."
_NO_PIDS = f"Your kernel does not support PIDs limit capabilities {_UNMOUNTED} PIDs limit discarded."
_NO_WEIGHT = f"Your kernel does not support Block I/O weight {_UNMOUNTED} Weight discarded."
_KERNEL_MEMORY = "Specifying a kernel memory limit is deprecated and will be removed in a future release."
_OOM_UNLIMITED = (
    "OOM killer is disabled for the container, but no memory limit is set,"
    " this can result in the system running out of resources."
)

#: Kind of a throttle -> file of version 1, key of io.max, and what moby calls it in a warning.
_THROTTLES = {
    "read_bps": ("blkio.throttle.read_bps_device", "rbps", "BPS Block I/O read limit", "Block I/O BPS read limit"),
    "write_bps": ("blkio.throttle.write_bps_device", "wbps", "BPS Block I/O write limit", "Block I/O BPS write limit"),
    "read_iops": ("blkio.throttle.read_iops_device", "riops", "IOPS Block read limit", "Block I/O IOPS read limit"),
    "write_iops": ("blkio.throttle.write_iops_device", "wiops", "IOPS Block write limit", "Block I/O IOPS write limit"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One value for one file of a control group.

    Attributes
    ----------
    controller
        "" in version 2.
    files
        The first of these that is there.
    value, warning
        What is written, and what is said where that cannot be.
    optional
        Whether a kernel that refuses the value is warned of, and not an error.
    """

    controller: str
    files: tuple[str, ...]
    value: str
    warning: str
    optional: bool = False


def number_set(text: str) -> set[int]:
    """Return the numbers in a list as "0-2,5".

    Raises
    ------
    ValueError
        It is none.

    Examples
    --------
    >>> sorted(number_set("0-2,5"))
    [0, 1, 2, 5]
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.strip().isdigit() or (dash and not last.strip().isdigit()):
            raise ValueError(f"invalid format: {text}")
        numbers = range(int(first), int(last if dash else first) + 1)
        if not numbers:
            raise ValueError(f"invalid format: {text}")
        found.update(numbers)
    return found


def check_limits(limits: Limits, processors: int | None = None) -> list[str]:
    """Refuse limits that no container can have, in moby's words; return warnings.

    Raises
    ------
    InvalidSpecError
        A limit is out of its range, or two contradict each other.
    """
    _check_memory(limits)
    _check_processors(limits, processors or os.cpu_count() or 1)
    if limits.blkio_weight and not 10 <= limits.blkio_weight <= 1000:
        raise InvalidSpecError("Range of blkio weight is from 10 to 1000")
    for throttle in limits.throttles:
        if throttle.kind not in _THROTTLES:
            raise InvalidSpecError(f"there is no throttle {throttle.kind}: choose from {', '.join(_THROTTLES)}")
    warnings = []
    if limits.kernel_memory:
        warnings.append(_KERNEL_MEMORY)
    if limits.oom_kill_disable and not limits.memory:
        warnings.append(_OOM_UNLIMITED)
    return warnings


def _check_memory(limits: Limits) -> None:
    if limits.memory and limits.memory < _SMALLEST_MEMORY:
        raise InvalidSpecError("Minimum memory limit allowed is 6MB")
    if limits.memory_swap > 0 and not limits.memory:
        raise InvalidSpecError("You should always set the Memory limit when using Memoryswap limit, see usage")
    if limits.memory and 0 < limits.memory_swap < limits.memory:
        raise InvalidSpecError("Minimum memoryswap limit should be larger than memory limit, see usage")
    if limits.memory_swappiness is not None and not 0 <= limits.memory_swappiness <= 100:
        text = f"Invalid value: {limits.memory_swappiness}, valid memory swappiness range is 0-100"
        raise InvalidSpecError(text)
    if limits.memory_reservation and limits.memory_reservation < _SMALLEST_MEMORY:
        raise InvalidSpecError("Minimum memory reservation allowed is 6MB")
    if limits.memory and limits.memory_reservation > limits.memory:
        raise InvalidSpecError("Minimum memory limit can not be less than memory reservation limit, see usage")
    if limits.kernel_memory and limits.kernel_memory < _SMALLEST_MEMORY:
        raise InvalidSpecError("Minimum kernel memory limit allowed is 6MB")


def _check_processors(limits: Limits, count: int) -> None:
    if limits.nano_cpus and limits.cpu_period:
        raise InvalidSpecError("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if limits.nano_cpus and limits.cpu_quota:
        raise InvalidSpecError("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if limits.nano_cpus < 0 or limits.nano_cpus > count * 1_000_000_000:
        text = f"Range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
        raise InvalidSpecError(text)
    if limits.cpu_shares < 0:
        raise InvalidSpecError("shares: invalid argument")
    if limits.cpu_period and not 1000 <= limits.cpu_period <= 1_000_000:
        text = "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        raise InvalidSpecError(text)
    if 0 < limits.cpu_quota < 1000:
        raise InvalidSpecError("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    for name, what, wish, there in (
        ("CPUs", "cpus", limits.cpuset_cpus, "/sys/devices/system/cpu/online"),
        ("memory nodes", "mems", limits.cpuset_mems, "/sys/devices/system/node/online"),
    ):
        if not wish:
            continue
        try:
            wanted = number_set(wish)
        except ValueError as error:
            raise InvalidSpecError(f"Invalid value {wish} for cpuset {what}: {error}") from error
        available = _online(there)
        if not wanted <= number_set(available):
            text = f"Requested {name} are not available - requested {wish}, available: {available}"
            raise InvalidSpecError(text)


def _online(path: str) -> str:
    try:
        return Path(path).read_text().strip() or "0"
    except OSError:  # a kernel without nodes of memory has one
        return "0"


def legacy_settings(limits: Limits, current: int = 0) -> list[Setting]:
    """Return what is to be written in groups of version 1, in order.

    Parameters
    ----------
    limits
        Checked.
    current
        Limit of memory and swap together that is set already; 0 for none.
    """
    found = []
    if limits.memory:
        swap = limits.memory_swap or 2 * limits.memory
        both = [
            Setting("memory", ("memory.limit_in_bytes",), str(limits.memory), _NO_MEMORY),
            Setting("memory", ("memory.memsw.limit_in_bytes",), str(swap), _NO_SWAP),
        ]
        # Neither may pass the other on the way: when the limit grows, that of memory and swap grows first.
        found += both[::-1] if 0 < current < limits.memory else both
    if limits.memory_reservation:
        value = str(limits.memory_reservation)
        found.append(Setting("memory", ("memory.soft_limit_in_bytes",), value, _NO_RESERVATION))
    if limits.memory_swappiness is not None:
        value = str(limits.memory_swappiness)
        found.append(Setting("memory", ("memory.swappiness",), value, _NO_SWAPPINESS, optional=True))
    if limits.oom_kill_disable:
        found.append(Setting("memory", ("memory.oom_control",), "1", _NO_OOM, optional=True))
    period, quota = _share(limits)
    if period:
        found.append(Setting("cpu", ("cpu.cfs_period_us",), str(period), _NO_PERIOD))
    if quota:
        found.append(Setting("cpu", ("cpu.cfs_quota_us",), str(quota), _NO_QUOTA))
    if limits.cpu_shares:
        found.append(Setting("cpu", ("cpu.shares",), str(limits.cpu_shares), _NO_SHARES))
    if limits.cpuset_cpus:
        found.append(Setting("cpuset", ("cpuset.cpus",), limits.cpuset_cpus, _NO_CPUSET))
    if limits.cpuset_mems:
        found.append(Setting("cpuset", ("cpuset.mems",), limits.cpuset_mems, _NO_CPUSET))
    if limits.pids:
        found.append(Setting("pids", ("pids.max",), str(limits.pids) if limits.pids > 0 else "max", _NO_PIDS))
    if limits.blkio_weight:
        files = ("blkio.weight", "blkio.bfq.weight")
        found.append(Setting("blkio", files, str(limits.blkio_weight), _NO_WEIGHT))
    for throttle in limits.throttles:
        file, _, what, lost = _THROTTLES[throttle.kind]
        value = f"{_numbers(throttle.device)} {throttle.rate}"
        found.append(Setting("blkio", (file,), value, _no_throttle(what, lost)))
    return found


def unified_settings(limits: Limits) -> list[Setting]:
    """Return what is to be written in a group of version 2."""
    found = []
    if limits.memory:
        swap = "max" if limits.memory_swap < 0 else str((limits.memory_swap or 2 * limits.memory) - limits.memory)
        found.append(Setting("", ("memory.max",), str(limits.memory), _NO_MEMORY))
        found.append(Setting("", ("memory.swap.max",), swap, _NO_SWAP))
    if limits.memory_reservation:
        found.append(Setting("", ("memory.low",), str(limits.memory_reservation), _NO_RESERVATION))
    if limits.memory_swappiness is not None:
        found.append(Setting("", (), "", _NO_SWAPPINESS))  # version 2 has no such thing
    if limits.oom_kill_disable:
        found.append(Setting("", (), "", _NO_OOM))
    period, quota = _share(limits)
    if period or quota:
        value = f"{quota if quota > 0 else 'max'} {period or _PERIOD}"
        found.append(Setting("", ("cpu.max",), value, _NO_QUOTA))
    if limits.cpu_shares:
        weight = 1 + (max(2, min(limits.cpu_shares, 262144)) - 2) * 9999 // 262142
        found.append(Setting("", ("cpu.weight",), str(weight), _NO_SHARES))
    if limits.cpuset_cpus:
        found.append(Setting("", ("cpuset.cpus",), limits.cpuset_cpus, _NO_CPUSET))
    if limits.cpuset_mems:
        found.append(Setting("", ("cpuset.mems",), limits.cpuset_mems, _NO_CPUSET))
    if limits.pids:
        found.append(Setting("", ("pids.max",), str(limits.pids) if limits.pids > 0 else "max", _NO_PIDS))
    if limits.blkio_weight:
        weight = 1 + (limits.blkio_weight - 10) * 9999 // 990
        found.append(Setting("", ("io.weight",), f"default {weight}", _NO_WEIGHT))
    for throttle in limits.throttles:
        _, key, what, lost = _THROTTLES[throttle.kind]
        value = f"{_numbers(throttle.device)} {key}={throttle.rate}"
        found.append(Setting("", ("io.max",), value, _no_throttle(what, lost)))
    return found


def _share(limits: Limits) -> tuple[int, int]:
    """Return period and quota in microseconds; 0 for what is not wished for."""
    if limits.nano_cpus:
        return _PERIOD, limits.nano_cpus * _PERIOD // 1_000_000_000
    return limits.cpu_period, limits.cpu_quota


def _no_throttle(what: str, lost: str) -> str:
    return f"Your kernel does not support {what} {_UNMOUNTED} {lost} discarded."


def _numbers(device: Path) -> str:
    """Return major and minor number of a block device."""
    try:
        state = os.stat(device)
    except OSError as error:
        raise InvalidSpecError(f"stat {device}: {(error.strerror or '').lower()}") from error
    if not stat.S_ISBLK(state.st_mode):
        raise InvalidSpecError(f"{device} is no block device, and only those can be throttled")
    return f"{os.major(state.st_rdev)}:{os.minor(state.st_rdev)}"
