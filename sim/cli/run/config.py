"""The request that makes a container.

Decided here and only here: which flag becomes which field, and which flags cannot go together. Pure functions that
raise `ValueError` with Docker's words; any thread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from sim.cli.flags import Call
from sim.cli.run.devices import device
from sim.cli.run.mounts import binds, tmpfs
from sim.cli.run.networks import endpoints
from sim.cli.run.ports import expose, publish

__all__ = ["container_config", "key_values", "limits", "read_variables", "restart_policy"]


def read_variables(files: Iterable[str], words: Iterable[str], *, environment: bool) -> list[str]:
    """Return variables or labels of files and then of the command line.

    Parameters
    ----------
    environment
        Whether a name without a value has the one that it has here; it is left away where it has none.
    """
    found: list[str] = []
    for file in files:
        try:
            with open(file, "rb") as stream:
                lines = stream.read().decode("utf-8-sig").splitlines()
        except OSError as error:
            raise ValueError(f"open {file}: {(error.strerror or '').lower()}") from None
        except UnicodeDecodeError as error:
            number = error.object[: error.start].count(b"\n") + 1
            raise ValueError(f"env file {file} contains invalid utf8 bytes at line {number}") from None
        for line in lines:
            text = line.lstrip()
            if not text or text.startswith("#"):
                continue
            name, equals, value = text.partition("=")
            if not name:
                raise ValueError(f"no variable name on line '{text}'")
            if any(one.isspace() for one in name):
                raise ValueError(f"variable '{name}' contains whitespaces")
            if equals:
                found.append(f"{name}={value}")
            elif not environment:
                found.append(name)
            elif name in os.environ:
                found.append(f"{name}={os.environ[name]}")
    return [*found, *words]


def key_values(words: Iterable[str]) -> dict[str, str]:
    """Return `KEY=VALUE` words as a dictionary; what has no value has an empty one."""
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def restart_policy(text: str) -> dict[str, Any]:
    """Return when a container is started again.

    >>> restart_policy("on-failure:3")
    {'Name': 'on-failure', 'MaximumRetryCount': 3}
    """
    name, colon, count = text.partition(":")
    if colon and not name:
        raise ValueError("invalid restart policy format: no policy provided before colon")
    if colon and count:
        try:
            return {"Name": name, "MaximumRetryCount": int(count)}
        except ValueError:
            raise ValueError("invalid restart policy format: maximum retry count must be an integer") from None
    return {"Name": name, "MaximumRetryCount": 0}


def _capabilities(words: Iterable[str]) -> list[str] | None:
    found = set()
    for word in words:
        upper = word.strip().upper()
        found.add(upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}")
    return ["ALL"] if "ALL" in found else sorted(found) or None


def _security(words: Iterable[str]) -> tuple[list[str] | None, list[str] | None]:
    """Return security options, a profile's file replaced by what is in it; and paths that are hidden: none or all."""
    found: list[str] = []
    hidden: list[str] | None = None
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and ":" in word:
            key, equals, value = word.partition(":")
        if not equals and key != "no-new-privileges":
            raise ValueError(f"Invalid --security-opt: {json.dumps(word)}")
        if key == "systempaths" and value == "unconfined":
            hidden = []
            continue
        if key == "seccomp" and value not in ("unconfined", "builtin"):
            try:
                with open(value, "rb") as file:
                    profile = json.dumps(json.load(file), separators=(",", ":"))
            except OSError as error:
                raise ValueError(
                    f"opening seccomp profile ({value}) failed: open {value}: {(error.strerror or '').lower()}"
                ) from None
            except ValueError as error:
                raise ValueError(f"compacting json for seccomp profile ({value}) failed: {error}") from None
            word = f"seccomp={profile}"
        found.append(word)
    return found or None, hidden


