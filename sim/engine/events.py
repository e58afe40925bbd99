"""Events: what happened, told to whoever listens, and the latest of them to whoever asks later.

Decided here and only here: the shape of an event, how many past ones are kept (256, as Docker keeps), and which filters
there are. Any thread may tell and listen; a listener that does not keep up loses the oldest, and never holds anyone up.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sim.engine.filters import Filters

__all__ = ["Event", "Events", "Subscription"]

_KEPT = 256
_WAITING = 4096

#: The keys by which events may be filtered.
FILTERS = ("config", "container", "daemon", "event", "image", "label", "network", "node", "scope", "type", "volume")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes
    ----------
    type
        "container", "image", "volume", "network", "builder" or "daemon".
    action
        "create", "start", "exec_create: /bin/sh", ...
    actor
        ID of the thing; an image's name.
    attributes
        Its name, image, labels, exit status and the like.
    time
        Nanoseconds since the epoch.
    """

    type: str
    action: str
    actor: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    time: int = 0

    def matches(self, filters: Filters) -> bool:
        """Tell whether a listener that filters so wants it."""
        if "type" in filters and self.type not in filters["type"]:
            return False
        if "event" in filters and not any(
            self.action == wanted or self.action.startswith(f"{wanted}:") for wanted in filters["event"]
        ):
            return False
        if "scope" in filters and "local" not in filters["scope"]:
            return False
        if not filters.matches_labels(self.attributes):
            return False
        names = {self.actor, self.attributes.get("name", "")}
        for kind in ("container", "volume", "network", "daemon"):
            if kind in filters and not (self.type == kind and self._is_named(filters[kind], names)):
                return False
        if "image" in filters:
            images = {self.actor, self.attributes.get("name", "")} if self.type == "image" else set()
            images.add(self.attributes.get("image", ""))
            if not self._is_named(filters["image"], images | {name.partition(":")[0] for name in images}):
                return False
        return not any(kind in filters for kind in ("config", "node"))

    def _is_named(self, wanted: tuple[str, ...], names: set[str]) -> bool:
        return any(name in names or (len(name) >= 2 and self.actor.startswith(name)) for name in wanted)


class Subscription:
    """What a listener holds: events come until it is closed."""

    def __init__(self, events: Events, filters: Filters) -> None:
        self._events, self._filters = events, filters
        self._waiting: collections.deque[Event] = collections.deque(maxlen=_WAITING)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, event: Event) -> None:
        """Hand it an event, if it wants it."""
        if event.matches(self._filters):
            with self._changed:
                self._waiting.append(event)
                self._changed.notify()

    def get(self, timeout: float | None = None) -> Event | None:
        """Return the next event; None when it was closed, or none came within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, timeout)
            return self._waiting.popleft() if self._waiting else None

    @property
    def closed(self) -> bool:
        """Whether no more events come."""
        return self._closed

    def close(self) -> None:
        """Stop listening; a `get` that waits returns. May be called from anywhere, more than once."""
        self._events.forget(self)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Event]:
        """Yield events until it is closed."""
        while (event := self.get()) is not None:
            yield event


class Events:
    """The bus of one engine.

    Examples
    --------
    >>> events = Events()
    >>> events.tell("container", "start", "4f1c", {"name": "web"})
    >>> [event.action for event in events.past(Filters())]
    ['start']
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._past: collections.deque[Event] = collections.deque(maxlen=_KEPT)
        self._listeners: set[Subscription] = set()
        self._last = 0

    def tell(self, kind: str, action: str, actor: str, attributes: Mapping[str, str] | None = None) -> None:
        """Say that something happened now."""
        with self._lock:
            # Strictly growing, so that "since" the last one seen neither repeats nor leaves out.
            self._last = max(time.time_ns(), self._last + 1)
            event = Event(kind, action, actor, dict(attributes or {}), self._last)
            self._past.append(event)
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener.put(event)

    def past(self, filters: Filters, since: int = 0, until: int | None = None) -> list[Event]:
        """Return the kept events of a span of time (nanoseconds since the epoch), the oldest first."""
        with self._lock:
            kept = list(self._past)
        return [
            event for event in kept if event.time >= since and (until is None or event.time <= until)
            and event.matches(filters)
        ]  # fmt: skip

    def listen(self, filters: Filters, since: int | None = None) -> Subscription:
        """Listen from now on; with `since`, to the kept events of that time on as well, none twice, none left out."""
        listener = Subscription(self, filters)
        with self._lock:
            if since is not None:
                for event in self._past:
                    if event.time >= since:
                        listener.put(event)
            self._listeners.add(listener)
        return listener

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def forget(self, listener: Subscription) -> None:
        """Stop telling a listener."""
        with self._lock:
            self._listeners.discard(listener)

    def close(self) -> None:
        """Let go of every listener."""
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener.close()
