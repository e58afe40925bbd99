"""`layerlab context create`, `export`, `import`, `inspect`, `ls`, `rm`, ...; and `layerlab system dial-stdio`.

Decided here and only here: what is asked for and said. Where contexts are kept is decided in `sim.cli.client.contexts`,
what one is as a file in `sim.cli.client.contextfiles`.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Mapping

from sim.cli.client.contexts import DEFAULT, Context, Contexts, chosen
from sim.cli.client.hosts import parse
from sim.cli.commands.inspect import show as show_documents
from sim.cli.commands.shared import each, say, warn
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, formats, many, option, switch
from sim.cli.flags.values import switch_value
from sim.cli.show.rows import Listing, show_rows
from sim.cli.terminal import write

__all__ = ["create", "dial_stdio", "export", "import_", "inspect", "ls", "rm", "show", "update", "use"]

LISTING = Listing(
    "*formatter.clientContextContext",
    {
        "Name": "NAME",
        "Description": "DESCRIPTION",
        "DockerEndpoint": "DOCKER ENDPOINT",
        "Error": "ERROR",
        "Current": "<no value>",  # Docker has no heading for it
    },
    ("Name", "Description", "DockerEndpoint", "Error"),
)

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]+")
_KEYS = ("ca", "cert", "from", "host", "key", "skip-tls-verify")
_DESCRIPTION = "Current DOCKER_HOST based configuration"
_ERROR = 45  #: characters of an error that are shown
_IN_MEMORY = "<IN MEMORY>"


def _default(call: Call) -> Context:
    """Return the context that is always there."""
    from sim.engine.places import default_host

    hosts = call.settings.get("host") or ()
    named = hosts[0] if hosts else os.environ.get("LAYERLAB_HOST") or os.environ.get("DOCKER_HOST") or default_host()
    return Context(DEFAULT, _DESCRIPTION, parse(named).url)


def _get(call: Call, name: str) -> Context:
    return _default(call) if name == DEFAULT else Contexts(call.settings).get(name)


@docker(
    "[OPTIONS]",
    "List contexts",
    formats(),
    switch("-q, --quiet", "Only names"),
    aliases=("context ls", "context list"),
    examples=("layerlab context ls", "layerlab context ls -q"),
)
def ls(call: Call) -> None:
    """List contexts."""
    current = chosen(call.settings)
    found = sorted([_default(call), *Contexts(call.settings).all()])
    form = call.text("format")
    plain = form in ("", "table")
    missing = "" if any(each.name == current for each in found) else _missing(call, current)
    if missing:
        found = sorted([*found, Context(current)])
    rows: list[dict[str, object]] = [
        {
            "Current": each.name == current,
            "Description": each.description,
            "DockerEndpoint": each.host,
            "Error": missing if each.name == current else "",
            "Name": f"{each.name} *" if plain and not call.on("quiet") and each.name == current else each.name,
        }
        for each in found
    ]
    show_rows(LISTING, form, rows, quiet="Name" if call.on("quiet") else "")
    variable = _overriding()
    if variable and not call.settings.get("context_name"):
        warn(
            f"Warning: {variable} environment variable overrides the active context. To use a context, either set "
            f"the global --context flag, or unset {variable} environment variable."
        )


def _missing(call: Call, name: str) -> str:
    """Return why there is no such context."""
    try:
        Contexts(call.settings).get(name)
    except Failure as error:
        return error.text if len(error.text) <= _ERROR else f"{error.text[: _ERROR - 1]}…"
    return ""


def _overriding() -> str:
    return next((each for each in ("LAYERLAB_HOST", "DOCKER_HOST") if os.environ.get(each)), "")


@docker("", "Print the name of the current context", examples=("layerlab context show",))
def show(call: Call) -> None:
    """Print the current one's name."""
    say(chosen(call.settings))


@docker("CONTEXT", "Set the current docker context", most=None, examples=("layerlab context use lab",))
def use(call: Call) -> None:
    """Use a context from now on."""
    if len(call.arguments) != 1:
        raise Failure(f"accepts 1 arg(s), received {len(call.arguments)}")
    name = call.arguments[0]
    contexts = Contexts(call.settings)
    if name != DEFAULT:
        _check_name(name)
        contexts.get(name)
    contexts.use(name)
    say(name)
    warn(f'Current context is now "{name}"')
    variable = _overriding()
    if variable and name != DEFAULT:
        warn(
            f'Warning: {variable} environment variable overrides the active context. To use "{name}", either set the '
            f"global --context flag, or unset {variable} environment variable."
        )


