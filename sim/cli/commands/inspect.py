"""`layerlab inspect` and its kin: everything that the engine knows about something.

Decided here and only here: in which order the kinds of things are tried, and that the engine's JSON is shown as it
came, only laid out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable

from sim.cli.client import DaemonError, Engine
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, formats, option, switch
from sim.cli.show.rows import template_of

__all__ = ["container", "image", "indented", "inspect", "network", "volume"]

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def indented(data: bytes, depth: int = 0) -> str:
    """Return JSON laid out with four spaces, its texts and numbers as they were written.

    >>> print(indented(b'{"a":[1,2.50],"b":{},"c":"\\\\u003c"}'))
    {
        "a": [
            1,
            2.50
        ],
        "b": {},
        "c": "\\u003c"
    }
    """
    out: list[bytes] = []
    before = b""
    for token in _TOKEN.findall(data):
        if before in (b"{", b"[") and token not in (b"}", b"]"):
            depth += 1
            out.append(b"\n" + b"    " * depth)
        elif before == b",":
            out.append(b"\n" + b"    " * depth)
        if token in (b"}", b"]") and before not in (b"{", b"["):
            depth -= 1
            out.append(b"\n" + b"    " * depth)
        out.append(b": " if token == b":" else token)
        before = token
    return b"".join(out).decode("utf-8", "replace")


def show(names: Iterable[str], form: str, ask: Callable[[str], bytes]) -> None:
    """Print what is known about each name; go on behind one that is not there.

    Parameters
    ----------
    form
        The value of `--format`.
    ask
        Returns the JSON for a name.

    Raises
    ------
    Failure
        One was not there, or the template does not fit; the rest was printed before.
    """
    from sim.cli.template import RunError, structured

    joined = form == "json"
    form = "{{json .}}" if joined else form
    template = template_of(form, status=64) if form else None
    found: list[str] = []
    problems: list[str] = []
    for name in names:
        try:
            data = ask(name)
            if template is None:
                found.append("    " + indented(data, 1))
                continue
            import json

            found.append(template.render(structured(json.loads(data))))
        except RunError as error:
            problems.append(f"template parsing error: {error}")
        except Failure as error:
            problems.append(error.text)
    if joined:
        text = f"[{','.join(found)}]\n"
    elif template is None:
        text = "[\n" + ",\n".join(found) + "\n]\n" if found else "[]\n"
    else:
        text = "".join(f"{one}\n" for one in found) or "\n"
    sys.stdout.write(text)
    if problems:
        raise Failure("\n".join(problems))


def _escaped(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="/:@")


_PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}

_KINDS = ("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume")


def _asker(engine: Engine, kind: str, *, size: bool = False) -> Callable[[str], bytes]:
    if kind not in _PATHS:
        path = {"node": "/nodes/{}", "plugin": "/plugins/{}/json"}.get(kind, f"/{kind}s/{{}}")
    else:
        path = _PATHS[kind]
    query = {"size": True} if size and kind == "container" else {}
    return lambda name: engine.raw(path.format(_escaped(name)), **query)


@docker(
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Return low-level information on Docker objects",
    formats("-f, --format", table=False),
    switch("-s, --size", "Also sizes, of containers"),
    option("--type", "string", "Only things of this kind: container, image, network, volume ..."),
    least=1,
    most=None,
    examples=(
        "layerlab inspect web",
        "layerlab inspect -f '{{.State.Pid}}' web",
        "layerlab inspect -f '{{range $port, $to := .NetworkSettings.Ports}}{{$port}} {{end}}' web",
    ),
    completes="container image volume network",
)
def inspect(call: Call) -> None:
    """Inspect anything."""
    kind = call.text("type")
    if kind and kind not in _KINDS:
        among = ", ".join(f'"{one}"' for one in _KINDS)
        raise Failure(f'unknown type: "{kind}": must be one of {among}')
    engine = call.engine
    if kind:
        show(call.arguments, call.text("format"), _asker(engine, kind, size=call.on("size")))
        return

    def ask(name: str) -> bytes:
        for each in _PATHS:
            try:
                return _asker(engine, each, size=call.on("size"))(name)
            except DaemonError as error:
                if error.code not in (404, 400) or (error.code == 400 and each == "container"):
                    raise
        raise Failure(f"Error: No such object: {name}")

    show(call.arguments, call.text("format"), ask)


def _of(kind: str) -> Callable[[Call], None]:
    def run(call: Call) -> None:
        size = kind == "container" and call.on("size")
        show(call.arguments, call.text("format"), _asker(call.engine, kind, size=size))

    return run


def _usage(kind: str) -> str:
    word = kind.upper()
    return f"[OPTIONS] {word} [{word}...]"


container = docker(
    _usage("container"),
    "Display detailed information on one or more containers",
    formats("-f, --format", table=False),
    switch("-s, --size", "Also sizes"),
    name="inspect",
    least=1,
    most=None,
    examples=("layerlab container inspect web", "layerlab container inspect -f '{{json .Mounts}}' web"),
    completes="container",
)(_of("container"))

image = docker(
    _usage("image"),
    "Display detailed information on one or more images",
    formats("-f, --format", table=False),
    option("--platform", "string", "The platform of which image, of several under one name", hidden=True),
    name="inspect",
    least=1,
    most=None,
    examples=("layerlab image inspect redis:7", "layerlab image inspect -f '{{.RootFS.Layers}}' redis:7"),
    completes="image",
)(_of("image"))

network = docker(
    _usage("network"),
    "Display detailed information on one or more networks",
    formats("-f, --format", table=False),
    switch("-v, --verbose", "Also what is of use for finding faults"),
    name="inspect",
    least=1,
    most=None,
    examples=("layerlab network inspect bridge",),
    completes="network",
)(_of("network"))

volume = docker(
    _usage("volume"),
    "Display detailed information on one or more volumes",
    formats("-f, --format", table=False),
    name="inspect",
    least=1,
    most=None,
    examples=("layerlab volume inspect -f '{{.Mountpoint}}' data",),
    completes="volume",
)(_of("volume"))
