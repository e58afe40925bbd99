"""Noticing that containers end: one thread waits for all of them, none of which costs a thread of its own.

Decided here and only here: how the daemon learns of an end. It holds a connection to the shim of each running container
that becomes readable then, or when the shim is killed. What follows is done by threads that are started for it, since
some of it takes long. Any thread may call.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
from collections.abc import Callable

__all__ = ["Watching"]

_log = logging.getLogger("layerlab.containers")


class Watching:
    """Calls a function when a connection becomes readable, once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._selector: selectors.BaseSelector | None = None
        self._new: list[tuple[socket.socket, Callable[[], None]]] = []
        self._bell = -1
        self._closed = False

    def watch(self, connection: socket.socket, call: Callable[[], None]) -> None:
        """Call a function in a thread of its own when the connection becomes readable; it is closed then."""
        with self._lock:
            if self._closed:
                connection.close()
                return
            if self._selector is None:
                self._selector = selectors.DefaultSelector()
                self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                self._selector.register(self._bell, selectors.EVENT_READ)
                threading.Thread(target=self._run, args=(self._selector,), name="containers", daemon=True).start()
            self._new.append((connection, call))
            os.eventfd_write(self._bell, 1)

    def _run(self, selector: selectors.BaseSelector) -> None:
        while True:
            for key, _ in selector.select():
                if key.fd == self._bell:
                    if not self._take(selector):
                        return
                    continue
                selector.unregister(key.fileobj)
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()
                threading.Thread(target=_guarded, args=(key.data,), name="end of a container", daemon=True).start()

    def _take(self, selector: selectors.BaseSelector) -> bool:
        """Watch what is new; tell whether to go on."""
        with self._lock:
            os.eventfd_read(self._bell)
            new, self._new = self._new, []
            for connection, call in new:
                selector.register(connection, selectors.EVENT_READ, call)
            if not self._closed:
                return True
            for key in list(selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
            selector.close()
            os.close(self._bell)
            return False

    def close(self) -> None:
        """Watch nothing any more."""
        with self._lock:
            self._closed = True
            if self._selector is not None:
                os.eventfd_write(self._bell, 1)


def _guarded(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:
        _log.exception("what follows the end of a container failed")
