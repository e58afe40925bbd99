"""What the builder's tests share: a store with a base image, builds in it, and the reference engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.build import end_parser
from sim.images import Store, import_tar
from sim.runtime import end_zygote
from tests.dockerd import busybox_tar, reference_engine
from tests.sim.build.worlds import Builds

__all__ = ["reference_engine"]


@pytest.fixture(scope="session")
def base_tar() -> bytes:
    """Return the root filesystem of the base image."""
    return busybox_tar()


@pytest.fixture
def store(tmp_path: Path, base_tar: bytes) -> Iterator[Store]:
    """Return a store with the image `busybox`."""
    with Store(tmp_path / "store") as opened:
        import_tar(opened, [base_tar], tags=["busybox"])
        yield opened


@pytest.fixture
def builds(store: Store) -> Builds:
    """Return builds in that store."""
    return Builds(store)


@pytest.fixture(scope="session", autouse=True)
def helpers_end() -> Iterator[None]:
    """End what builds keep running for the next one."""
    yield
    end_parser()
    end_zygote()
