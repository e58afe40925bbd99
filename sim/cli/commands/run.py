"""`layerlab run` and `create`.

Decided here and only here: in which order a container is made, attached to, waited for and started, and which status
`run` ends with: that of the container's process, 125 where there was none, 126 and 127 where its command could not run.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from sim.cli.client import DaemonError, Engine, Hijacked, Stream
from sim.cli.commands.shared import say, warn
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker
from sim.cli.run.config import container_config
from sim.cli.run.flags import CREATE_FLAGS, RUN_FLAGS
from sim.cli.terminal import Detached, check_terminal, follow_size, forwarded_signals, transfer

__all__ = ["create", "run"]


def with_help(text: str, word: str, status: int = 125) -> Failure:
    """Return a failure of `run` or `create`."""
    return Failure(f"layerlab: {text}\n\nRun 'layerlab {word} --help' for more information", status)


def _request(call: Call, word: str, *, detach: bool = False) -> dict[str, Any]:
    if call.text("pull") not in ("always", "missing", "never"):
        text = f'invalid pull option: \'{call.text("pull")}\': must be one of "always", "missing" or "never"'
        raise with_help(text, word)
    try:
        return container_config(call, detach=detach)
    except ValueError as error:
        raise with_help(str(error), word) from None


class _IdFile:
    """The file of `--cidfile`: refused where it is there, removed where the container was not made."""

    def __init__(self, path: str, word: str) -> None:
        self._file = None
        self._path = path
        if not path:
            return
        if os.path.exists(path):
            raise with_help(
                f"container ID file found, make sure the other container isn't running or delete {path}", word
            )
        try:
            self._file = open(path, "x", encoding="ascii")  # noqa: SIM115 - kept until the ID is known
        except OSError as error:
            text = f"failed to create the container ID file: open {path}: {(error.strerror or '').lower()}"
            raise with_help(text, word) from None

    def end(self, identity: str = "") -> None:
        if self._file is not None:
            with self._file:
                self._file.write(identity)
            if not identity:
                os.unlink(self._path)


def _create(call: Call, word: str, config: dict[str, Any]) -> str:
    """Make the container, pulling its image where needed; return its ID."""
    image = call.arguments[0]
    if not _is_id(image):
        try:
            _check_name(image)
        except Failure as error:
            raise (with_help(error.text, word) if word == "run" else error) from None
    file = _IdFile(call.text("cidfile"), word)
    identity = ""
    try:
        engine = call.engine
        platform = call.text("platform") or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
        query = {"name": call.text("name") or None, "platform": platform or None}
        if call.text("pull") == "always":
            _pull(call, engine, image, platform)
        try:
            answer = engine.post("/containers/create", config, **query)
        except DaemonError as error:
            if error.code != 404 or call.text("pull") != "missing" or "no such image" not in error.message.lower():
                raise
            if not call.on("quiet"):
                from sim.cli.commands.registries import reference

                warn(f"Unable to find image '{reference(image).familiar}' locally")
            _pull(call, engine, image, platform)
            answer = engine.post("/containers/create", config, **query)
        identity = str(answer["Id"])
        for warning in answer.get("Warnings") or ():
            warn(f"WARNING: {warning}")
        return identity
    except DaemonError as error:
        raise with_help(error.text, word) from None
    finally:
        file.end(identity)


def _is_id(name: str) -> bool:
    plain = name.removeprefix("sha256:")
    return bool(plain) and all(one in "0123456789abcdef" for one in plain)


def _check_name(name: str) -> None:
    """Refuse what can be no image before anything is asked; the full rules cost time that `run` has no use for."""
    bare = name.partition("@")[0]
    if not name or bare != bare.lower() or " " in name:
        from sim.cli.commands.registries import reference

        reference(name)


def _pull(call: Call, engine: Engine, image: str, platform: str) -> None:
    from sim.cli.commands.registries import pull_image, reference

    try:
        pull_image(engine, call.settings, reference(image), platform=platform, quiet=call.on("quiet"), out=sys.stderr)
    except DaemonError:
        raise
    except Failure as error:
        raise DaemonError(500, error.text) from None


_USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"


@docker(
    _USAGE,
    "Create a new container",
    *CREATE_FLAGS,
    least=1,
    most=None,
    mixed=False,
    aliases=("container create", "create"),
    examples=("layerlab create --name web -p 8080:80 nginx", "layerlab start -a web"),
    completes="image",
)
def create(call: Call) -> None:
    """Create a container."""
    say(_create(call, "create", _request(call, "create")))


@docker(
    _USAGE,
    "Create and run a new container from an image",
    *RUN_FLAGS,
    least=1,
    most=None,
    mixed=False,
    aliases=("container run", "run"),
    examples=(
        "layerlab run -it --rm busybox sh",
        "layerlab run -d --name web -p 8080:80 -v data:/var/lib/data --memory 512m nginx",
        "layerlab run --rm -e LANG=C --mount type=bind,src=.,dst=/src busybox ls /src",
    ),
    completes="image",
)
def run(call: Call) -> int:
    """Create a container and start it."""
    detach = call.on("detach")
    if detach and call.many("attach"):
        raise Failure("conflicting options: cannot specify both --attach and --detach")
    config = _request(call, "run", detach=detach)
    if not detach:
        check_terminal(config["AttachStdin"] and config["Tty"])
    identity = _create(call, "run", config)
    engine = call.engine
    attached = config["AttachStdin"] or config["AttachStdout"] or config["AttachStderr"]
    with forwarded_signals(engine, identity, attached and call.on("sig-proxy")):
        if not attached:
            waiting = _wait(engine, identity, call.on("rm"))
            try:
                _start(engine, identity)
            finally:
                waiting.close()
            say(identity)
            return 0
        return _attended(call, engine, identity, config)


def _wait(engine: Engine, identity: str, remove: bool) -> Stream:
    """Begin to wait for the end. The answer's head comes at once: then the engine does wait."""
    condition = "removed" if remove else "next-exit"
    try:
        return engine.stream("POST", f"/containers/{identity}/wait", condition=condition)
    except DaemonError as error:
        raise with_help(error.text, "run") from None


