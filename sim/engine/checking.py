"""What of a wish for a container is refused, and how that is worded.

Decided here and only here: the limits of each field of `Config` and `HostConfig`, in Docker's words. Functions only;
any thread.
"""

from __future__ import annotations

import os
import re
import signal

from sim.engine.errors import BadParameterError, NotImplementedHereError
from sim.engine.model import Config, Healthcheck, HostConfig
from sim.runtime import InvalidSpecError, capability_mask

__all__ = ["check_config", "check_host", "check_limits", "parse_size", "security_options", "signal_number"]

_SMALLEST_MEMORY = 6 << 20
_MILLISECOND = 1_000_000
_POLICIES = ("", "no", "always", "unless-stopped", "on-failure")
_RUNTIMES = ("", "runc", "layerlab", "io.containerd.runc.v2")
_LOG_DRIVERS = ("", "json-file", "local", "none")
_LOG_OPTIONS = ("max-size", "max-file", "labels", "labels-regex", "env", "env-regex", "tag", "compress")
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Read a size as Docker's options have it.

    >>> parse_size("10m"), parse_size("1.5k"), parse_size("7")
    (10485760, 1536, 7)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([bkmgt]?)(?:i?b)?", text.strip().lower())
    if found is None:
        raise BadParameterError(f"invalid size: '{text}'")
    return int(float(found[1]) * _UNITS[found[2]])


def signal_number(text: str) -> int:
    """Return the number of a signal: "9", "KILL", "SIGKILL", "sigrtmin+3".

    Raises
    ------
    BadParameterError
        There is no such signal.
    """
    word = text.strip().upper().removeprefix("SIG")
    if word.isdigit():
        number = int(word)
        if 0 < number <= signal.SIGRTMAX:
            return number
    elif found := re.fullmatch(r"RTMIN(?:\+(\d+))?|RTMAX(?:-(\d+))?", word):
        number = (
            int(signal.SIGRTMIN) + int(found[1] or 0) if "MIN" in word else int(signal.SIGRTMAX) - int(found[2] or 0)
        )
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return number
    elif word and f"SIG{word}" in signal.Signals.__members__:
        return int(signal.Signals[f"SIG{word}"])
    raise BadParameterError(f"Invalid signal: {text}")


def check_config(config: Config) -> None:
    """Refuse what no process can be."""
    if config.working_dir and not config.working_dir.startswith("/"):
        raise BadParameterError(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
        )
    for variable in config.env or ():
        if variable.startswith("=") or not variable:
            raise BadParameterError(f"invalid environment variable: {variable}")
    if config.stop_signal:
        signal_number(config.stop_signal)
    if len(config.hostname) > 64 or not re.fullmatch(r"[\w.-]*", config.hostname):
        raise BadParameterError(f"invalid hostname format: {config.hostname}")
    if config.mac_address and not re.fullmatch(r"(?i)[0-9a-f]{2}([:-][0-9a-f]{2}){5}", config.mac_address):
        raise BadParameterError(f"invalid MAC address: {config.mac_address}")
    if config.healthcheck is not None:
        _check_health(config.healthcheck)


