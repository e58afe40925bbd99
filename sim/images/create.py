"""Making images: from nothing but a busybox, from a root filesystem, or one layer on top of another image.

Decided here and only here: what the base image holds, and how a new image's configuration follows from its parent's.
Given the same input and time, the digests are the same on each run. Functions only; any thread.
"""

from __future__ import annotations

import copy
import os
import platform
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from sim.images.digest import CHUNK
from sim.images.documents import Configuration, History, RootFs, check_layer_count, now
from sim.images.entry import Entry, at, directory, file, hardlink, symlink
from sim.images.errors import ImagesError, NotFoundError
from sim.images.image import Image, Layer
from sim.images.lease import Lease
from sim.images.reference import Reference
from sim.images.store import Store

__all__ = [
    "FIXED_TIME",
    "architecture",
    "base_entries",
    "base_image",
    "image_from_layers",
    "image_from_rootfs",
    "image_on",
    "layers_configuration",
]

#: The time of everything in the base image: 2024-01-01T00:00:00Z.
FIXED_TIME = "2024-01-01T00:00:00Z"
_FIXED_NS = 1_704_067_200_000_000_000
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le"}

_FILES = {
    "etc/group": "root:x:0:\ndaemon:x:1:\nbin:x:2:\ntty:x:5:\nwww-data:x:33:\nstudent:x:1000:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n",
    "etc/hostname": "layerlab\n",
    "etc/issue": "layerlab base image\n",
    "etc/motd": "Every file you see here comes from a layer. Which one?\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
        "www-data:x:33:33:www-data:/srv/www:/bin/false\n"
        "student:x:1000:1000:student:/home/student:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    ),
    "etc/profile": "export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='\\u@\\h:\\w\\$ '\n",
    "etc/resolv.conf": "",
    "etc/shells": "/bin/sh\n/bin/ash\n",
    "etc/services": "ssh\t22/tcp\ndomain\t53/udp\nhttp\t80/tcp\nhttps\t443/tcp\n",
    "etc/protocols": "ip\t0\tIP\nicmp\t1\tICMP\ntcp\t6\tTCP\nudp\t17\tUDP\n",
    "etc/fstab": "# <file system> <mount point> <type> <options> <dump> <pass>\n",
    "etc/app/app.conf": "[server]\nlisten = 0.0.0.0:8080\nworkers = 2\nlog = /var/log/app.log\n",
    "etc/app/conf.d/10-cache.conf": "cache = on\ncache_size = 64M\n",
    "etc/app/conf.d/20-limits.conf": "max_connections = 100\n",
    "etc/skel/.profile": "umask 022\n",
    "home/student/.profile": "umask 022\n",
    "home/student/notes.txt": "Delete me, edit me, rename me: the layer I came from stays as it is.\n",
    "home/student/todo.txt": "[ ] change a file\n[ ] delete a file\n[ ] look at the layers\n",
    "root/.profile": "umask 022\n",
    "srv/www/index.html": "<!doctype html>\n<title>layerlab</title>\n<h1>It works</h1>\n",
    "srv/www/about.html": "<!doctype html>\n<title>about</title>\n<p>Served from a lower layer.\n",
    "usr/lib/os-release": (
        'ID=layerlab\nNAME="layerlab base image"\nPRETTY_NAME="layerlab base image (busybox)"\nVERSION_ID=1\n'
    ),
    "usr/share/doc/base/README": "A root filesystem around one static busybox, small enough to read whole.\n",
    "usr/share/doc/base/changelog": "1: first version\n",
    "var/log/boot.log": "system started\n",
    "var/lib/app/state.json": '{"runs": 0}\n',
    "var/cache/app/index": "0\n",
}
_DIRECTORIES = [
    "bin",
    "boot",
    "dev",
    "etc",
    "etc/app",
    "etc/app/conf.d",
    "etc/skel",
    "home",
    "home/student",
    "lib",
    "media",
    "mnt",
    "opt",
    "opt/app",
    "opt/app/data",
    "proc",
    "root",
    "run",
    "sbin",
    "srv",
    "srv/www",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/lib",
    "usr/local",
    "usr/local/bin",
    "usr/sbin",
    "usr/share",
    "usr/share/dict",
    "usr/share/doc",
    "usr/share/doc/base",
    "var",
    "var/cache",
    "var/cache/app",
    "var/lib",
    "var/lib/app",
    "var/log",
    "var/spool",
    "var/tmp",
]
_MODES = {"root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777, "proc": 0o555, "sys": 0o555}
_WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "flint",
    "grove",
    "haven",
    "inlet",
    "jade",
    "kelp",
    "larch",
    "maple",
    "north",
    "olive",
    "pearl",
    "quartz",
]


