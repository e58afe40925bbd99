"""`layerlab update`: other limits for containers that are there.

Decided here and only here: which flags there are, and that a limit which is not given stays as it is.
"""

from __future__ import annotations

from typing import Any

from sim.cli.commands.shared import each, say
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, option
from sim.cli.run.config import limits, restart_policy

__all__ = ["update"]

_FLAGS = (
    option("--blkio-weight", "uint16", "Share of block input and output, 10 to 1000; 0 for none"),
    option("--cpu-period", "int", "Period of the CPU quota, in microseconds"),
    option("--cpu-quota", "int", "CPU time within a period, in microseconds"),
    option("--cpu-rt-period", "int", "Period of real-time CPU time, in microseconds"),
    option("--cpu-rt-runtime", "int", "Real-time CPU time within a period, in microseconds"),
    option("-c, --cpu-shares", "int", "Share of CPU time, relative to others"),
    option("--cpus", "decimal", "How many CPUs it may use at most"),
    option("--cpuset-cpus", "string", "On which CPUs it may run"),
    option("--cpuset-mems", "string", "Memory of which nodes it may use"),
    option("--kernel-memory", "bytes", "Limit of kernel memory", hidden=True),
    option("-m, --memory", "bytes", "Limit of memory"),
    option("--memory-reservation", "bytes", "Soft limit of memory"),
    option("--memory-swap", "swap", "Limit of memory and swap together; -1 for none"),
    option("--pids-limit", "int", "How many processes it may have; -1 for any number"),
    option("--restart", "string", "When it is started again: no, on-failure[:TIMES], always, unless-stopped"),
)


@docker(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Update configuration of one or more containers",
    *_FLAGS,
    least=1,
    most=None,
    aliases=("container update", "update"),
    examples=("layerlab update --memory 1g --cpus 2 web", "layerlab update --restart unless-stopped web"),
    completes="container",
)
def update(call: Call) -> None:
    """Update containers."""
    if not any(call.given(flag.name) for flag in _FLAGS):
        raise Failure("you must provide one or more flags when using this command")
    try:
        restart = (
            restart_policy(call.text("restart")) if call.given("restart") else {"Name": "", "MaximumRetryCount": 0}
        )
    except ValueError as error:
        raise Failure(str(error)) from None
    body: dict[str, Any] = {
        **limits(call),
        "PidsLimit": call.number("pids-limit") if call.given("pids-limit") else None,
        "RestartPolicy": restart,
    }
    warnings: list[str] = []

    def change(name: str) -> None:
        answer = call.engine.post(f"/containers/{name}/update", body)
        warnings.extend((answer or {}).get("Warnings") or ())
        say(name)

    try:
        each(call.arguments, change)
    finally:
        if warnings:
            say("\n".join(warnings))
