"""`layerlab build`: a context goes to the engine, an image comes of it.

Decided here and only here: which kind of context is sent in which way. What is sent of a directory is decided in
`sim.cli.context`.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterable
from typing import Any, BinaryIO

from sim.cli.commands.archives import pieces
from sim.cli.commands.registries import config_path, reference
from sim.cli.context import directory_context, file_and_context, looks_like_tar
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, many, option, switch
from sim.cli.run.config import key_values
from sim.cli.show.human import size
from sim.cli.show.progress import show_progress

__all__ = ["build"]


@docker(
    "[OPTIONS] PATH | URL | -",
    "Build an image from a Dockerfile",
    many("--add-host", "host", "A name for an address during the build: NAME:ADDRESS"),
    many("--build-arg", "env", "A build argument: NAME=VALUE, or NAME for the value that it has here"),
    many("--cache-from", "strings", "An image whose layers may be used again"),
    option("--cgroup-parent", "string", "Below which control group RUN runs"),
    switch("--compress", "Compress the context on the way"),
    option("--cpu-period", "int", "Period of the CPU quota, in microseconds"),
    option("--cpu-quota", "int", "CPU time within a period, in microseconds"),
    option("-c, --cpu-shares", "int", "Share of CPU time, relative to others"),
    option("--cpuset-cpus", "string", "On which CPUs RUN may run"),
    option("--cpuset-mems", "string", "Memory of which nodes it may use"),
    switch("--disable-content-trust", "Do not ask for signatures", True, hidden=True),
    option("-f, --file", "string", "The Dockerfile; PATH/Dockerfile where none is named"),
    switch("--force-rm", "Remove intermediate containers also where the build fails"),
    option("--iidfile", "string", "Write the image's ID to this file"),
    option("--isolation", "string", "How RUN is isolated"),
    many("--label", "label", "A label of the image: KEY=VALUE"),
    option("-m, --memory", "bytes", "Limit of memory"),
    option("--memory-swap", "swap", "Limit of memory and swap together; -1 for none"),
    option("--network", "string", "The network during RUN", "default"),
    switch("--no-cache", "Do every step again"),
    option("--platform", "string", "For this platform: linux/arm64"),
    switch("--pull", "Ask for newer images to build on"),
    switch("-q, --quiet", "Print only the image's ID"),
    switch("--rm", "Remove intermediate containers where the build succeeds", True),
    many("--security-opt", "strings", "A security option for RUN"),
    option("--shm-size", "bytes", "Size of /dev/shm during RUN"),
    switch("--squash", "Make one layer of those that the build adds"),
    many("-t, --tag", "tag", "A name for the image: NAME[:TAG]; may be repeated"),
    option("--target", "string", "Build only up to this stage"),
    many("--ulimit", "ulimit", "A limit of RUN's processes: NAME=SOFT[:HARD]"),
    least=1,
    most=1,
    aliases=("image build", "build", "builder build"),
    examples=(
        "layerlab build -t app:1 .",
        "layerlab build -f docker/Dockerfile --build-arg VERSION=2 --target test -t app:test .",
        "layerlab build - < Dockerfile",
    ),
)
def build(call: Call) -> None:
    """Build an image."""
    context = call.arguments[0]
    quiet = call.on("quiet")
    identity = ""

    def take(found: Any) -> None:
        nonlocal identity
        identity = str((found or {}).get("ID") or identity)

    body, dockerfile, remote = _context(call, context)
    said: list[str] = []
    if body is not None:
        body = _counted(body, said if quiet else None)
    query = _query(call, dockerfile, remote)
    headers = {"X-Registry-Config": _credentials(call)}
    if body is not None:
        headers["Content-Type"] = "application/x-tar"
    elif not remote:
        raise AssertionError
    engine = call.engine
    with engine.stream("POST", "/build", body if body is not None else b"", headers, **query) as stream:
        if quiet:
            try:
                show_progress(_gathered(stream.objects(), said), aux=take, quiet=True)
            except Failure as error:
                raise Failure("".join(said) + error.text, error.status) from None
            identity = "".join(said if body is None else said[1:]).strip() or identity
            sys.stdout.write(f"{identity}\n")
        else:
            show_progress(stream.objects(), aux=take)
    path = call.text("iidfile")
    if path:
        if not identity:
            raise Failure(f"server did not provide an image ID. Cannot write {path}")
        with open(path, "w", encoding="ascii") as file:
            file.write(identity)


def _gathered(messages: Iterable[dict[str, Any]], said: list[str]) -> Iterable[dict[str, Any]]:
    for message in messages:
        if message.get("stream"):
            said.append(str(message["stream"]))
        yield message


_SENDING = "Sending build context to Docker daemon "


def _counted(chunks: Iterable[bytes], said: list[str] | None) -> Iterable[bytes]:
    """Yield chunks and tell how much of the context is on its way: at once, or in a list for the case of a failure."""
    terminal = sys.stdout.isatty() and said is None
    total = told = 0
    for chunk in chunks:
        yield chunk
        total += len(chunk)
        if terminal and total - told > 512 * 1024:
            told = total
            sys.stdout.write(f"{_SENDING}{size(total):>8}\r")
            sys.stdout.flush()
    line = f"{_SENDING}{size(total):>8}\r\r\n"
    if said is not None:
        said.insert(0, line)
        return
    sys.stdout.write(line)
    sys.stdout.flush()


def _context(call: Call, context: str) -> tuple[Iterable[bytes] | None, str, str]:
    """Return the body, the Dockerfile's name in it, and the address where the engine fetches it itself."""
    file = call.text("file")
    if file == "-" and context == "-":
        raise Failure("invalid argument: can't use stdin for both build context and dockerfile")
    if context.startswith(("http://", "https://")) and not context.endswith(".git"):
        return None, file, context
    if context.startswith(("git://", "git@", "github.com/")) or context.endswith(".git"):
        return None, file, context
    if context == "-":
        return (*_standard_input(file), "")
    if not os.path.isdir(context):
        if os.path.isfile(context):
            raise Failure(f"unable to prepare context: context must be a directory: {os.path.abspath(context)}")
        raise Failure(f'unable to prepare context: path "{context}" not found')
    text = None
    if file == "-":
        text = sys.stdin.buffer.read()
    sent, name = directory_context(context, file, text)
    return (compressed(sent) if call.on("compress") else sent), name, ""


