"""What is done to containers by their names: stop, kill, remove, rename, wait, and what is asked about one.

Decided here and only here: how each is asked of the engine and what is printed.
"""

from __future__ import annotations

import sys
from typing import Any

from sim.cli.client import DaemonError
from sim.cli.commands.shared import each, say
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, option, switch
from sim.cli.show.table import lay_out

__all__ = ["diff", "kill", "pause", "port", "rename", "restart", "rm", "stop", "top", "unpause", "wait"]

_SOME = "CONTAINER [CONTAINER...]"


def _asked(call: Call, action: str, **query: object) -> None:
    """Ask the same of each container; print the names of those where it was done."""

    def ask(name: str) -> None:
        call.engine.post(f"/containers/{name}/{action}", **query)
        say(name)

    each(call.arguments, ask)


def _ending(call: Call, action: str) -> None:
    seconds = call.number("timeout") if call.given("timeout") else call.number("time") if call.given("time") else None
    _asked(call, action, signal=call.text("signal") or None, t=seconds)


_SIGNAL = option("-s, --signal", "string", "The signal instead of the container's own")
_SECONDS = (
    option("-t, --timeout", "int", "Seconds to wait before it is killed"),
    option("--time", "int", "The same", hidden=True),
)


@docker(
    f"[OPTIONS] {_SOME}",
    "Stop one or more running containers",
    _SIGNAL,
    *_SECONDS,
    least=1,
    most=None,
    aliases=("container stop", "stop"),
    examples=("layerlab stop web", "layerlab stop -t 2 $(layerlab ps -q)"),
    completes="running",
)
def stop(call: Call) -> None:
    """Stop containers."""
    _ending(call, "stop")


@docker(
    f"[OPTIONS] {_SOME}",
    "Restart one or more containers",
    _SIGNAL,
    *_SECONDS,
    least=1,
    most=None,
    aliases=("container restart", "restart"),
    examples=("layerlab restart web",),
    completes="container",
)
def restart(call: Call) -> None:
    """Restart containers."""
    _ending(call, "restart")


@docker(
    f"[OPTIONS] {_SOME}",
    "Kill one or more running containers",
    option("-s, --signal", "string", "The signal; SIGKILL where none is given"),
    least=1,
    most=None,
    aliases=("container kill", "kill"),
    examples=("layerlab kill web", "layerlab kill -s HUP web"),
    completes="running",
)
def kill(call: Call) -> None:
    """Kill containers."""
    _asked(call, "kill", signal=call.text("signal") or None)


@docker(
    _SOME,
    "Pause all processes within one or more containers",
    least=1,
    most=None,
    aliases=("container pause", "pause"),
    examples=("layerlab pause web",),
    completes="running",
)
def pause(call: Call) -> None:
    """Pause containers."""
    _asked(call, "pause")


@docker(
    _SOME,
    "Unpause all processes within one or more containers",
    least=1,
    most=None,
    aliases=("container unpause", "unpause"),
    examples=("layerlab unpause web",),
    completes="running",
)
def unpause(call: Call) -> None:
    """Unpause containers."""
    _asked(call, "unpause")


@docker(
    f"[OPTIONS] {_SOME}",
    "Remove one or more containers",
    switch("-f, --force", "Also ones that run: they are killed"),
    switch("-l, --link", "Remove the link of this name, not the container"),
    switch("-v, --volumes", "Also their volumes that have no name"),
    least=1,
    most=None,
    aliases=("container rm", "container remove", "rm"),
    examples=("layerlab rm web", "layerlab rm -fv $(layerlab ps -aq)"),
    completes="container",
)
def rm(call: Call) -> None:
    """Remove containers."""

    def remove(name: str) -> None:
        plain = name.strip("/")
        if not plain:
            raise Failure("Container name cannot be empty")
        try:
            call.engine.delete(
                f"/containers/{plain}", force=call.on("force"), v=call.on("volumes"), link=call.on("link")
            )
        except DaemonError as error:
            if call.on("force") and error.code == 404:
                print(error.text, file=sys.stderr)
                return
            raise
        say(name)

    each(call.arguments, remove)


