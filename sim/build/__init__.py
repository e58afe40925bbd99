"""Dockerfile to image: what `POST /build?version=1` does in moby, the classic builder, one step one image.

    runner = LocalRunner(store, driver="overlayfs")
    result = build(store, Path("context"), BuildOptions(tags=("lesson:1",)), runner=runner, output=print)
    result.image, result.cached

`context` is a directory or a tar, as a stream or in chunks. `output` takes `BuildMessage`s: text as the classic builder
prints it, progress of pulls, the ID of each stage's image. A build that fails raises a `BuildError` with Docker's text;
its `code` is what the command line ends with, its `status` the HTTP status for a request that was not answered yet
(when something was told before, the error was told as well). `cancelled`, a function or an event, ends it: the process
of a RUN is killed, and nothing is left. `collect(store)` removes what killed builds left; an engine calls it when it
starts.

A `Runner` runs the process of a RUN and fetches images; `LocalRunner` does it by itself and takes an engine's settings:
driver, networks, registries, control group. Importing this package is cheap: its modules are loaded when their names
are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.build.builder import build, collect
    from sim.build.errors import BuildError, CancelledError, CommandFailedError, DockerfileError
    from sim.build.local import LocalRunner
    from sim.build.networks import BridgeNetworks, Network
    from sim.build.parser import end_parser
    from sim.build.runner import Runner, RunRequest
    from sim.build.values import BuildMessage, BuildOptions, BuildResult, MessageKind

__all__ = [
    "BridgeNetworks",
    "BuildError",
    "BuildMessage",
    "BuildOptions",
    "BuildResult",
    "CancelledError",
    "CommandFailedError",
    "DockerfileError",
    "LocalRunner",
    "MessageKind",
    "Network",
    "RunRequest",
    "Runner",
    "build",
    "collect",
    "end_parser",
]

_HOMES = {
    "builder": ("build", "collect"),
    "errors": ("BuildError", "CancelledError", "CommandFailedError", "DockerfileError"),
    "local": ("LocalRunner",),
    "networks": ("BridgeNetworks", "Network"),
    "parser": ("end_parser",),
    "runner": ("RunRequest", "Runner"),
    "values": ("BuildMessage", "BuildOptions", "BuildResult", "MessageKind"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