def compressed(chunks: Iterable[bytes]) -> Iterable[bytes]:
    """Yield chunks compressed with gzip."""
    import zlib

    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    for chunk in chunks:
        if data := packer.compress(chunk):
            yield data
    yield packer.flush()


def _standard_input(file: str) -> tuple[Iterable[bytes], str]:
    source: BinaryIO = sys.stdin.buffer
    head = source.peek(512) if hasattr(source, "peek") else b""
    if looks_like_tar(head):
        return pieces(source), file
    if file:
        raise Failure("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles")
    return file_and_context(source.read())


def _query(call: Call, dockerfile: str, remote: str) -> dict[str, object]:
    query: dict[str, object] = {
        "version": "1",
        "t": [_full(name) for name in call.many("tag")],
        "dockerfile": dockerfile,
        "remote": remote or None,
        "q": call.on("quiet"),
        "nocache": call.on("no-cache"),
        "rm": None if call.on("rm") else "0",
        "forcerm": call.on("force-rm"),
        "pull": call.on("pull"),
        "squash": call.on("squash"),
        "target": call.text("target") or None,
        "platform": (call.text("platform") or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")).lower() or None,
        "networkmode": call.text("network") if call.text("network") != "default" else None,
        "extrahosts": call.many("add-host"),
        "securityopt": json.dumps(call.many("security-opt"), separators=(",", ":"))
        if call.many("security-opt")
        else None,
        "isolation": call.text("isolation") or None,
        "cgroupparent": call.text("cgroup-parent") or None,
        "cpusetcpus": call.text("cpuset-cpus") or None,
        "cpusetmems": call.text("cpuset-mems") or None,
    }
    for name, flag in (
        ("cpuperiod", "cpu-period"),
        ("cpuquota", "cpu-quota"),
        ("cpushares", "cpu-shares"),
        ("memory", "memory"),
        ("memswap", "memory-swap"),
        ("shmsize", "shm-size"),
    ):
        query[name] = call.number(flag) or None
    for name, value in (
        ("buildargs", _arguments(call)),
        ("labels", key_values(call.many("label"))),
        ("cachefrom", call.many("cache-from")),
        ("ulimits", [_ulimit(word) for word in call.many("ulimit")]),
    ):
        query[name] = json.dumps(value, sort_keys=isinstance(value, dict), separators=(",", ":")) if value else None
    return query


def _full(name: str) -> str:
    return reference(name, default_tag="").familiar


def _arguments(call: Call) -> dict[str, str | None]:
    """Return build arguments; one without a value here has None, and the engine leaves it as it is."""
    found: dict[str, str | None] = {}
    for word in call.many("build-arg"):
        name, equals, value = word.partition("=")
        found[name] = value if equals else None
    return found


def _ulimit(text: str) -> dict[str, Any]:
    name, _, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    return {"Name": name, "Hard": int(hard) if colon else int(soft), "Soft": int(soft)}


def _credentials(call: Call) -> str:
    """Return all credentials of the user's config file, for the images that a Dockerfile names."""
    path = config_path(call.settings)
    found: dict[str, Any] = {}
    if os.path.exists(path):
        from pathlib import Path

        from sim.cli.commands.shared import read_config
        from sim.images import ImagesError
        from sim.images.registry.credentials import DockerConfig

        settings = read_config(call.settings)
        names = {*(settings.get("auths") or {}), *(settings.get("credHelpers") or {})}
        for name in sorted(names):
            domain = "docker.io" if "index.docker.io" in name else name.split("://")[-1].partition("/")[0]
            try:
                known = DockerConfig(Path(path)).find(domain)
            except ImagesError as error:
                raise Failure(str(error)) from None
            if known is not None:
                fields = {"username": known.username, "password": known.password, "serveraddress": name}
                if known.identity_token:
                    fields["identitytoken"] = known.identity_token
                found[name] = fields
    return base64.urlsafe_b64encode(json.dumps(found, separators=(",", ":")).encode()).decode()
