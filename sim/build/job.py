"""One build at work: its directory, its lease, what it tells, and how a step becomes an image.

Decided here and only here: that a build's content is held by one lease until an image refers to it, the lines about
containers and cache, what a step's image says, and times under SOURCE_DATE_EPOCH. A `Job` belongs to one thread.
"""

from __future__ import annotations

import codecs
import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from sim.build.cache import Cache
from sim.build.errors import CancelledError
from sim.build.places import discard
from sim.build.runner import LeftContainer, Runner
from sim.build.state import State, created_by, stored
from sim.build.values import BuildMessage, BuildOptions, MessageKind, Output
from sim.images import Configuration, History, Image, Layer, Store, architecture
from sim.images.commit import EMPTY_LAYER
from sim.images.create import layers_configuration
from sim.images.digest import short
from sim.images.documents import RootFs, now, rfc3339
from sim.images.lease import Lease

__all__ = ["Job"]


class Job:
    """What the steps of one build share.

    Parameters
    ----------
    place
        A directory of its own.
    epoch
        Seconds since 1970 that nothing is later than; None for the present.
    """

    def __init__(
        self,
        store: Store,
        options: BuildOptions,
        runner: Runner,
        output: Output,
        cancelled: Callable[[], bool],
        lease: Lease,
        place: Path,
        cache: Cache,
        epoch: int | None,
        escape: str = "\\",
    ) -> None:
        self.store = store
        self.options = options
        self.runner = runner
        self.output = output
        self.cancelled = cancelled
        self.lease = lease
        self.place = place
        self.cache = cache
        self.epoch = epoch
        self.escape = escape
        self._containers: dict[str, LeftContainer] = {}
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}

    # -- telling

    def tell(self, text: str) -> None:
        """Tell a text."""
        self.output(BuildMessage(MessageKind.STREAM, text))

    def tell_error(self, text: str) -> None:
        """Tell a text in red, as the classic builder has its warnings and what a process writes to standard error."""
        self.tell(f"\x1b[91m{text}\x1b[0m")

    def tell_output(self, stream: int, data: bytes, *, last: bool = False) -> None:
        """Tell what a process wrote."""
        decoder = self._decoders.setdefault(stream, codecs.getincrementaldecoder("utf-8")("replace"))
        text = decoder.decode(data, last)
        if text:
            (self.tell_error if stream == 2 else self.tell)(text)

    def end_output(self) -> None:
        """Tell what is left of characters that were cut in the middle."""
        for stream in list(self._decoders):
            self.tell_output(stream, b"", last=True)
        self._decoders.clear()

    def check(self) -> None:
        """Raise where nobody wants this build any more."""
        if self.cancelled():
            raise CancelledError("Build cancelled")

    # -- containers

    def container(self, state: State, command: Sequence[str]) -> str:
        """Begin an intermediate container; return its ID."""
        identity = secrets.token_hex(32)
        settings = {**state.settings, "Cmd": list(command), "Entrypoint": None}
        self._containers[identity] = LeftContainer(identity, state.identity, settings)
        self.tell(f" ---> Running in {identity[:12]}\n")
        return identity

    def ended(self, identity: str, code: int, started: int, upper: Path) -> None:
        """Note that the process of an intermediate container ended; it is kept with what that wrote, if it stays."""
        self._containers[identity] = replace(
            self._containers[identity], code=code, started=started, finished=time.time_ns(), upper=upper
        )
        if not self._removes(failed=code != 0):
            self.runner.leave(self._containers.pop(identity))

    def remove_containers(self, *, failed: bool) -> None:
        """Remove the intermediate containers of a step, as the options say."""
        for container in self._containers.values():
            if self._removes(failed=failed):
                self.tell(f"Removing intermediate container {container.identity[:12]}\n")
            elif not self.cancelled():
                self.runner.leave(replace(container, upper=None))
        self._containers.clear()

    def _removes(self, *, failed: bool) -> bool:
        return self.options.forcerm or (self.options.rm and not failed)

    @contextlib.contextmanager
    def directories(self) -> Iterator[tuple[Path, Path, Path]]:
        """Return a place of one step's own, in it a new RW layer and its work directory."""
        place = self.place / secrets.token_hex(8)
        place.mkdir(mode=0o700)
        upper, work = place / "upper", place / "work"
        upper.mkdir()
        upper.chmod(0o755)
        work.mkdir()
        try:
            yield place, upper, work
        finally:
            discard(place)

    def layers(self, image: Image | None) -> tuple[Path, ...]:
        """Return an image's layers, topmost first; an empty directory where there is none."""
        found = self.store.layer_directories(image) if image else ()
        if found:
            return found
        empty = self.place / "empty"
        empty.mkdir(mode=0o755, exist_ok=True)
        return (empty,)

    def moment(self) -> int:
        """Return the time of what is made now, in nanoseconds since the epoch."""
        return time.time_ns() if self.epoch is None else self.epoch * 10**9

    # -- images

    def probe(self, state: State, command: Sequence[str]) -> State | None:
        """Return the state after a step that the cache has; None where it has to be done."""
        found = self.cache.look(state, command)
        if found is None:
            return None
        self.tell(" ---> Using cache\n")
        return replace(state, image=found)

    def keep(self, upper: Path) -> Layer | None:
        """Make a layer of an RW layer; None where nothing changed."""
        self.check()
        modified = None if self.epoch is None else self.epoch * 10**9
        layer = self.store.add_directory(upper, modified=modified, lease=self.lease)
        return None if layer.diff_id == EMPTY_LAYER else layer

    def commit(self, state: State, command: Sequence[str], layer: Layer | None = None) -> State:
        """Make the image of a step."""
        self.check()
        parent = state.image
        settings = stored(state.settings, state.identity)
        created = now() if self.epoch is None else rfc3339(self.epoch)
        if parent is not None:
            configuration = layers_configuration(
                parent.configuration,
                [layer] if layer else [],
                created=created,
                created_by=created_by(command),
                author=state.author,
                settings=settings,
            )
        else:
            step = History(
                created=created, created_by=created_by(command), author=state.author, empty_layer=layer is None
            )
            configuration = Configuration(
                architecture=architecture(),
                os="linux",
                rootfs=RootFs(diff_ids=[layer.diff_id] if layer else []),
                config=settings,
                history=[step],
                created=created,
                author=state.author,
            )
        configuration = msgspec.structs.replace(configuration, author=state.author)
        image = self.store.add_image(configuration, parent=state.identity or None, lease=self.lease)
        self.store.record_step(image.id, state.identity, command)
        return replace(state, image=image)

    def arrow(self, state: State) -> None:
        """Tell the image that a step ended with."""
        self.tell(f" ---> {short(state.identity) if state.identity else ''}\n")
