"""Mounts for the tests of behaviours: each test gets one on every driver, and on the kernel's overlayfs as reference.

A test that passes on the kernel's overlayfs says something true about union filesystems; then it must pass on ours.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fusefs import Journal, Level, Mount, Options, Stack, mount
from fusefs.mount import DRIVERS
from fusefs.operation import Operation
from tests.integration.devfuseplace import Place, places


@dataclass
class Union:
    """A stack that a test may mount: `lower` and `upper` can be filled before."""

    driver: str
    place: Path
    options: Options = field(default_factory=Options)
    record: bool = False
    lowers: int = 1
    mounted: Mount | None = None

    def __post_init__(self) -> None:
        for path in (*self.layers, self.upper, self.work, self.merged):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def layers(self) -> list[Path]:
        """The read-only layers, the topmost first."""
        return [self.place / f"lower{number}" for number in range(1, self.lowers + 1)]

    @property
    def lower(self) -> Path:
        """The topmost read-only layer."""
        return self.layers[0]

    @property
    def upper(self) -> Path:
        """The RW layer."""
        return self.place / "upper"

    @property
    def work(self) -> Path:
        """The work directory."""
        return self.place / "work"

    @property
    def merged(self) -> Path:
        """The mountpoint."""
        return self.place / "merged"

    @property
    def journal(self) -> Path:
        """The file of the journal."""
        return self.place / "journal.db"

    def mount(self, *, read_only: bool = False) -> Path:
        """Mount the stack; return the mountpoint."""
        stack = Stack(tuple(self.layers), None if read_only else self.upper, None if read_only else self.work)
        recorded = self.journal if self.record and self.driver != "overlayfs" else None
        self.mounted = mount(
            stack, self.merged, driver=self.driver, options=self.options, journal=recorded, level=Level.ALL
        )
        return self.merged

    def unmount(self) -> None:
        """Unmount the stack, if it is mounted."""
        mounted, self.mounted = self.mounted, None
        if mounted is not None:
            mounted.unmount()

    def operations(self) -> list[Operation]:
        """Return what was recorded, once it is unmounted."""
        with Journal(self.journal) as journal:
            return list(journal.operations())


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Return each driver's name; a test marked `cannot` must fail on that driver."""
    name = str(request.param)
    request.getfixturevalue("overlayfs" if name == "overlayfs" else "fuse")
    for mark in request.node.iter_markers("cannot"):
        if mark.args[0] == name:
            request.node.add_marker(pytest.mark.xfail(reason=mark.args[1], strict=True))
    return name


@pytest.fixture
def new_union(driver: str) -> Iterator[Callable[..., Union]]:
    """Return a function that makes a stack, where every user can reach it; in the end what is mounted is unmounted."""
    made: list[Union] = []

    def make(**settings: object) -> Union:
        place = Path(tempfile.mkdtemp(prefix="stack"))
        place.chmod(0o755)
        made.append(Union(driver, place, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.unmount()
        shutil.rmtree(one.place)


@pytest.fixture
def union(new_union: Callable[..., Union]) -> Union:
    """Return a stack of one read-only layer and an upper, not mounted yet."""
    return new_union()


@pytest.fixture
def place() -> Iterator[Place]:
    yield from places()
