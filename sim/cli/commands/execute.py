"""`layerlab exec`, `attach`, `start`: what goes on in a container that is there.

Decided here and only here.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from sim.cli.client import DaemonError, Engine, Stream
from sim.cli.commands.run import exit_status, open_streams
from sim.cli.commands.shared import say
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, many, option, switch
from sim.cli.run.config import read_variables
from sim.cli.terminal import Detached, check_terminal, follow_size, forwarded_signals, transfer

__all__ = ["attach", "exec_", "start"]

_KEYS = option("--detach-keys", "string", "The keys that leave it running and end this command")


@docker(
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Execute a command in a running container",
    switch("-d, --detach", "Leave it running and return at once"),
    _KEYS,
    many("-e, --env", "env", "An environment variable: NAME=VALUE, or NAME for the value that it has here"),
    many("--env-file", "list", "A file of environment variables, one a line"),
    switch("-i, --interactive", "Keep its standard input open"),
    switch("--privileged", "Give it all privileges"),
    switch("-t, --tty", "Give it a terminal"),
    option("-u, --user", "string", "Who runs it: NAME|UID[:GROUP|GID]"),
    option("-w, --workdir", "string", "The directory that it begins in"),
    name="exec",
    least=2,
    most=None,
    mixed=False,
    aliases=("container exec", "exec"),
    examples=("layerlab exec -it web sh", "layerlab exec -u www -w /srv web ls -l"),
    completes="running",
)
def exec_(call: Call) -> int:
    """Run a command in a container."""
    name, command = call.arguments[0], call.arguments[1:]
    try:
        variables = read_variables(call.many("env-file"), call.many("env"), environment=True)
    except ValueError as error:
        raise Failure(str(error)) from None
    engine, detach, tty = call.engine, call.on("detach"), call.on("tty")
    stdin = call.on("interactive") and not detach
    engine.raw(f"/containers/{name}/json")  # its errors come before those about terminals
    if not detach:
        check_terminal(stdin and tty)
    body: dict[str, Any] = {
        "User": call.text("user"),
        "Privileged": call.on("privileged"),
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStderr": not detach,
        "AttachStdout": not detach,
        "DetachKeys": call.text("detach-keys"),
        "Env": variables or None,
        "WorkingDir": call.text("workdir"),
        "Cmd": command,
    }
    if detach:
        body["Detach"] = True
    if tty:
        from sim.cli.terminal import size

        body["ConsoleSize"] = list(size())
    identity = str(engine.post(f"/containers/{name}/exec", body)["Id"])
    if not identity:
        raise Failure("exec ID empty")
    if detach:
        engine.post(f"/exec/{identity}/start", {"Detach": True, "Tty": tty})
        return 0
    start_body: dict[str, Any] = {"Detach": False, "Tty": tty}
    if tty:
        start_body["ConsoleSize"] = body["ConsoleSize"]
    with engine.hijack(f"/exec/{identity}/start", start_body) as connection, contextlib.ExitStack() as resizing:
        if tty and os.isatty(0):
            resizing.enter_context(follow_size(engine, f"/exec/{identity}/resize"))
        try:
            transfer(connection, stdin=stdin, tty=tty, detach_keys=call.text("detach-keys"))
        except Detached:
            raise Failure("read escape sequence") from None
    found = engine.get(f"/exec/{identity}/json")
    return int(found.get("ExitCode") or 0)


def _inspected(engine: Engine, name: str) -> dict[str, Any]:
    found = engine.get(f"/containers/{name}/json")
    assert isinstance(found, dict)
    return found


def _attached(
    call: Call, container: dict[str, Any], *, stdin: bool, running: bool, waiting: Stream | None = None
) -> int:
    """Attach to a container, which is started now where it does not run, and return its status."""
    engine, identity, keys = call.engine, container["Id"], call.text("detach-keys")
    tty = bool(container["Config"].get("Tty"))
    streams = {"AttachStdin": stdin, "AttachStdout": True, "AttachStderr": True}
    if running and waiting is None:
        waiting = engine.stream("POST", f"/containers/{identity}/wait")
    with open_streams(engine, identity, streams, keys) as connection, contextlib.ExitStack() as resizing:
        if not running:
            removed = container["HostConfig"].get("AutoRemove")
            condition = "removed" if removed else "next-exit"
            waiting = engine.stream("POST", f"/containers/{identity}/wait", condition=condition)
        assert waiting is not None

        def begin() -> None:
            if not running:
                engine.post(f"/containers/{identity}/start")
            if tty and os.isatty(1):
                resizing.enter_context(follow_size(engine, f"/containers/{identity}/resize"))

        try:
            transfer(connection, stdin=stdin, tty=tty, detach_keys=keys, when_open=begin)
        except Detached:
            waiting.close()
            if running:
                raise Failure("read escape sequence") from None
            return 0
    return exit_status(waiting)


@docker(
    "[OPTIONS] CONTAINER",
    "Attach local standard input, output, and error streams to a running container",
    _KEYS,
    switch("--no-stdin", "Do not attach standard input"),
    switch("--sig-proxy", "Forward signals to its process", True),
    least=1,
    most=1,
    aliases=("container attach", "attach"),
    examples=("layerlab attach web", "layerlab attach --no-stdin --sig-proxy=false web"),
    completes="running",
)
def attach(call: Call) -> int:
    """Attach to a container."""
    # Before it is looked at: it may end meanwhile.
    waiting = call.engine.stream("POST", f"/containers/{call.arguments[0]}/wait")
    with contextlib.ExitStack() as opened:
        opened.callback(waiting.close)
        return _attach(call, waiting)


def _attach(call: Call, waiting: Stream) -> int:
    container = _inspected(call.engine, call.arguments[0])
    state = container["State"]
    if not state.get("Running"):
        raise Failure("You cannot attach to a stopped container, start it first")
    if state.get("Paused"):
        raise Failure("You cannot attach to a paused container, unpause it first")
    if state.get("Restarting"):
        raise Failure("You cannot attach to a restarting container, wait until it is running")
    config = container["Config"]
    stdin = bool(config.get("OpenStdin")) and not call.on("no-stdin")
    if not call.on("no-stdin"):
        check_terminal(bool(config.get("Tty")))
    with forwarded_signals(call.engine, container["Id"], call.on("sig-proxy") and not config.get("Tty")):
        return _attached(call, container, stdin=stdin, running=True, waiting=waiting)


@docker(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Start one or more stopped containers",
    switch("-a, --attach", "Attach to its output and forward signals"),
    option("--checkpoint", "string", "Restore from this checkpoint", hidden=True),
    _KEYS,
    switch("-i, --interactive", "Attach to its standard input"),
    least=1,
    most=None,
    aliases=("container start", "start"),
    examples=("layerlab start web", "layerlab start -ai shell"),
    completes="container",
)
def start(call: Call) -> int:
    """Start containers."""
    engine = call.engine
    if call.on("attach") or call.on("interactive"):
        if len(call.arguments) > 1:
            raise Failure("you cannot start and attach multiple containers at once")
        container = _inspected(engine, call.arguments[0])
        config = container["Config"]
        stdin = call.on("interactive") and bool(config.get("OpenStdin"))
        check_terminal(stdin and bool(config.get("Tty")))
        if container["State"].get("Running"):
            return _attached(call, container, stdin=stdin, running=True)
        with forwarded_signals(engine, container["Id"], not config.get("Tty")):
            return _attached(call, container, stdin=stdin, running=False)
    problems, failed = [], []
    for name in call.arguments:
        try:
            engine.post(f"/containers/{name}/start")
            say(name)
        except DaemonError as error:
            problems.append(error.text)
            failed.append(name)
    if failed:
        raise Failure("\n".join([*problems, f"Error: failed to start containers: {', '.join(failed)}"]))
    return 0
