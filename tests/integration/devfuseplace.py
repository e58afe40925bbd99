"""A place where a small stack is mounted by the devfuse driver: `Place`; the fixture `place` is in conftest.py."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fusefs import Level, Mount, Options, Stack, mount
from fusefs.drivers.devfuse import Tuning

OLD, NEW = b"o" * 10_000, b"N" * 4096


@dataclass
class Place:
    """A stack that is mounted by the devfuse driver."""

    at: Path
    mounted: Mount | None = None
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        self.at.chmod(0o755)
        for name in ("lower", "upper", "work", "merged"):
            (self.at / name).mkdir()
        self.trace = self.at / "trace"
        self.lower, self.upper, self.merged = self.at / "lower", self.at / "upper", self.at / "merged"

    def mount(self, *, read_only: bool = False, level: Level = Level.NONE, **tuning: object) -> Path:
        stack = Stack((self.lower,), None if read_only else self.upper, None if read_only else self.at / "work")
        self.mounted = mount(
            stack, self.merged, driver="devfuse", options=self.options, log=self.at / "log", level=level,
            journal=None if level is Level.NONE else self.at / "journal",
            tuning=Tuning(trace=str(self.trace), **tuning),  # type: ignore[arg-type]
        )  # fmt: skip
        return self.merged

    def unmount(self) -> None:
        mounted, self.mounted = self.mounted, None
        if mounted is not None:
            mounted.unmount()

    def asked(self, *words: str) -> list[str]:
        """Return the requests and answers that contain all of these words."""
        return [line for line in self.trace.read_text().splitlines() if all(word in line for word in words)]


def places() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as directory:
        one = Place(Path(directory))
        (one.lower / "file").write_bytes(OLD)
        (one.lower / "dir").mkdir()
        (one.lower / "dir" / "inner").write_bytes(b"inner")
        yield one
        one.unmount()
        assert not (one.at / "log").exists() or not (one.at / "log").read_text()
