"""Mounting a container's view while the rest of its start goes on.

Decided here and only here: that it is done by a thread of its own, and what becomes of it where the start fails. A
`Mounting` belongs to the thread that starts the container.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.engine.model import Record
    from sim.engine.rootfs import Rootfs

__all__ = ["Mounting"]


class Mounting:
    """The mounting of a container's view, done by a thread of its own."""

    def __init__(self, rootfs: Rootfs, record: Record) -> None:
        self._rootfs, self._record = rootfs, record
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mount", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._rootfs.mount(self._record)
        except BaseException as error:
            self._error = error

    def wait(self) -> None:
        """Wait until it is mounted.

        Raises
        ------
        FusefsError
            It cannot be.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error

    def undo(self) -> None:
        """Unmount it, where that is needed."""
        self._thread.join()
        if self._error is None:
            self._rootfs.unmount(self._record.id)