def architecture() -> str:
    """Return this machine's architecture by the name that images use.

    >>> architecture() != ""
    True
    """
    machine = platform.machine()
    return _MACHINES.get(machine, machine)


def base_entries(busybox: Path | None = None) -> list[Entry]:
    """Return a small root filesystem around a static busybox, sorted, with fixed times.

    Parameters
    ----------
    busybox
        The program; the machine's where it is None.

    Raises
    ------
    NotFoundError
        There is none, or it is not static; says what to install.
    """
    program = busybox or _find_busybox()
    entries = {path: directory(path, _MODES.get(path, 0o755)) for path in _DIRECTORIES}
    for path, text in _FILES.items():
        entries[path] = file(path, text)
    for owned in [path for path in entries if path.startswith("home/student")]:
        entries[owned] = replace(entries[owned], uid=1000, gid=1000)
    entries["bin/busybox"] = file("bin/busybox", program, 0o755)
    for applet in _applets(program):
        if applet != "bin/busybox":
            entries.setdefault(applet, symlink(applet, "/bin/busybox"))
    entries["etc/os-release"] = symlink("etc/os-release", "../usr/lib/os-release")
    entries["etc/mtab"] = symlink("etc/mtab", "/proc/self/mounts")
    entries["etc/shadow"] = file("etc/shadow", "root:*:19723:0:99999:7:::\nstudent:*:19723:0:99999:7:::\n", 0o640)
    entries["opt/app/run.sh"] = file("opt/app/run.sh", "#!/bin/sh\ncat /etc/app/app.conf\n", 0o755)
    for word in _WORDS:
        entries[f"opt/app/data/{word}.txt"] = file(f"opt/app/data/{word}.txt", f"{word}\n" * 16)
    entries["usr/share/dict/words"] = file("usr/share/dict/words", "".join(f"{word}\n" for word in _WORDS))
    entries["usr/share/dict/words.txt"] = hardlink("usr/share/dict/words.txt", "usr/share/dict/words")
    entries["var/run"] = symlink("var/run", "/run")
    return at((entries[path] for path in sorted(entries)), _FIXED_NS)


def _find_busybox() -> Path:
    for name in ("/bin/busybox", "/usr/bin/busybox", shutil.which("busybox"), "/bin/busybox.static"):
        if name and _is_static(Path(name)):
            return Path(name)
    raise NotFoundError("no static busybox on this machine; install one (Debian: apt-get install busybox-static)")


def _is_static(program: Path) -> bool:
    """Tell whether a program is an ELF without an interpreter."""
    try:
        with program.open("rb") as stream:
            head = stream.read(64)
            if head[:5] != b"\x7fELF\x02":
                return head[:4] == b"\x7fELF"
            order = "<" if head[5] == 1 else ">"
            (offset,) = struct.unpack_from(order + "Q", head, 32)
            size, count = struct.unpack_from(order + "HH", head, 54)
            stream.seek(offset)
            table = stream.read(size * count)
    except OSError:
        return False
    interpreter = 3
    return all(struct.unpack_from(order + "I", table, at)[0] != interpreter for at in range(0, len(table), size))


