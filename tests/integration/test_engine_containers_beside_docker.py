"""The same requests to Docker's own engine and to ours: answers and documents are compared field by field."""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import docker
import pytest
from docker.errors import APIError

from tests.daemons import Daemon
from tests.dockerd import ReferenceEngine, reference_engine
from tests.patience import until
from tests.shared import engine, running

__all__ = ["engine", "reference_engine", "running"]

#: What is another's name, number or moment on every run.
_PASSING = re.compile(
    r"[0-9a-f]{64}|[0-9a-f]{12}\b|\d{4}-\d\d-\d\dT[\d:.]+Z|02:42(?::[0-9a-f]{2}){4}|\b172\.\d+\.\d+\.\d+\b|/[^\s\"]*/(?:root|data)/[^\s\"]*"
)

#: Fields that one of the two does not have, or that say what it is: newer than the reference, or its own.
_OWN = {
    "Data", "DNSNames", "Driver", "GraphDriver", "GwPriority", "KernelMemory", "KernelMemoryTCP", "MaskedPaths", "Pid",
    "Propagation",
    "SandboxID", "SandboxKey", "IPPrefixLen", "Created", "HostPort", "PublicPort", "Status", "Annotations", "Mounts",
    "StartInterval",
}  # fmt: skip

Pair = tuple[docker.DockerClient, docker.DockerClient]


@pytest.fixture
def both(engine: Daemon, reference_engine: ReferenceEngine) -> Iterator[Pair]:
    """Return a client of ours and one of Docker's engine, both with an image `busybox`, spoken to in its version."""
    reference_engine.busybox("busybox:latest")
    theirs = docker.DockerClient(base_url=reference_engine.address, version="auto", timeout=60)
    version = theirs.api._version
    ours = docker.DockerClient(base_url=engine.address, version=version, timeout=60)
    try:
        yield ours, theirs
    finally:
        ours.close()
        for container in theirs.containers.list(all=True):
            container.remove(force=True, v=True)
        theirs.close()


def plain(value: Any) -> Any:
    """Return a document without what is different on every run.

    Docker lists a container's ports as Go walks a map: in any order.
    """
    if isinstance(value, dict):
        document = {key: plain(each) for key, each in sorted(value.items()) if key not in _OWN}
        if isinstance(ports := document.get("Ports"), list):
            ports.sort(key=json.dumps)
        return document
    if isinstance(value, list):
        return [plain(each) for each in value]
    return _PASSING.sub("*", value) if isinstance(value, str) else value


def ask(client: docker.DockerClient, method: str, path: str, body: Any = None) -> tuple[int, str]:
    """Send a request; return the status, and the message of an error."""
    call = getattr(client.api, method)
    answer = call(client.api._url(path), **({"json": body} if body is not None else {}))
    message = ""
    if answer.status_code >= 400:
        message = _PASSING.sub("*", answer.json()["message"])
    answer.close()
    return answer.status_code, message


HOSTS: list[dict[str, Any]] = [
    {"Memory": 1000},
    {"Memory": 10_000_000, "MemorySwap": 100},
    {"MemorySwap": 10_000_000},
    {"NanoCpus": 990_000_000_000},
    {"NanoCpus": 1, "CpuQuota": 5000},
    {"CpuPeriod": 5},
    {"CpuQuota": 5},
    {"ShmSize": -1},
    {"OomScoreAdj": 5000},
    {"CapAdd": ["BLA"]},
    {"CapDrop": ["bla"]},
    {"Binds": ["a/b:/c"]},
    {"Binds": ["/a:/c", "/b:/c"]},
    {"Mounts": [{"Type": "bind", "Source": "/not/there", "Target": "/x"}]},
    {"Mounts": [{"Type": "bla", "Source": "/a", "Target": "/x"}]},
    {"Mounts": [{"Type": "bind", "Target": "/x"}]},
    {"Mounts": [{"Type": "tmpfs", "Source": "/a", "Target": "/x"}]},
    {"PortBindings": {"bla": []}},
    {"PortBindings": {"80/tcp": [{"HostPort": "x"}]}},
    {"RestartPolicy": {"Name": "bla"}},
    {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}},
    {"AutoRemove": True, "RestartPolicy": {"Name": "always"}},
    {"VolumesFrom": ["nope"]},
    {"Links": ["nope:x"]},
    {"ExtraHosts": ["bla"]},
    {"LogConfig": {"Type": "json-file", "Config": {"a": "b"}}},
]