def _start(engine: Engine, identity: str) -> None:
    try:
        engine.post(f"/containers/{identity}/start")
    except DaemonError as error:
        raise with_help(error.text, "run", start_status(error.message)) from None


def start_status(message: str) -> int:
    """Return the status for a command that could not be started.

    >>> [start_status(text) for text in ("executable file not found in $PATH", "permission denied", "?")]
    [127, 126, 125]
    """
    if any(text in message for text in ("executable file not found", "no such file or directory")):
        return 127
    return 126 if any(text in message for text in ("permission denied", "is a directory")) else 125


def open_streams(engine: Engine, identity: str, config: dict[str, Any], keys: str, *, logs: bool = False) -> Hijacked:
    """Attach to a container's streams."""
    return engine.hijack(
        f"/containers/{identity}/attach",
        stream=True,
        stdin=bool(config.get("AttachStdin")),
        stdout=bool(config.get("AttachStdout")),
        stderr=bool(config.get("AttachStderr")),
        detachKeys=keys or None,
        logs=logs,
    )


def exit_status(waiting: Stream) -> int:
    """Return the status that a wait ends with."""
    import json

    with waiting:
        data = waiting.read()
    found: dict[str, Any] = json.loads(data) if data.strip() else {"StatusCode": 125}
    problem = found.get("Error")
    if problem and problem.get("Message"):
        raise Failure(f"Error waiting for container: {problem['Message']}", 125)
    return int(found.get("StatusCode", 125))


def _attended(call: Call, engine: Engine, identity: str, config: dict[str, Any]) -> int:
    tty, stdin, keys = config["Tty"], config["AttachStdin"], call.text("detach-keys")
    with open_streams(engine, identity, config, keys) as connection, contextlib.ExitStack() as resizing:
        waiting = _wait(engine, identity, call.on("rm"))

        def start() -> None:
            try:
                _start(engine, identity)
            except Failure:
                if call.on("rm"):
                    waiting.read()
                raise
            if tty and os.isatty(1):
                resizing.enter_context(follow_size(engine, f"/containers/{identity}/resize"))

        try:
            transfer(connection, stdin=stdin, tty=tty, detach_keys=keys, when_open=start)
        except Detached:
            waiting.close()
            return 0
    return exit_status(waiting)
