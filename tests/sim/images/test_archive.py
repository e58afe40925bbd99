"""Archives, where somebody removes what is being saved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.images import Image, NotFoundError, Store, archive, file, image_from_layers, load, save
from sim.images.removal import remove


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def make(store: Store, *texts: str, tags: tuple[str, ...]) -> Image:
    """Make an image with one layer for each text."""
    return image_from_layers(store, [store.add_entries([file(f"/{text}", text)]) for text in texts], tags=tags)


def test_what_is_removed_while_it_is_saved_is_saved_whole(store: Store, tmp_path: Path) -> None:
    made = make(store, "one", "two", tags=("app:1",))
    parts: list[bytes] = []

    def write(data: bytes | memoryview) -> None:
        if not parts:
            remove(store, "app:1")
            store.collect()
        parts.append(bytes(data))

    save(store, ["app:1"], write)
    assert store.images() == []
    with Store(tmp_path / "other") as other:
        load(other, parts)
        assert other.image("app:1").id == made.id


@pytest.mark.parametrize("reads", [True, False], ids=["before", "after"])
def test_what_goes_before_it_is_kept_is_not_there(store: Store, reads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its manifest is read before it is removed, or is gone already: nothing is written in either case."""
    make(store, "one", tags=("app:1",))
    real = archive._blobs_of

    def slow(store: Store, image: Image) -> list[str]:
        found = real(store, image) if reads else []
        remove(store, "app:1")
        store.collect()
        return found or real(store, image)

    monkeypatch.setattr(archive, "_blobs_of", slow)
    parts: list[bytes] = []
    with pytest.raises(NotFoundError):
        save(store, ["app:1"], lambda data: parts.append(bytes(data)))
    assert parts == []