def _applets(program: Path) -> list[str]:
    try:
        found = subprocess.run([program, "--list-full"], capture_output=True, check=True, timeout=30, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotFoundError(f"{program}: this busybox does not run here ({error})") from None
    return sorted({line.strip().lstrip("/") for line in found.stdout.splitlines() if "/" in line or line.strip()})


def base_image(store: Store, name: str | Reference = "layerlab/base", *, busybox: Path | None = None) -> Image:
    """Make the base image, or return it if it is there already: the same ID on each run with the same busybox.

    Raises
    ------
    NotFoundError
        There is no static busybox.
    """
    with store.lease() as lease:
        layer = store.add_entries(base_entries(busybox), lease)
        return image_from_layers(
            store,
            [layer],
            tags=[name],
            settings={"Cmd": ["/bin/sh"], "Env": [_PATH]},
            created=FIXED_TIME,
            created_by="layerlab: a root filesystem around a static busybox",
            lease=lease,
        )


def image_from_rootfs(
    store: Store,
    source: Path | Iterable[bytes],
    *,
    tags: Sequence[str | Reference] = (),
    settings: Mapping[str, Any] | None = None,
    created: str | None = None,
    message: str = "",
    created_by: str = "",
    modified: int | None = None,
) -> Image:
    """Make an image of one layer from a whole root filesystem.

    Parameters
    ----------
    source
        A directory, a tar (compressed or not), or a tar's bytes as they come.
    settings
        How to run it, by the names of Docker's API.
    created
        When it was made (RFC 3339); now where it is None.
    message
        What its history says about it.
    modified
        With a directory: a time in nanoseconds that nothing in it is later than.

    Raises
    ------
    ContentError
        The tar is damaged or not safe.
    NotFoundError
        There is no such directory or file.
    """
    with store.lease() as lease:
        if isinstance(source, Path) and source.is_dir():
            layer = store.add_directory(source, modified=modified, lease=lease)
        else:
            layer = store.add_tar(_file_chunks(source) if isinstance(source, Path) else source, lease)
        return image_from_layers(
            store,
            [layer],
            tags=tags,
            settings=settings or {},
            created=created or now(),
            created_by=created_by,
            comment=message,
            lease=lease,
        )


def _file_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except FileNotFoundError:
        raise NotFoundError(f"{path}: there is no such file or directory") from None
    except OSError as error:
        raise ImagesError(f"{path}: {os.strerror(error.errno or 0)}") from None


def image_from_layers(
    store: Store,
    layers: Sequence[Layer],
    *,
    tags: Sequence[str | Reference] = (),
    settings: Mapping[str, Any] | None = None,
    created: str = FIXED_TIME,
    created_by: str = "",
    comment: str = "",
    author: str = "",
    lease: Lease | None = None,
) -> Image:
    """Make an image of layers that are in the store, bottom first, without a parent."""
    steps = [History(created=created, created_by=created_by, comment=comment, author=author) for _ in layers]
    configuration = Configuration(
        architecture=architecture(),
        os="linux",
        rootfs=RootFs(diff_ids=[layer.diff_id for layer in layers]),
        config=dict(settings or {}),
        history=steps,
        created=created,
        author=author,
    )
    return store.add_image(configuration, tags=tags, lease=lease)


def layers_configuration(
    base: Configuration,
    layers: Sequence[Layer],
    *,
    created: str,
    created_by: str = "",
    comment: str = "",
    author: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Configuration:
    """Return the configuration of an image on top of another.

    Parameters
    ----------
    base
        The other image's.
    layers
        What comes on top, lowest first; none for a step that changes settings only.
    settings
        What replaces the other image's settings; None keeps them.

    Raises
    ------
    TooManyLayersError
        There would be more than 127 layers.
    """
    diff_ids = [*base.diff_ids, *(layer.diff_id for layer in layers)]
    check_layer_count(len(diff_ids), "image")
    step = History(created=created, created_by=created_by, comment=comment, author=author, empty_layer=not layers)
    steps = [step] * max(len(layers), 1)
    return msgspec.structs.replace(
        base,
        rootfs=msgspec.structs.replace(base.rootfs, diff_ids=diff_ids),
        config=copy.deepcopy(dict(settings) if settings is not None else base.config or {}),
        history=[*(base.history or ()), *steps],
        created=created,
        author=author or base.author,
    )


def image_on(
    store: Store,
    base: Image | str,
    content: Path | Iterable[Entry] | None,
    *,
    tags: Sequence[str | Reference] = (),
    settings: Mapping[str, Any] | None = None,
    created: str | None = None,
    created_by: str = "",
    comment: str = "",
    author: str = "",
    modified: int | None = None,
    lease: Lease | None = None,
) -> Image:
    """Make an image: another one and one layer on top of it.

    Parameters
    ----------
    base
        The other image.
    content
        A directory in overlay format, or plain entries (see `file`, `whiteout`, …); None for a change of settings only.
    settings
        What replaces the other image's settings; None keeps them.
    created
        When (RFC 3339); now where it is None. A fixed time gives the same ID on each run.
    modified
        With a directory: a time in nanoseconds that nothing in it is later than.

    Raises
    ------
    NotFoundError
        The base is not in the store.
    TooManyLayersError
        It has 127 layers already.
    LayerTarError
        The directory holds what no layer can.
    """
    with store.lease() as own:
        lease = lease or own
        below = base if isinstance(base, Image) else store.image(base)
        lease.add(*below.diff_ids)
        layers: list[Layer] = []
        if content is not None:
            check_layer_count(len(below.layers) + 1, below.name)
            if isinstance(content, Path):
                layers.append(store.add_directory(content, modified=modified, lease=lease))
            else:
                layers.append(store.add_entries(content, lease))
        configuration = layers_configuration(
            below.configuration,
            layers,
            created=created or now(),
            created_by=created_by,
            comment=comment,
            author=author,
            settings=settings,
        )
        return store.add_image(configuration, tags=tags, parent=below.id, lease=lease)
