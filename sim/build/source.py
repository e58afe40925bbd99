"""What COPY and ADD take from: a build's context, or the tree of an image.

Decided here and only here: how a path of a source is found (links followed within the source), which of a directory
context's files are left out, and the hash of each file. A `Source` belongs to one build.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sim.build import tarsum
from sim.build.errors import BuildError
from sim.build.ignore import IgnoreList, has_wildcards, wildcard
from sim.build.paths import join, resolve, status_of, walk
from sim.build.tree import Status, Tree, read

__all__ = ["Found", "Source"]


@dataclass(frozen=True, slots=True)
class Found:
    """One thing to be copied.

    Attributes
    ----------
    source
        Where it is.
    path
        There, from the root; as it was asked for, which its name is taken from.
    digest
        `file:…` or `dir:…`.
    extract
        Whether ADD may unpack it.
    """

    source: Source
    path: str
    digest: str
    extract: bool = True


class Source:
    """A tree to copy from.

    Parameters
    ----------
    tree
        The tree.
    sums
        Hashes that are known already, by path without a leading slash: those of a tar that was unpacked.
    ignored
        What is left out of it.
    owners
        Whether the owners of files count in their hashes.
    missing
        How the error about a file that is not there begins.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        sums: Mapping[str, str] | None = None,
        ignored: IgnoreList | None = None,
        owners: bool = False,
        missing: str = "",
    ) -> None:
        self.tree = tree
        self._known = sums
        self._sums: dict[str, str] = dict(sums or {})
        self._ignored = ignored
        self._owners = owners
        self._missing = missing
        self._gone: set[str] = set()
        self._directories: dict[str, str] = {}

    def close(self) -> None:
        """Let go of the tree."""
        self.tree.close()

    def leave_out(self, path: str) -> None:
        """Leave one more file out, by its path from the root."""
        self._gone.add(join(path))

    def _excluded(self, path: str) -> bool:
        if path in self._gone:
            return True
        return self._ignored is not None and path != "/" and self._ignored.excludes(path[1:])

    def status(self, path: str) -> Status | None:
        """Return what is at a path that is free of links; None where nothing is, or it is left out."""
        status = status_of(self.tree, path)
        if status is None or not self._excluded(path):
            return status
        if stat.S_ISDIR(status.st_mode) and any(True for _ in self.walk(path)):
            return status  # something below it stays
        return None

    def walk(self, top: str) -> Iterator[tuple[str, Status]]:
        """Yield everything below a directory that is not left out."""
        if self._ignored is None:
            for path, status in walk(self.tree, top):
                if path not in self._gone:
                    yield path, status
            return
        held: list[tuple[str, Status]] = []
        for path, status in self._walk_all(top):
            while held and not path.startswith(held[-1][0] + "/"):
                held.pop()
            if self._excluded(path):
                if stat.S_ISDIR(status.st_mode):
                    held.append((path, status))
                continue
            yield from held  # the directories above what stays, which by themselves would not
            held.clear()
            yield path, status

    def _walk_all(self, top: str) -> Iterator[tuple[str, Status]]:
        """Walk without going into directories of which nothing can stay."""
        assert self._ignored is not None
        pending = [top]
        while pending:
            here = pending.pop()
            status = self.tree.lstat(os.fsencode(here))
            if here != top:
                yield here, status
            if stat.S_ISDIR(status.st_mode) and (here == "/" or self._ignored.enters(here[1:])):
                base = here.rstrip("/")
                pending.extend(f"{base}/{name}" for name in reversed(self.tree.listdir(os.fsencode(here))))

    def digest(self, path: str) -> str:
        """Return the hash of one file or link; of a link, that of what it leads to."""
        found = resolve(self.tree, path)
        key = found[1:]
        known = self._sums.get(key)
        if known is not None:
            return known
        status = status_of(self.tree, found)
        if status is None or self._known is not None:
            return path[1:]  # as moby: what a tar does not name counts by its path alone
        known = self._sums[key] = self._measure(found, status)
        return known

    def _measure(self, path: str, status: Status) -> str:
        raw = os.fsencode(path)
        target = self.tree.readlink(raw) if stat.S_ISLNK(status.st_mode) else ""
        owner = (status.st_uid, status.st_gid) if self._owners else (0, 0)
        digest = tarsum.started(tarsum.header_of_status(path[1:], status, target, owner=owner))
        if stat.S_ISREG(status.st_mode) and status.st_size:
            for part in read(self.tree, raw):
                digest.update(part)
        return digest.hexdigest()

    def find(self, written: str, *, wildcards: bool = True) -> list[Found]:
        """Return what a source of COPY or ADD names.

        Raises
        ------
        BuildError
            It is not there, or outside of the source.
        """
        path = written.removeprefix("./") if written != "./" else "."
        if path.startswith("/") and len(path) > 1:
            path = path[1:]
        if wildcards and has_wildcards(path):
            return self._matching(path)
        if self._known is not None or self._ignored is not None or self._missing:
            depth = 0
            for part in path.split("/"):
                depth += -1 if part == ".." else part not in ("", ".")
                if depth < 0:
                    raise BuildError(f"forbidden path outside the build context: {written} ()")
        whole = join(path)
        found = resolve(self.tree, whole)
        status = self.status(found)
        if status is None:
            raise BuildError(f"{self._missing}stat {path}: file does not exist")
        if not stat.S_ISDIR(status.st_mode):
            return [Found(self, whole, "file:" + self.digest(whole))]
        known = self._directories.get(found)
        if known is None:
            # The directory itself counts, but for the root of the source.
            paths = [*([found] if found != "/" else []), *(path for path, _ in self.walk(found))]
            known = tarsum.joined("dir", sorted(self.digest(path) for path in paths))
            self._directories[found] = known
        return [Found(self, whole, known)]

    def _matching(self, pattern: str) -> list[Found]:
        compiled = wildcard(pattern.rstrip("/") if pattern != "/" else pattern)
        found: list[Found] = []
        if compiled is None:
            return found
        for path, _ in self.walk("/"):
            if compiled.fullmatch(path[1:]):
                found += self.find(path[1:], wildcards=False)
        return found