def _health(call: Call) -> dict[str, Any] | None:
    names = ("health-cmd", "health-interval", "health-retries", "health-timeout", "health-start-period")
    interval = call.number("health-start-interval")
    given = any(call.given(name) for name in (*names, "health-start-interval"))
    if call.on("no-healthcheck"):
        if given:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    for name in (*names[1:], "health-start-interval"):
        if call.number(name) < 0:
            raise ValueError(f"--{name} cannot be negative")
    if not given:
        return None
    found: dict[str, Any] = {}
    if call.text("health-cmd"):
        found["Test"] = ["CMD-SHELL", call.text("health-cmd")]
    for key, name in (("Interval", names[1]), ("Timeout", names[3]), ("StartPeriod", names[4])):
        if call.number(name):
            found[key] = call.number(name)
    if interval:
        found["StartInterval"] = interval
    if call.number("health-retries"):
        found["Retries"] = call.number("health-retries")
    return found or None


def _check_modes(call: Call) -> None:
    def bad(value: str, *known: str, shared: bool = False) -> bool:
        return bool(value) and value not in known and not (shared and value.startswith("container:") and value[10:])

    for flag, known, shared, word in (
        ("pid", ("host",), True, "PID"),
        ("uts", ("host",), False, "UTS"),
        ("userns", ("host",), False, "USER"),
        ("cgroupns", ("host", "private"), False, "CGROUP"),
    ):
        if bad(call.text(flag), *known, shared=shared):
            raise ValueError(f"--{flag}: invalid {word} mode")
    swappiness = call.number("memory-swappiness")
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise ValueError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    if call.on("rm") and call.text("restart").partition(":")[0] not in ("", "no"):
        raise ValueError("conflicting options: cannot specify both --restart and --rm")


def container_config(call: Call, *, detach: bool = False) -> dict[str, Any]:
    """Return the body of the request.

    Raises
    ------
    ValueError
        Flags are wrong or cannot go together.
    """
    attached = {stream.lower() for stream in call.many("attach")}
    streams = not attached and not detach
    stdin = "stdin" in attached or (streams and call.on("interactive"))
    if detach:
        stdin = False
    _check_modes(call)
    ports, bindings = publish(call.many("publish"))
    ports = {**ports, **{port: {} for port in expose(call.many("expose")) if port not in ports}}
    bound, anonymous = binds(call.many("volume"))
    health = _health(call)
    config: dict[str, Any] = {
        "Hostname": call.text("hostname"),
        "Domainname": call.text("domainname"),
        "User": call.text("user"),
        "AttachStdin": stdin,
        "AttachStdout": "stdout" in attached or streams,
        "AttachStderr": "stderr" in attached or streams,
        "Tty": call.on("tty"),
        "OpenStdin": call.on("interactive"),
        "StdinOnce": stdin and call.on("interactive"),
        "Env": read_variables(call.many("env-file"), call.many("env"), environment=True) or None,
        "Cmd": call.arguments[1:] or None,
        "Image": call.arguments[0],
        "Volumes": anonymous,
        "WorkingDir": call.text("workdir"),
        "Entrypoint": [call.text("entrypoint")] if call.given("entrypoint") else None,
        "OnBuild": None,
        "Labels": key_values(read_variables(call.many("label-file"), call.many("label"), environment=False)),
    }
    if ports:
        config["ExposedPorts"] = ports
    if health:
        config["Healthcheck"] = health
    if call.text("stop-signal"):
        config["StopSignal"] = call.text("stop-signal")
    if call.given("stop-timeout"):
        config["StopTimeout"] = call.number("stop-timeout")
    mode, joined = endpoints(call)
    config["HostConfig"] = {**_host(call), "NetworkMode": mode, "Binds": bound or None, "PortBindings": bindings}
    config["NetworkingConfig"] = {"EndpointsConfig": joined}
    return config


