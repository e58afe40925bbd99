"""The routes of the builder.

A protocol adapter only: how a request's fields become `BuildOptions`, and messages lines of JSON. What a build does is
decided in `sim.build`.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sim.api.exchange import Answer, ClientGoneError, Request, empty, json_answer
from sim.api.progress import error_line, progress_line
from sim.api.transfers import lines_answer
from sim.engine.errors import BadParameterError, CancelledError, NotImplementedHereError

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.build.values import BuildMessage, BuildOptions
    from sim.engine import Engine

__all__ = ["options_of", "register"]

_T = TypeVar("_T")
_PERIOD = 100_000


class _Ulimit(msgspec.Struct, rename="pascal"):
    """A resource limit as clients write it."""

    name: str
    soft: int
    hard: int


def _decoded(request: Request, name: str, kind: type[_T]) -> _T | None:
    """Return a field of the query that holds JSON; None where it is not given."""
    text = request.query.get(name, "")
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadParameterError(f"error reading {name}: {error}") from None


def _credentials(request: Request) -> dict[str, object]:
    from sim.images.registry import Credentials

    header = request.headers.get("x-registry-config", "")
    if not header:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
        return {
            str(host): Credentials(
                str(entry.get("username", "")),
                str(entry.get("password", "")),
                str(entry.get("identitytoken", "")),
                str(entry.get("registrytoken", "")),
            )
            for host, entry in found.items()
        }
    except (ValueError, AttributeError, binascii.Error, RecursionError):
        return {}


def options_of(request: Request) -> BuildOptions:
    """Return what a request asks the builder for.

    Raises
    ------
    BadParameterError
        A field cannot be read.
    NotImplementedHereError
        It asks for another builder.
    """
    from sim.build.values import BuildOptions
    from sim.runtime.spec import Limits, Rlimit

    query = request.query
    if query.get("version", "1") not in ("", "1"):
        raise NotImplementedHereError("this engine has the classic builder only: set DOCKER_BUILDKIT=0")
    if query.get("isolation", "default") not in ("", "default"):
        raise BadParameterError(f'invalid isolation ({query["isolation"]}): only "default" is known here')
    quota, period = request.number("cpuquota") or 0, request.number("cpuperiod") or _PERIOD
    security: list[str] = _decoded(request, "securityopt", list[str]) or []
    for word in security:
        if not word.startswith(("seccomp=", "no-new-privileges", "label=", "apparmor=")):
            raise BadParameterError(f"The daemon on this platform does not support setting security option {word}")
    ulimits = _decoded(request, "ulimits", list[_Ulimit]) or []
    limits = Limits(
        memory=request.number("memory") or 0,
        memory_swap=request.number("memswap") or 0,
        cpu_shares=request.number("cpushares") or 0,
        cpuset_cpus=query.get("cpusetcpus", ""),
        nano_cpus=max(0, quota) * 10**9 // period if period > 0 else 0,
    )
    return BuildOptions(
        dockerfile=query.get("dockerfile") or "Dockerfile",
        tags=tuple(tag for tag in request.queries.get("t", ()) if tag),
        buildargs=_decoded(request, "buildargs", dict[str, str | None]) or {},
        labels=_decoded(request, "labels", dict[str, str]) or {},
        nocache=request.flag("nocache"),
        cachefrom=tuple(_decoded(request, "cachefrom", list[str]) or ()),
        rm=request.flag("rm", default=True),
        forcerm=request.flag("forcerm"),
        quiet=request.flag("q"),
        squash=request.flag("squash"),
        target=query.get("target", ""),
        pull=request.flag("pull"),
        platform=query.get("platform", ""),
        limits=limits,
        network=query.get("networkmode") or "default",
        extra_hosts=tuple(host for each in request.queries.get("extrahosts", ()) for host in each.split(",") if host),
        shm_size=request.number("shmsize") or 0,
        ulimits=tuple(Rlimit(each.name, each.soft, each.hard) for each in ulimits),
        cgroup_parent=query.get("cgroupparent", ""),
        security=tuple(security),
        remote=query.get("remote", ""),
        credentials=_credentials(request),
    )


def _line(message: BuildMessage) -> Mapping[str, Any] | None:
    if message.progress is not None:
        return progress_line(message.progress)
    if message.kind == "aux":
        return {"aux": {"ID": message.text}}
    if message.kind == "error":
        return error_line(message.text, message.code)
    return {str(message.kind): message.text}


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""

    @router.route("POST", "/build")
    def build(request: Request) -> Answer:
        from sim.build.errors import BuildError
        from sim.build.errors import CancelledError as BuildCancelledError

        options = options_of(request)

        def work(line: Callable[[Mapping[str, Any]], None], cancelled: threading.Event) -> None:
            told = False

            def output(message: BuildMessage) -> None:
                nonlocal told
                found = _line(message)
                if found is not None:
                    told = True
                    line(found)

            context = None if options.remote else request.chunks
            try:
                engine.builds.run(context, options, output, cancelled=cancelled, name=request.query.get("buildid", ""))
            except BuildCancelledError:
                raise CancelledError("Build cancelled") from None
            except BuildError:
                if cancelled.is_set():
                    raise ClientGoneError("the client went away") from None
                if not told:
                    raise
                # The builder has told why as its last message.

        return lines_answer(request, work)

    @router.route("POST", "/build/prune")
    def prune(request: Request) -> Answer:
        # What the classic builder remembers are images: `image prune` removes them.
        return json_answer({"CachesDeleted": None, "SpaceReclaimed": 0})

    @router.route("POST", "/build/cancel")
    def cancel(request: Request) -> Answer:
        if not request.query.get("id"):
            raise BadParameterError("build ID not provided")
        engine.builds.cancel(request.query["id"])
        return empty()