def _check_name(name: str) -> None:
    if not name:
        raise Failure("context name cannot be empty")
    if name == DEFAULT:
        raise Failure('"default" is a reserved context name')
    if not _NAME.fullmatch(name):
        raise Failure(
            f'context name "{name}" is invalid, names are validated against regexp "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"'
        )


def _check_new(contexts: Contexts, name: str) -> None:
    _check_name(name)
    if os.path.exists(contexts.places(name)[0]):
        raise Failure(f'context "{name}" already exists')


def _wishes(call: Call) -> dict[str, str]:
    """Return what `--docker` says."""
    return {key: value for pairs in call.many("docker") for key, value in pairs.items()}


def _endpoint(call: Call, name: str, description: str, wishes: Mapping[str, str]) -> Context:
    """Return a context whose engine is as `--docker` says."""
    problem = "unable to create docker endpoint config: "
    for key in wishes:
        if key not in _KEYS:
            raise Failure(f"{problem}unrecognized config key: {key}")
    if "from" in wishes:
        return _get(call, wishes["from"])._replace(name=name, description=description)
    tls: dict[str, bytes] = {}
    for key in ("ca", "cert", "key"):
        if wishes.get(key):
            try:
                with open(wishes[key], "rb") as file:
                    tls[key] = file.read()
            except OSError as error:
                raise Failure(f"{problem}open {wishes[key]}: {(error.strerror or '').lower()}") from None
    for key, text in tls.items():
        if b"-----BEGIN " not in text:
            why = f"failed to retrieve context tls info: {key}.pem seems invalid"
            raise Failure(f"{problem}invalid docker endpoint options: {why}")
    try:
        skips = switch_value(wishes.get("skip-tls-verify", "false"))
    except ValueError as error:
        raise Failure(f"{problem}skip-tls-verify: {error}") from None
    return Context(name, description, wishes.get("host", ""), skips, tls)


@docker(
    "[OPTIONS] CONTEXT",
    "Create a context",
    option("--description", "string", "What it is"),
    many("--docker", "pairs", "Its engine: host=ADDRESS,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=true"),
    option("--from", "string", "Make it as this context is"),
    text="Contexts are kept where the docker command keeps its own: each finds the other's.",
    least=1,
    most=1,
    examples=(
        "layerlab context create lab --docker host=ssh://me@lab.example.org",
        "layerlab context create far --docker host=tcp://far:2376,ca=ca.pem,cert=cert.pem,key=key.pem",
    ),
)
def create(call: Call) -> None:
    """Make a context."""
    name, description = call.arguments[0], call.text("description")
    contexts = Contexts(call.settings)
    _check_new(contexts, name)
    wishes, source = _wishes(call), call.text("from")
    if wishes:
        made = _endpoint(call, name, description, wishes)
    else:
        other = _get(call, source or chosen(call.settings))
        made = other._replace(name=name, description=description or other.description)
    contexts.keep(made)
    say(name)
    warn(f'Successfully created context "{name}"')


@docker(
    "[OPTIONS] CONTEXT [FILE|-]",
    "Export a context to a tar archive FILE or a tar stream on STDOUT.",
    least=1,
    most=2,
    text="Certificates and keys go with it.",
    examples=("layerlab context export lab", "layerlab context export lab - | ssh other layerlab context import lab -"),
)
def export(call: Call) -> None:
    """Write a context to a file, or to standard output."""
    from sim.cli.client.contextfiles import pack

    name = call.arguments[0]
    if name == DEFAULT:
        found = _default(call)._replace(description="").document(), dict[str, bytes]()
    else:
        _check_name(name)
        found = Contexts(call.settings).whole(name)
    data = pack(*found)
    target = call.arguments[1] if len(call.arguments) > 1 else f"{name}.dockercontext"
    if target == "-":
        if os.isatty(1):
            raise Failure("cowardly refusing to export to a terminal, specify a file path")
        write(1, data)
        return
    try:
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failure(f"open {target}: {(error.strerror or '').lower()}") from None
    with open(file, "wb") as out:
        out.write(data)
    warn(f'Written file "{target}"')