REFUSED: list[tuple[str, str, Any]] = [
    ("post", "/containers/create?name=-a", {"Image": "busybox", "Cmd": ["true"]}),
    ("post", "/containers/create?name=live", {"Image": "busybox", "Cmd": ["true"]}),
    ("post", "/containers/create", {"Image": "nope"}),
    ("post", "/containers/create", {}),
    ("post", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "Env": ["=x"]}),
    ("post", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "WorkingDir": "x"}),
    ("post", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "StopSignal": "SIGBLA"}),
    ("post", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "Healthcheck": {"Interval": 5}}),
    *(("post", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "HostConfig": host}) for host in HOSTS),
    ("get", "/containers/nope/json", None),
    ("post", "/containers/nope/start", None),
    ("post", "/containers/made/stop", None),
    ("post", "/containers/made/kill", None),
    ("post", "/containers/made/pause", None),
    ("post", "/containers/made/unpause", None),
    ("post", "/containers/made/exec", {"Cmd": ["ls"]}),
    ("post", "/containers/made/exec", {}),
    ("post", "/containers/made/rename?name=", None),
    ("post", "/containers/made/rename?name=made", None),
    ("post", "/containers/made/rename?name=live", None),
    ("post", "/containers/made/rename?name=-b", None),
    ("get", "/containers/made/top", None),
    ("post", "/containers/made/resize?h=1&w=1", None),
    ("post", "/containers/made/resize?h=x&w=1", None),
    ("get", "/containers/made/logs", None),
    ("post", "/containers/made/update", {"Memory": 5}),
    ("post", "/containers/made/kill?signal=BLA", None),
    ("get", "/containers/made/archive?path=/nope", None),
    ("get", "/containers/made/archive?path=", None),
    ("put", "/containers/made/archive?path=/nope", None),
    ("post", "/containers/live/start", None),
    ("delete", "/containers/live", None),
    ("post", "/containers/live/unpause", None),
    ("get", "/containers/live/top?ps_args=-o comm", None),
    ("get", "/exec/bla/json", None),
    ("post", "/exec/bla/start", {}),
    ("post", "/commit?container=nope", None),
    ("post", "/commit", None),
    ("delete", "/containers/nope", None),
]  # fmt: skip


def test_what_is_refused_is_refused_alike(both: Pair) -> None:
    found = []
    for one in both:
        one.containers.create("busybox", "true", name="made")
        one.containers.run("busybox", "sleep 1000", name="live", detach=True)
        found.append([(method, path, body, *ask(one, method, path, body)) for method, path, body in REFUSED])
    different = [pair for pair in zip(*found, strict=True) if pair[0] != pair[1]]
    assert not different, "\n".join(f"ours   {ours}\ntheirs {theirs}" for ours, theirs in different)


def exec_ended(client: docker.DockerClient, identity: str) -> bool:
    return not client.api.exec_inspect(identity)["Running"]


def unplugged(client: docker.DockerClient, identity: str) -> bool:
    return not client.api.inspect_container(identity)["NetworkSettings"]["IPAddress"]


def test_a_container_is_shown_alike(both: Pair) -> None:
    found = []
    for one in both:
        container = one.containers.run(
            "busybox",
            ["sh", "-c", "echo out; sleep 1000"],
            name="shown",
            detach=True,
            environment=["A=1"],
            labels={"l": "v"},
            hostname="box",
            ports={"80/tcp": None, "53/udp": None},
            volumes={"/tmp": {"bind": "/m", "mode": "ro"}},
            tmpfs={"/t": "size=1m"},
            mem_limit="64m",
            restart_policy={"Name": "on-failure", "MaximumRetryCount": 3},
            cap_add=["NET_ADMIN"],
            dns=["1.1.1.1"],
            extra_hosts={"x": "1.2.3.4"},
            init=True,
            security_opt=["no-new-privileges"],
            healthcheck={"test": ["CMD", "true"], "interval": 1_000_000_000_000},
            ulimits=[docker.types.Ulimit(name="nofile", soft=100, hard=200)],
        )
        listed = one.api.containers(filters={"name": "shown"})
        running = one.api.inspect_container(container.id)
        made = one.api.exec_create(container.id, ["true"])["Id"]
        fresh = one.api.exec_inspect(made)
        one.api.exec_start(made)
        until(partial(exec_ended, one, made))  # its output ends before
        ended = one.api.exec_inspect(made)
        container.kill()
        container.wait()
        until(partial(unplugged, one, str(container.id)))
        stopped = one.api.inspect_container(container.id)
        container.remove(v=True)
        found.append({"list": listed, "running": running, "exec": fresh, "ended": ended, "stopped": stopped})
    ours, theirs = (plain(each) for each in found)
    one_text, other = (json.dumps(each, indent=1).splitlines() for each in (ours, theirs))
    different = list(difflib.unified_diff(one_text, other, "ours", "theirs", lineterm="", n=2))
    assert not different, "\n".join(different)


def told_since(client: docker.DockerClient, began: int) -> list[dict[str, Any]]:
    """Return what was told of containers."""
    return list(client.api.events(since=began, until=time.time(), decode=True, filters={"type": "container"}))


def all_told(client: docker.DockerClient, began: int) -> bool:
    return {"exec_die", "destroy"} <= {event["Action"] for event in told_since(client, began)}


def test_what_happens_is_told_alike(both: Pair) -> None:
    found = []
    for one in both:
        began = int(time.time())
        container = one.containers.run("busybox", "sleep 1000", name="told", detach=True, labels={"l": "v"})
        container.pause()
        container.unpause()
        container.exec_run(["sh", "-c", "exit 3"])
        container.rename("retold")
        container.update(mem_limit="64m", memswap_limit="64m")
        container.kill("TERM")
        container.kill()
        container.wait()
        b"".join(container.export())
        container.get_archive("/etc/passwd")[0].close()
        container.start()
        container.restart(timeout=0)
        with contextlib.suppress(APIError):
            container.remove()
        container.remove(force=True)
        until(partial(all_told, one, began))
        told = []
        for event in told_since(one, began):
            attributes = {
                key: value
                for key, value in event["Actor"]["Attributes"].items()
                if key not in ("execID", "execDuration")
            }
            if attributes.get("name") in ("told", "retold"):
                told.append((event["Action"], attributes))
        found.append(told)
    # In which order an end, the signal that led to it and what waits for it are told depends on the machine.
    ours, theirs = (sorted(json.dumps(event, sort_keys=True) for event in events) for events in found)
    assert "\n".join(ours) == "\n".join(theirs)
