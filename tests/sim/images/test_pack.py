"""Packing a name of a directory, as `cp` does: small files are read ahead, and nothing of the tar shows it."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from sim.images.pack import pack, pack_name


def packed(directory: Path, name: bytes = b"tree") -> bytes:
    out = io.BytesIO()
    parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        pack_name(parent, name, name, out.write)
    finally:
        os.close(parent)
    return out.getvalue()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a directory with more names than are read ahead at once, of all kinds, and of sizes around the bound."""
    tmp_path.chmod(0o755)  # as every unpacker makes it: nothing is told of it
    top = tmp_path / "tree"
    top.mkdir()
    for number in range(150):
        (top / f"f{number:03}").write_bytes(b"%d" % number * (number * 13 % 700))
    for number, size in enumerate((65535, 65536, 65537, 300_000)):
        (top / f"f{number:03}size").write_bytes(os.urandom(size))
    (top / "f070").unlink()
    (top / "f070").symlink_to("nowhere")
    os.link(top / "f010", top / "f090link")
    os.mkfifo(top / "f091fifo")
    with open(top / "f092holes", "wb") as file:
        file.truncate(1 << 20)
    for number in (20, 40):
        (top / f"f{number:03}directory/below").mkdir(parents=True)
        for other in range(70):
            (top / f"f{number:03}directory/below/{other}").write_text(f"{number} {other}")
    return top


def test_what_is_read_ahead_makes_the_same_tar(tree: Path) -> None:
    plain = io.BytesIO()
    pack(tree.parent, plain.write, as_layer=False)  # reads nothing ahead
    assert hashlib.sha256(packed(tree.parent)).digest() == hashlib.sha256(plain.getvalue()).digest()


def test_each_file_has_its_own_content(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(tree.parent))) as tar:
        found = {member.name: tar.extractfile(member) for member in tar if member.isreg() and not member.issparse()}
        for name, file in found.items():
            assert file is not None
            assert file.read() == (tree.parent / name).read_bytes(), name
    assert len(found) > 280


def test_what_cannot_be_read_is_told_and_no_thread_stays(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: object, *rest: object, **more: object) -> int:
        if path == b"f100":
            raise PermissionError(1, "refused", "f100")
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match="refused"):
        packed(tree.parent)
    assert not any(thread.name.startswith("packing") for thread in threading.enumerate())
