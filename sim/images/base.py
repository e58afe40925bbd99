"""The base image's content: a root filesystem around one static busybox.

Decided here and only here: which files it holds, small enough to read whole and rich enough that deleting, renaming
and editing them teaches something. Everything in it has one fixed time. Functions only; any thread.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

from sim.images.entry import Entry, at, directory, file, hardlink, symlink
from sim.images.errors import NotFoundError

__all__ = ["FIXED_TIME", "base_entries"]

#: The time of everything in the base image: 2024-01-01T00:00:00Z.
FIXED_TIME = "2024-01-01T00:00:00Z"
_FIXED_NS = 1_704_067_200_000_000_000

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
