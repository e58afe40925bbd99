"""`layerlab save`, `load`, `import`, `export`: images and filesystems as tar archives.

Decided here and only here: where archives go and come from, and that a file is there in full or not at all.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from sim.cli.client import Stream
from sim.cli.commands.registries import reference
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, many, option, switch
from sim.cli.show.progress import show_progress
from sim.cli.terminal import write

__all__ = ["export", "import_", "load", "platform_value", "save"]

_PIECE = 1 << 18


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file's content in pieces, as they come."""
    while data := file.read1(_PIECE) if hasattr(file, "read1") else file.read(_PIECE):
        yield data


def platform_value(text: str) -> str | None:
    """Return a platform as the API's JSON; None where none is given."""
    if not text:
        return None
    import json

    parts = text.split("/")
    if len(parts) == 1:
        parts = ["linux", text] if text not in ("linux", "windows") else [text, ""]
    found = {"architecture": parts[1], "os": parts[0]}
    if len(parts) > 2:
        found["variant"] = parts[2]
    return json.dumps(found, separators=(",", ":"))


def _keep(stream: Stream, output: str, word: str) -> None:
    """Write what comes to a file, or to standard output."""
    with stream:
        if not output:
            for data in stream.chunks():
                write(1, data)
            return
        folder = os.path.dirname(output) or "."
        if not os.path.isdir(folder):
            raise Failure(f"failed to {word}: invalid output path: stat {folder}: no such file or directory")
        if os.path.isdir(output):
            raise Failure(f'failed to {word}: invalid output path: "{output}" must be a regular file')
        if os.path.exists(output) and not os.path.isfile(output):
            for_device(stream, output)
            return
        handle, aside = tempfile.mkstemp(prefix=f".{os.path.basename(output)}.", dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                for data in stream.chunks():
                    file.write(data)
            os.replace(aside, output)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(aside)
            raise


def for_device(stream: Stream, output: str) -> None:
    """Write what comes to something that is no plain file, such as /dev/null or a pipe."""
    with open(output, "wb") as file:
        for data in stream.chunks():
            file.write(data)


def _no_terminal(output: str, text: str) -> None:
    if not output and os.isatty(1):
        raise Failure(text)


@docker(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Save one or more images to a tar archive (streamed to STDOUT by default)",
    option("-o, --output", "string", "Write to this file"),
    option("--platform", "string", "Only this platform, of several", hidden=True),
    least=1,
    most=None,
    aliases=("image save", "save"),
    examples=("layerlab save -o images.tar redis:7 app:1", "layerlab save app:1 | gzip > app.tar.gz"),
    completes="image",
)
def save(call: Call) -> None:
    """Save images."""
    output = call.text("output")
    _no_terminal(output, "cowardly refusing to save to a terminal. Use the -o flag or redirect")
    platform = platform_value(call.text("platform"))
    _keep(call.engine.stream("GET", "/images/get", names=call.arguments, platform=platform), output, "save image")


@docker(
    "[OPTIONS] CONTAINER",
    "Export a container's filesystem as a tar archive",
    option("-o, --output", "string", "Write to this file"),
    least=1,
    most=1,
    aliases=("container export", "export"),
    examples=("layerlab export -o rootfs.tar web",),
    completes="container",
)
def export(call: Call) -> None:
    """Export a container."""
    output = call.text("output")
    _no_terminal(output, "cowardly refusing to save to a terminal. Use the -o flag or redirect")
    _keep(call.engine.stream("GET", f"/containers/{call.arguments[0]}/export"), output, "export container")


@docker(
    "[OPTIONS]",
    "Load an image from a tar archive or STDIN",
    option("-i, --input", "string", "Read this file"),
    option("--platform", "string", "Only this platform, of several", hidden=True),
    switch("-q, --quiet", "Do not show how it goes"),
    aliases=("image load", "load"),
    examples=("layerlab load -i images.tar", "gunzip -c app.tar.gz | layerlab load"),
)
def load(call: Call) -> None:
    """Load images."""
    path = call.text("input")
    quiet = call.on("quiet") or not os.isatty(1)
    with contextlib.ExitStack() as opened:
        if path:
            try:
                source: BinaryIO = opened.enter_context(open(path, "rb"))
            except OSError as error:
                raise Failure(f"open {path}: {(error.strerror or '').lower()}") from None
        else:
            if os.isatty(0):
                raise Failure("requested load from stdin, but stdin is empty")
            source = sys.stdin.buffer
        stream = call.engine.stream(
            "POST",
            "/images/load",
            pieces(source),
            {"Content-Type": "application/x-tar"},
            quiet=quiet,
            platform=platform_value(call.text("platform")),
        )
        with stream:
            if stream.header("Content-Type").startswith("application/json"):
                show_progress(stream.objects())
            else:
                for data in stream.chunks():
                    write(1, data)


@docker(
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    "Import the contents from a tarball to create a filesystem image",
    many("-c, --change", "list", "A Dockerfile instruction for the image; may be repeated"),
    option("-m, --message", "string", "What is said about it in its history"),
    option("--platform", "string", "The platform that it is for"),
    name="import",
    least=1,
    most=2,
    aliases=("image import", "import"),
    examples=(
        "layerlab import rootfs.tar base:1",
        "tar -C tree -c . | layerlab import -c 'CMD [\"sh\"]' - base:1",
    ),
)
def import_(call: Call) -> None:
    """Import a filesystem."""
    source, name = call.arguments[0], call.arguments[1] if len(call.arguments) > 1 else ""
    if name:
        reference(name)
    with contextlib.ExitStack() as opened:
        body = None
        shown = source
        if source == "-":
            body = pieces(sys.stdin.buffer)
        elif not source.startswith(("http://", "https://")):
            shown = "-"
            try:
                body = pieces(opened.enter_context(open(source, "rb")))
            except OSError as error:
                raise Failure(f"open {source}: {(error.strerror or '').lower()}") from None
        with call.engine.stream(
            "POST",
            "/images/create",
            body,
            {"Content-Type": "text/plain"} if body is not None else {},
            fromSrc=shown,
            repo=name or None,
            message=call.text("message") or None,
            changes=call.many("change"),
            platform=call.text("platform").lower() or None,
        ) as stream:
            show_progress(stream.objects())
