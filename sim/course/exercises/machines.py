"""Lesson 1, what virtual machines and containers share and do not.

Decided here: what its exercises want, and which mistakes they know. One thread.
"""

from __future__ import annotations

from pathlib import Path

from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.containers import container
from sim.course.exercises.engines import base_image, run_solutions_of
from sim.course.texts import Text

__all__ = ["TRACK"]

_MEMORY, _PIDS, _KILLED = 64 << 20, 20, 137


def _prepare(home: Path) -> tuple[str, ...]:
    base_image(home)
    return ()


def _ship(bench: Bench) -> Text:
    """1.1: a running container with a name of its own."""
    found = container(bench, "ship")
    if found["Config"]["Hostname"] != "ship":
        raise NotYetError(
            f"the container is called ship, and its host's name is {found['Config']['Hostname']}: that is another name, --hostname",
            f"容器名叫 ship，而它的主机名是 {found['Config']['Hostname']}：那是另一个名字，用 --hostname",
        )
    if not found["State"]["Running"]:
        raise NotYetError(
            f"ship is {found['State']['Status']}: give it something to do that goes on, and -d; `layerlab start ship` starts it again",
            f"ship 的状态是 {found['State']['Status']}：请给它一件持续的事做，并加 -d；`layerlab start ship` 可以重新启动",
        )
    return Text(
        f"ship runs; outside it is process {found['State']['Pid']} of this machine, and it has no kernel of its own",
        f"ship 在运行；从外面看它是这台机器的进程 {found['State']['Pid']}，没有自己的内核",
    )


def _small(bench: Bench) -> Text:
    """1.2: limits."""
    wanted = container(bench, "small")["HostConfig"]
    if wanted.get("Memory") != _MEMORY:
        raise NotYetError(
            f"small may use {wanted.get('Memory') or 'any amount of'} bytes of memory; it should be 64 MiB: --memory 64m",
            f"small 可用的内存是 {wanted.get('Memory') or '不限'}；应当是 64 MiB：--memory 64m",
        )
    if wanted.get("PidsLimit") != _PIDS:
        raise NotYetError(
            f"small may have {wanted.get('PidsLimit') or 'any number of'} processes; it should be {_PIDS}",
            f"small 的进程数上限是 {wanted.get('PidsLimit') or '不限'}；应当是 {_PIDS}",
        )
    return Text(
        "64 MiB and 20 processes at most: limits on processes, not a piece of hardware",
        "最多 64 MiB、20 个进程：这是对进程的限制，不是一块硬件",
    )


def _victim(bench: Bench) -> Text:
    """1.3: the host ends a container's process."""
    state = container(bench, "victim")["State"]
    if state["Running"]:
        raise NotYetError(
            f"victim is still running, as process {state['Pid']}: end that process from the host",
            f"victim 还在运行，进程号是 {state['Pid']}：请从宿主机结束这个进程",
        )
    if state["ExitCode"] != _KILLED:
        raise NotYetError(
            f"victim ended with {state['ExitCode']}: by itself, or asked to. Start it again, and kill its process with signal 9",
            f"victim 以 {state['ExitCode']} 结束：是自己结束的，或是被请求结束的。请重新启动它，并用信号 9 杀死它的进程",
        )
    return Text(
        "ended with 137, that is 128 + 9: killed from outside like any process of the machine",
        "以 137（即 128 + 9）结束：像这台机器的任何进程一样，被从外面杀死",
    )


TRACK = Track(
    1,
    None,
    _prepare,
    lambda home: run_solutions_of(1, home),
    {"1.1": _ship, "1.2": _small, "1.3": _victim},
    costly=True,
)