def _host(call: Call) -> dict[str, Any]:
    security, hidden = _security(call.many("security-opt"))
    driver, options = call.text("log-driver"), key_values(call.many("log-opt"))
    if driver == "none" and options:
        raise ValueError("invalid logging opts for driver none")
    storage = call.many("storage-opt")
    if any("=" not in word for word in storage):
        raise ValueError("invalid storage option")
    found: dict[str, Any] = {
        "ContainerIDFile": call.text("cidfile"),
        "LogConfig": {"Type": driver, "Config": options},
        "RestartPolicy": restart_policy(call.text("restart")),
        "AutoRemove": call.on("rm"),
        "VolumeDriver": call.text("volume-driver"),
        "VolumesFrom": call.many("volumes-from") or None,
        "ConsoleSize": _console_size(call),
        "CapAdd": _capabilities(call.many("cap-add")),
        "CapDrop": _capabilities(call.many("cap-drop")),
        "CgroupnsMode": call.text("cgroupns"),
        "Dns": call.many("dns"),
        "DnsOptions": [*call.many("dns-option"), *call.many("dns-opt")],
        "DnsSearch": call.many("dns-search"),
        "ExtraHosts": call.many("add-host") or None,
        "GroupAdd": call.many("group-add") or None,
        "IpcMode": call.text("ipc"),
        "Links": call.many("link") or None,
        "OomScoreAdj": call.number("oom-score-adj"),
        "PidMode": call.text("pid"),
        "Privileged": call.on("privileged"),
        "PublishAllPorts": call.on("publish-all"),
        "ReadonlyRootfs": call.on("read-only"),
        "SecurityOpt": security,
        "UTSMode": call.text("uts"),
        "UsernsMode": call.text("userns"),
        "ShmSize": call.number("shm-size"),
        "Isolation": call.text("isolation"),
        "MaskedPaths": hidden,
        "ReadonlyPaths": hidden,
        **_resources(call),
    }
    optional = {
        "Annotations": key_values(call.many("annotation")),
        "StorageOpt": key_values(storage),
        "Sysctls": key_values(call.many("sysctl")),
        "Tmpfs": tmpfs(call.many("tmpfs")),
        "Mounts": call.many("mount"),
        "Runtime": call.text("runtime"),
    }
    found.update((key, value) for key, value in optional.items() if value)
    if call.given("init"):
        found["Init"] = call.on("init")
    return found


def _console_size(call: Call) -> list[int]:
    if call.on("tty"):
        from sim.cli.terminal import size

        return list(size())
    return [0, 0]


def limits(call: Call) -> dict[str, Any]:
    """Return the limits that a container is made with and that can be changed while it is there."""
    return {
        "CpuShares": call.number("cpu-shares"),
        "Memory": call.number("memory"),
        "NanoCpus": call.number("cpus"),
        "BlkioWeight": call.number("blkio-weight"),
        "CpuPeriod": call.number("cpu-period"),
        "CpuQuota": call.number("cpu-quota"),
        "CpuRealtimePeriod": call.number("cpu-rt-period"),
        "CpuRealtimeRuntime": call.number("cpu-rt-runtime"),
        "CpusetCpus": call.text("cpuset-cpus"),
        "CpusetMems": call.text("cpuset-mems"),
        "MemoryReservation": call.number("memory-reservation"),
        "MemorySwap": call.number("memory-swap"),
    }


def _resources(call: Call) -> dict[str, Any]:
    return {
        **limits(call),
        "CgroupParent": call.text("cgroup-parent"),
        "BlkioWeightDevice": call.many("blkio-weight-device"),
        "BlkioDeviceReadBps": call.many("device-read-bps"),
        "BlkioDeviceWriteBps": call.many("device-write-bps"),
        "BlkioDeviceReadIOps": call.many("device-read-iops"),
        "BlkioDeviceWriteIOps": call.many("device-write-iops"),
        "Devices": [device(word) for word in call.many("device")],
        "DeviceCgroupRules": call.many("device-cgroup-rule") or None,
        "DeviceRequests": call.many("gpus") or None,
        "MemorySwappiness": call.number("memory-swappiness"),
        "OomKillDisable": call.on("oom-kill-disable"),
        "PidsLimit": call.number("pids-limit"),
        "Ulimits": [_ulimit(word) for word in call.many("ulimit")],
    }


def _ulimit(text: str) -> dict[str, Any]:
    name, _, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    return {"Name": name, "Hard": int(hard) if colon else int(soft), "Soft": int(soft)}