def _check_health(check: Healthcheck) -> None:
    for name, value in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ):
        if value and value < _MILLISECOND:
            raise BadParameterError(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise BadParameterError("Retries in Healthcheck cannot be negative")


def check_host(host: HostConfig, config: Config) -> None:
    """Refuse what no container can have, or what this engine does not."""
    policy = host.restart_policy
    if policy.name not in _POLICIES:
        raise BadParameterError(f"invalid restart policy '{policy.name}'")
    if policy.maximum_retry_count < 0:
        raise BadParameterError("maximum retry count cannot be negative")
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise BadParameterError(f"maximum retry count cannot be used with restart policy '{policy.name or 'no'}'")
    if host.auto_remove and policy.name not in ("", "no"):
        raise BadParameterError("can't create 'AutoRemove' container with restart policy")
    if host.shm_size < 0:
        raise BadParameterError("SHM size can not be less than 0")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise BadParameterError(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host.runtime not in _RUNTIMES:
        raise BadParameterError(f"Unknown runtime specified {host.runtime}")
    if host.isolation not in ("", "default"):
        raise BadParameterError(f"invalid isolation '{host.isolation}' on linux")
    if host.log_config.type not in _LOG_DRIVERS:
        name = host.log_config.type
        raise BadParameterError(f'error looking up logging plugin {name}: plugin "{name}" not found')
    for name in host.log_config.config or {}:
        if name not in _LOG_OPTIONS:
            raise BadParameterError(f"unknown log opt '{name}' for {host.log_config.type or 'json-file'} log driver")
    if size := (host.log_config.config or {}).get("max-size"):
        parse_size(size)
    for adding, names in ((True, host.cap_add), (False, host.cap_drop)):
        try:
            capability_mask(add=names or () if adding else (), drop=() if adding else names or ())
        except InvalidSpecError:
            wrong = next(name for name in names or () if not _is_capability(name))
            shown = f"CAP_{wrong.upper().removeprefix('CAP_')}"
            raise BadParameterError(
                f'invalid {"CapAdd" if adding else "CapDrop"}: unknown capability: "{shown}"'
            ) from None
    for entry in host.extra_hosts or ():
        if not all(entry.partition(":")[::2]):
            raise BadParameterError(f'bad format for add-host: "{entry}"')
    if host.storage_opt:
        raise NotImplementedHereError(
            f"--storage-opt is not supported by the storage driver: {', '.join(sorted(host.storage_opt))}"
        )
    if host.device_requests:
        raise NotImplementedHereError("could not select device driver: this engine has none for special devices")
    if host.cgroupns_mode not in ("", "private", "host"):
        raise BadParameterError(f"invalid cgroup namespace mode: {host.cgroupns_mode}")
    if host.network_mode == "host" and config.mac_address:
        raise BadParameterError("conflicting options: mac-address and the network mode")
    security_options(host)
    check_limits(host)


def _is_capability(name: str) -> bool:
    try:
        capability_mask(add=(name,))
    except InvalidSpecError:
        return False
    return True


def check_limits(host: HostConfig) -> None:
    """Refuse limits that cannot be."""
    if 0 < host.memory < _SMALLEST_MEMORY:
        raise BadParameterError("Minimum memory limit allowed is 6MB")
    if host.memory < 0:
        raise BadParameterError("Minimum memory limit allowed is 6MB")
    if host.memory > 0 and 0 < host.memory_swap < host.memory:
        raise BadParameterError("Minimum memoryswap limit should be larger than memory limit, see usage")
    if host.memory == 0 and host.memory_swap > 0:
        raise BadParameterError("You should always set the Memory limit when using Memoryswap limit, see usage")
    if host.memory_swappiness is not None and not -1 <= host.memory_swappiness <= 100:
        raise BadParameterError(f"Invalid value: {host.memory_swappiness}, valid memory swappiness range is 0-100")
    if 0 < host.memory_reservation < _SMALLEST_MEMORY:
        raise BadParameterError("Minimum memory reservation allowed is 6MB")
    if 0 < host.memory < host.memory_reservation:
        raise BadParameterError("Minimum memory limit can not be less than memory reservation limit, see usage")
    processors = os.cpu_count() or 1
    if host.nano_cpus and (host.cpu_period or host.cpu_quota):
        one = "CPU Period" if host.cpu_period else "CPU Quota"
        raise BadParameterError(f"Conflicting options: Nano CPUs and {one} cannot both be set")
    if host.nano_cpus < 0 or host.nano_cpus > processors * 1_000_000_000:
        raise BadParameterError(
            f"Range of CPUs is from 0.01 to {processors}.00, as there are only {processors} CPUs available"
        )
    if host.cpu_shares < 0:
        raise BadParameterError(f"invalid CPU shares ({host.cpu_shares}): value must be a positive integer")
    if host.cpu_period and not 1000 <= host.cpu_period <= 1_000_000:
        raise BadParameterError("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < host.cpu_quota < 1000:
        raise BadParameterError("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    for name, text in (("cpus", host.cpuset_cpus), ("mems", host.cpuset_mems)):
        if text and not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
            raise BadParameterError(f"Invalid value {text} for cpuset {name}")
    if host.cpuset_cpus and max(map(int, re.findall(r"\d+", host.cpuset_cpus))) >= processors:
        available = f"0-{processors - 1}" if processors > 1 else "0"
        raise BadParameterError(
            f"Requested CPUs are not available - requested {host.cpuset_cpus}, available: {available}"
        )
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise BadParameterError("Range of blkio weight is from 10 to 1000")


def security_options(host: HostConfig) -> dict[str, str]:
    """Return the options of `--security-opt` by name.

    Raises
    ------
    BadParameterError
        One is not known.
    """
    found: dict[str, str] = {}
    for text in host.security_opt or ():
        if text == "no-new-privileges":
            found[text] = "true"
            continue
        separator = "=" if "=" in text else ":"
        name, given, value = text.partition(separator)
        if not given:
            raise BadParameterError(f'invalid --security-opt 1: "{text}"')
        if name not in ("apparmor", "label", "seccomp", "no-new-privileges", "systempaths", "writable-cgroups"):
            raise BadParameterError(f'invalid --security-opt 2: "{text}"')
        if name == "no-new-privileges" and value not in ("true", "false"):
            raise BadParameterError(f'invalid --security-opt 2: "{text}"')
        found[name] = value
    return found
