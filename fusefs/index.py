"""The index of hard links: where the copy of a lower file with several names is kept, so that they stay one file.

Decided here and only here: what lies in the work directory's `index` and how link counts are remembered. The format is
the kernel overlayfs's (filesystems/overlayfs, "index" and "inode index"): an entry is one more hard link to the copy in
the upper, named by the lower file's origin in hexadecimal; its attribute `overlay.nlink`, `U+n`, says how many more
names the merged view has than the copy has links.

Threads: called under the tree's lock.
"""

from __future__ import annotations

import errno
import os

from fusefs import marks, syscalls
from fusefs.layer import Directory
from fusefs.marks import Format

__all__ = ["LinkIndex"]


class LinkIndex:
    """The index of one upper directory.

    Parameters
    ----------
    directory
        The directory `index` inside the work directory.
    own
        Which extended attributes are the union's own.
    """

    def __init__(self, directory: Directory, own: Format) -> None:
        self.directory = directory
        self._count_name = own.prefix + b"nlink"

    @staticmethod
    def name(origin: bytes) -> bytes:
        """Return the entry's name for an origin.

        >>> LinkIndex.name(bytes([0, 0xFB]))
        b'00fb'
        """
        return origin.hex().encode()

    def path(self, name: bytes) -> bytes:
        """Return a path to an entry."""
        return marks.at(self.directory.fd, name)

    def find(self, name: bytes) -> os.stat_result | None:
        """Return the status of an entry, None where there is none."""
        if len(name) > 255:
            return None
        try:
            status = os.stat(name, dir_fd=self.directory.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return None if marks.is_whiteout(status) else status

    def add(self, place: int, staged: bytes, name: bytes, count: int) -> None:
        """Move a finished copy into the index; `count` is how many names the lower file has."""
        self._set(marks.at(place, staged), count - 1)
        syscalls.rename(place, staged, self.directory.fd, name, syscalls.RENAME_NOREPLACE)

    def count(self, name: bytes, status: os.stat_result) -> int:
        """Return how many names an entry's file has in the merged view."""
        value = marks.get_attribute(self.path(name), self._count_name)
        try:
            return status.st_nlink + int(value[1:]) if value and value[:1] == b"U" else max(1, status.st_nlink - 1)
        except ValueError:
            return max(1, status.st_nlink - 1)

    def set_count(self, name: bytes, count: int) -> None:
        """Remember how many names an entry's file has in the merged view."""
        status = self.find(name)
        if status is not None:
            self._set(self.path(name), count - status.st_nlink)

    def _set(self, path: bytes, more: int) -> None:
        marks.set_attribute(path, self._count_name, b"U%+d" % more)

    def link(self, name: bytes, directory: int, new_name: bytes) -> None:
        """Give an entry's file a name in the upper."""
        os.link(self.path(name), new_name, dst_dir_fd=directory, follow_symlinks=False)

    def remove(self, name: bytes) -> None:
        """Take an entry away, once the merged view has no name for it any more."""
        try:
            os.unlink(name, dir_fd=self.directory.fd)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