@docker(
    "CONTEXT FILE|-",
    "Import a context from a tar or zip file",
    name="import",
    least=2,
    most=2,
    examples=("layerlab context import lab lab.dockercontext",),
)
def import_(call: Call) -> None:
    """Make a context of what was exported."""
    from sim.cli.client.contextfiles import LARGEST, unpack

    name, source = call.arguments
    contexts = Contexts(call.settings)
    _check_new(contexts, name)
    try:
        with open(0 if source == "-" else source, "rb", closefd=source != "-") as file:
            data = file.read(LARGEST + 1)
    except IsADirectoryError:
        raise Failure(f"read {source}: is a directory") from None
    except OSError as error:
        raise Failure(f"open {source}: {(error.strerror or '').lower()}") from None
    contexts.keep_whole(name, *unpack(data))
    say(name)
    warn(f'Successfully imported context "{name}"')


@docker(
    "[OPTIONS] CONTEXT",
    "Update a context",
    option("--description", "string", "What it is"),
    many("--docker", "pairs", "Its engine: host=ADDRESS,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=true"),
    least=1,
    most=1,
    examples=("layerlab context update lab --description 'the lab of the course'",),
)
def update(call: Call) -> None:
    """Change a context."""
    name = call.arguments[0]
    _check_name(name)
    contexts = Contexts(call.settings)
    there = contexts.get(name)
    description = call.text("description") or there.description
    wishes = _wishes(call)
    contexts.keep(_endpoint(call, name, description, wishes) if wishes else there._replace(description=description))
    say(name)
    warn(f'Successfully updated context "{name}"')


@docker(
    "CONTEXT [CONTEXT...]",
    "Remove one or more contexts",
    switch("-f, --force", "Also the one in use; say nothing about ones that are not there"),
    least=1,
    most=None,
    aliases=("context rm", "context remove"),
    examples=("layerlab context rm lab",),
)
def rm(call: Call) -> None:
    """Remove contexts."""
    contexts, current, force = Contexts(call.settings), chosen(call.settings), call.on("force")

    def remove(name: str) -> None:
        if name == DEFAULT:
            raise Failure('context "default" cannot be removed')
        if not force and not os.path.exists(contexts.places(name)[0]):
            raise Failure(f'context "{name}" does not exist')
        if name == current:
            if not force:
                raise Failure(f'context "{name}" is in use, set -f flag to force remove')
            contexts.use(DEFAULT)
        contexts.remove(name)
        say(name)

    each(call.arguments, remove)


@docker(
    "[OPTIONS] [CONTEXT] [CONTEXT...]",
    "Display detailed information on one or more contexts",
    formats("-f, --format", table=False),
    most=None,
    examples=("layerlab context inspect lab", "layerlab context inspect -f '{{.Endpoints.docker.Host}}'"),
)
def inspect(call: Call) -> None:
    """Tell all about contexts."""
    contexts = Contexts(call.settings)

    def ask(name: str) -> bytes:
        found = _get(call, name)
        document = found.document()
        places = contexts.places(name)
        if name == DEFAULT:
            document["Metadata"], places = {}, (_IN_MEMORY, _IN_MEMORY)
        material: dict[str, list[str]] = {}
        for file in sorted(contexts.whole(name)[1] if name != DEFAULT else found.tls):
            endpoint, _, each = file.rpartition("/")
            material.setdefault(endpoint or "docker", []).append(each)
        document["TLSMaterial"] = material
        document["Storage"] = {"MetadataPath": places[0], "TLSPath": places[1]}
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()

    show_documents(call.arguments or [chosen(call.settings)], call.text("format"), ask)


@docker(
    "",
    "Carry between standard input and output and the engine",
    name="dial-stdio",
    text="It is what `ssh://` hosts start on the other machine; nobody else needs it.",
    examples=("LAYERLAB_SSH_COMMAND='layerlab system dial-stdio' layerlab -H ssh://me@lab.example.org ps",),
)
def dial_stdio(call: Call) -> None:
    """Be the far end of a connection by ssh."""
    call.engine.ping()  # the embedded daemon is started where it does not run
    with call.engine.host.open() as connection:

        def send() -> None:
            try:
                while data := os.read(0, 1 << 16):
                    connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                return  # the engine has ended the connection

        threading.Thread(target=send, daemon=True, name="input").start()
        sys.stdout.flush()
        while data := connection.recv(1 << 16):
            while data:
                data = data[os.write(1, data) :]
