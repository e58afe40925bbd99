"""Killed in the middle of a load, commit, removal or prune: the store opens again, consistent, and leftovers go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sim.images import Store, directory, file, image_from_layers
from sim.images.archive import save
from sim.images.digest import of_bytes
from sim.images.documents import parse_manifest
from sim.images.pack import pack
from sim.images.unpack import measure

_CHILD = """
import sys
from pathlib import Path
from sim.images import Store
from sim.images.archive import load
from sim.images.commit import commit
from sim.images.removal import prune, remove

def chunks(path):
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 16):
            yield chunk

what, root, other = sys.argv[1:]
with Store(root) as store:
    print("ready", flush=True)
    if what == "load":
        load(store, chunks(other))
    elif what == "commit":
        for number in range(5):
            commit(store, "base", Path(other), tags=[f"new:{number}"], message=str(number))
    elif what == "remove":
        for image in store.images():
            remove(store, image.id, force=True)
    else:
        prune(store, everything=True)
print("done", flush=True)
"""


def check(root: Path) -> int:
    """Check everything that the store says against what is there; return how many images it lists."""
    with Store(root) as store:
        store.collect()
        needed, layers = set(), set()
        images = store.images(intermediate=True)
        for image in images:
            manifest = parse_manifest(store.blobs.read(image.manifest.digest))
            needed |= {image.id, image.manifest.digest, *(layer.digest for layer in manifest.layers)}
            for layer in image.layers:
                layers.add(layer.diff_id)
                found = measure(layer.path)
                assert (found.size, found.entries) == (layer.size, layer.entries)
                parts: list[bytes] = []
                pack(layer.path, lambda data, parts=parts: parts.append(bytes(data)))  # type: ignore[misc]
                assert of_bytes(b"".join(parts)) == layer.diff_id
        for path in store.blobs.directory.iterdir():
            assert of_bytes(path.read_bytes()) == f"sha256:{path.name}"
        assert {f"sha256:{path.name}" for path in store.blobs.directory.iterdir()} == needed
        assert {f"sha256:{path.name}" for path in (store.root / "layers").iterdir()} == layers
        for place in ("ingest", "trash", "locks"):
            assert list((store.root / place).iterdir()) == []
        assert len(list((store.root / "leases").iterdir())) == 1
        return len(images)


@pytest.mark.parametrize("what", ["load", "commit", "remove", "prune"])
def test_killed(tmp_path: Path, root: None, what: str) -> None:
    origin = tmp_path / "origin"
    with Store(origin) as store:
        shared = store.add_entries([directory("/s"), *(file(f"/s/{n:02}", os.urandom(5000)) for n in range(60))])
        for number in range(3):
            layer = store.add_entries([file(f"/{number}-{n:02}", os.urandom(5000)) for n in range(60)])
            image_from_layers(store, [shared, layer], tags=[f"app:{number}", f"other:{number}"])
        image_from_layers(store, [shared], tags=["base"])
        with (tmp_path / "images.tar").open("wb") as stream:
            save(store, ["app", "base"], stream.write)
    upper = tmp_path / "upper"
    upper.mkdir()
    for number in range(200):
        (upper / f"{number}").write_bytes(os.urandom(3000))
    seen = set()
    took = 0.0
    for turn in range(7):  # at first it comes to its end, which says how much time there is to kill it in
        victim = tmp_path / f"victim{turn}"
        if what != "load":
            subprocess.run(["cp", "-a", origin, victim], check=True)
        other = tmp_path / "images.tar" if what == "load" else upper
        child = subprocess.Popen([sys.executable, "-c", _CHILD, what, victim, other], stdout=subprocess.PIPE)
        assert child.stdout
        assert child.stdout.readline() == b"ready\n"
        if turn:
            time.sleep(took * (turn - 1) / 6)
            child.send_signal(signal.SIGKILL)
            child.stdout.read()
        else:
            began = time.monotonic()
            assert child.stdout.read() == b"done\n"
            took = time.monotonic() - began
        child.wait()
        child.stdout.close()
        seen.add(check(victim))
        subprocess.run(["rm", "-rf", victim], check=True)
    assert len(seen) > 1, f"every kill came too late: {seen}"
