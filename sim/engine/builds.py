"""Builds: the classic builder with this engine's networks, registries and driver.

Decided here and only here: on which network a RUN is, whose credentials fetch base images, which builds are under way,
and which events there are. What a Dockerfile means is decided in `sim.build`. Any thread may call.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from sim.build.builder import build, collect
from sim.build.errors import BuildError
from sim.build.local import LocalRunner
from sim.build.networks import Network
from sim.build.parser import end_parser
from sim.build.runner import LeftContainer
from sim.build.values import BuildOptions, BuildResult, Output
from sim.engine.errors import EngineError
from sim.images import Image, ImagesError, Progress, Reference

if TYPE_CHECKING:
    from sim.engine.engine import Engine
    from sim.images.registry import Credentials

__all__ = ["Builds"]

_log = logging.getLogger("layerlab.builds")


class Builds:
    """The builds of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._under_way: dict[str, threading.Event] = {}

    def run(
        self,
        context: Iterable[bytes] | None,
        options: BuildOptions,
        output: Output,
        *,
        cancelled: threading.Event,
        name: str = "",
    ) -> BuildResult:
        """Build an image; see `sim.build.build`.

        Parameters
        ----------
        context
            A tar; None where the options name a remote one.
        name
            By which it may be cancelled.

        Raises
        ------
        BuildError
            It failed; the text is Docker's.
        """
        with self._lock:
            if name:
                self._under_way[name] = cancelled
        try:
            runner = _Runner(self._engine)
            result = build(self._engine.store, context, options, runner=runner, output=output, cancelled=cancelled)
        finally:
            with self._lock:
                self._under_way.pop(name, None)
        for tag in result.tags:
            self._engine.images.tell("tag", result.image, Reference.parse(tag).familiar)
        return result

    def cancel(self, name: str) -> None:
        """End a build that is under way; one that is not is no error."""
        with self._lock:
            found = self._under_way.get(name)
        if found is not None:
            found.set()

    def collect(self) -> None:
        """Remove what builds left whose daemon was killed."""
        if removed := collect(self._engine.store):
            _log.info("removed what %d builds left that did not come to their end", removed)

    def close(self) -> None:
        """End every build, and the process that parses Dockerfiles."""
        with self._lock:
            builds = list(self._under_way.values())
        for each in builds:
            each.set()
        end_parser()


class _Runner(LocalRunner):
    """Runs what a build needs with what the engine has."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(
            engine.store,
            driver=engine.settings.storage_driver or "overlayfs",
            networks=self._network,
            cgroup="layerlab" if os.geteuid() == 0 else "",
        )
        self._engine = engine

    def leave(self, container: LeftContainer) -> None:
        """Let an intermediate container be one of the engine's, which `ps -a` lists and `prune` removes."""
        try:
            self._engine.containers.making.take_over(container)
        except (EngineError, ImagesError, OSError) as error:
            _log.warning("the intermediate container %s is not kept: %s", container.identity[:12], error)

    def pull(self, reference: Reference, options: BuildOptions, tell: Callable[[Progress], object]) -> Image:
        """Fetch an image, as who the client is at its registry."""
        platform = options.platform
        try:
            pulled = self._engine.transfers.pull(
                reference.repository,
                reference.digest or reference.tag,
                tell,
                platform=platform,
                credentials=_credentials(options, reference.domain),
            )
        except EngineError as error:
            raise BuildError(str(error)) from None
        return pulled[0].image

    @contextlib.contextmanager
    def _network(self, name: str, identity: str) -> Iterator[Network]:
        """Put the process of a RUN on one of the engine's networks."""
        wanted = "bridge" if name in ("", "default") else name
        if wanted == "host":
            yield Network("host")
            return
        if wanted == "none" or (wanted == "bridge" and os.geteuid() != 0):
            yield Network()
            return
        if wanted.startswith("container:"):
            raise BuildError("the network of another container cannot be used by a build here")
        try:
            attached = self._engine.networks.attach(identity, wanted, name=identity[:12])
        except EngineError as error:
            raise BuildError(str(error)) from None
        try:
            interfaces = (attached.interface,) if attached.interface is not None else ()
            dns = (attached.dns,) if attached.dns else ()
            hosts = tuple((each.address.partition("/")[0], identity[:12]) for each in interfaces)
            yield Network("new", interfaces, hosts, dns)
        finally:
            self._engine.networks.detach(identity)


def _credentials(options: BuildOptions, domain: str) -> Credentials | None:
    from sim.images.registry import Credentials

    keys: tuple[str, ...] = (domain, f"https://{domain}")
    if domain == "docker.io":
        keys += ("https://index.docker.io/v1/", "index.docker.io")
    for key in keys:
        found = options.credentials.get(key)
        if isinstance(found, Credentials):
            return found
    return None
