"""Bounds: memory while a large layer streams, and what an ordinary user can do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fusefs.syscalls import mount, umount
from sim.images import Store, StoreError, file, image_from_layers

if TYPE_CHECKING:
    from tests.conftest import User

_CHILD = """
import sys
from sim.images import Store
from sim.images.compression import compress, Compression
from sim.images.create import image_from_rootfs
from sim.images.entry import Entry
from sim.images.tarwrite import TarWriter

def tar(total):
    parts = []
    writer = TarWriter(parts.append)
    block = bytes(1 << 20)
    def body():
        for number in range(total >> 20):
            yield number.to_bytes(4, "big") + block[4:]
    def stream():
        import queue, threading
        channel = queue.Queue(4)
        writer = TarWriter(lambda data: channel.put(bytes(data)))
        def work():
            writer.add(Entry(b"large", size=total), body())
            writer.finish()
            channel.put(None)
        threading.Thread(target=work, daemon=True).start()
        while (item := channel.get()) is not None:
            yield item
    return stream()

with Store(sys.argv[1]) as store:
    image = image_from_rootfs(store, compress(tar(3 << 27), Compression(sys.argv[2])))
    assert image.size == 3 << 27
peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_large_layer_takes_little_memory(tmp_path: Path, kind: str) -> None:
    done = subprocess.run([sys.executable, "-c", _CHILD, tmp_path / "store", kind], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    subprocess.run(["rm", "-rf", tmp_path / "store"], check=True)
    assert int(done.stdout) < 150


def test_a_full_disk_is_told_and_lists_nothing(tmp_path: Path, root: None) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount(b"none", os.fsencode(place), b"tmpfs", 0, b"size=3m")
    try:
        with Store(place / "store") as store:
            kept = image_from_layers(store, [store.add_entries([file("/a", bytes(1000))])], tags=["kept"])
            for size in (1_600_000, 5_000_000):  # the first fills up while it is unpacked, the other before
                with pytest.raises(StoreError, match=r"store.*No space left on device"):
                    store.add_entries([file("/a", os.urandom(size))])
                store.collect()
            assert [image.id for image in store.images()] == [kept.id]
            assert len(list((store.root / "layers").iterdir())) == 1
            assert list(store.blobs.ingest.iterdir()) == []
            assert store.add_entries([file("/b", bytes(1000))]).size == 1000
    finally:
        umount(os.fsencode(place))


def test_an_ordinary_user_has_a_store(user: User) -> None:
    code = """
import json, os, sys
from sim.images import Store, directory, file, image_on, image_from_layers, opaque, save, load, whiteout
with Store("store") as store:
    base = image_from_layers(store, [store.add_entries([directory("/d"), file("/d/a", "a", uid=0), file("/b", "b")])])
    entries = [whiteout("/b"), directory("/d"), opaque("/d")]
    top = image_on(store, base, entries, tags=["app"], created="2024-01-01T00:00:00Z")
    parts = []
    save(store, ["app"], lambda data: parts.append(bytes(data)))
    with Store("second") as second:
        (loaded,) = load(second, parts)
    print(json.dumps([top.id, loaded.id, [str(path) for path in store.layer_directories(top)]]))
"""
    mine, loaded, directories = json.loads(user.python(code))
    assert mine == loaded
    top = Path(directories[0])
    assert os.lstat(top / "b").st_rdev == 0
    assert os.getxattr(top / "d", "user.overlay.opaque") == b"y"
    assert os.stat(top / "d").st_uid == user.uid