@docker(
    "CONTAINER NEW_NAME",
    "Rename a container",
    least=2,
    most=2,
    aliases=("container rename", "rename"),
    examples=("layerlab rename web old-web",),
    completes="container",
)
def rename(call: Call) -> None:
    """Rename a container."""
    old, new = (name.strip() for name in call.arguments)
    if not old or not new:
        raise Failure("Error: Neither old nor new names may be empty")
    try:
        call.engine.post(f"/containers/{old}/rename", name=new)
    except DaemonError as error:
        raise Failure(f"{error.text}\nError: failed to rename container named {old}") from None


@docker(
    _SOME,
    "Block until one or more containers stop, then print their exit codes",
    least=1,
    most=None,
    aliases=("container wait", "wait"),
    examples=("layerlab wait job",),
    completes="container",
)
def wait(call: Call) -> None:
    """Wait for containers."""

    def ask(name: str) -> None:
        answer = call.engine.post(f"/containers/{name}/wait")
        problem = (answer.get("Error") or {}).get("Message")
        if problem:
            raise Failure(problem)
        print(answer.get("StatusCode", 0), flush=True)

    each(call.arguments, ask)


@docker(
    "CONTAINER [ps OPTIONS]",
    "Display the running processes of a container",
    least=1,
    most=None,
    mixed=False,
    aliases=("container top", "top"),
    examples=("layerlab top web", "layerlab top web -o pid,args"),
    completes="running",
)
def top(call: Call) -> None:
    """Show processes."""
    name, *options = call.arguments
    answer = call.engine.get(f"/containers/{name}/top", ps_args=" ".join(options) or None)
    lines = [answer.get("Titles") or [], *(answer.get("Processes") or [])]
    sys.stdout.write(lay_out("".join("\t".join(line) + "\n" for line in lines), least=20))


@docker(
    "CONTAINER [PRIVATE_PORT[/PROTO]]",
    "List port mappings or a specific mapping for the container",
    least=1,
    most=2,
    aliases=("container port", "port"),
    examples=("layerlab port web", "layerlab port web 80/tcp"),
    completes="running",
)
def port(call: Call) -> None:
    """Show ports."""
    name = call.arguments[0]
    ports: dict[str, Any] = (call.engine.get(f"/containers/{name}/json")["NetworkSettings"] or {}).get("Ports") or {}

    def place(binding: dict[str, str]) -> str:
        address = binding.get("HostIp", "")
        return f"[{address}]:{binding['HostPort']}" if ":" in address else f"{address}:{binding['HostPort']}"

    if len(call.arguments) == 2:
        wanted = call.arguments[1]
        number, slash, kind = wanted.partition("/")
        if not number.isdigit() or int(number) > 65535:
            problem = "value out of range" if number.isdigit() else "invalid syntax"
            raise Failure(f'Error: invalid port ({number}): strconv.ParseUint: parsing "{number}": {problem}')
        found = ports.get(f"{number}/{kind.lower() if slash else 'tcp'}")
        if not found:
            raise Failure(f"Error: No public port '{wanted}' published for {name}")
        lines = [place(binding) for binding in found]
    else:
        lines = [f"{inner} -> {place(binding)}" for inner, bindings in ports.items() for binding in bindings or ()]
    for line in sorted(lines, key=_natural):
        say(line)


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key by which numbers in texts sort as numbers."""
    import re

    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text) if part]


@docker(
    "CONTAINER",
    "Inspect changes to files or directories on a container's filesystem",
    least=1,
    most=1,
    aliases=("container diff", "diff"),
    examples=("layerlab diff web",),
    completes="container",
)
def diff(call: Call) -> None:
    """Show changes."""
    if not call.arguments[0]:
        raise Failure("Container name cannot be empty")
    answer = call.engine.get(f"/containers/{call.arguments[0]}/changes")
    for change in answer or ():
        say(f"{'CAD'[change['Kind']]} {change['Path']}")
