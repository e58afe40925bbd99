"""What a directory tree holds, as plain data that two trees can be compared by."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

Description = tuple[object, ...]


def describe(root: Path, *, times: bool = True) -> dict[str, Description]:
    """Describe everything below a directory: kind, mode, owner, time, content, target, device, xattrs, hard links."""
    found: dict[str, Description] = {}
    first: dict[tuple[int, int], str] = {}
    for path in sorted(_walk(root)):
        name = os.path.relpath(path, root)
        status = os.lstat(path)
        content = ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        link = name
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            link = first.setdefault((status.st_dev, status.st_ino), name)
        xattrs = tuple(sorted((key, os.getxattr(path, key, follow_symlinks=False)) for key in _xattrs(path)))
        time = status.st_mtime_ns if times else 0
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        device = status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else 0
        found[name] = (
            stat.filemode(status.st_mode),
            status.st_uid,
            status.st_gid,
            time,
            size,
            content,
            device,
            link,
            xattrs,
        )
    return found


def _xattrs(path: str) -> list[str]:
    return [key for key in os.listxattr(path, follow_symlinks=False) if key != "security.selinux"]


def _walk(root: Path) -> Iterator[str]:
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            yield os.path.join(directory, name)


def plant(root: Path) -> None:
    """Fill a directory with one of everything that a layer can hold; needs root."""
    root.mkdir(exist_ok=True)
    (root / "plain").write_text("plain\n")
    (root / "empty").touch()
    (root / "deep" / "er").mkdir(parents=True)
    os.chmod(root / "deep", 0o1777)
    (root / "deep" / "er" / "setuid").write_text("s")
    os.chown(root / "deep" / "er" / "setuid", 12, 3456789)
    os.chmod(root / "deep" / "er" / "setuid", 0o6755)
    os.symlink("../plain", root / "deep" / "link")
    os.symlink("x" * 300, root / "long-link")
    os.link(root / "plain", root / "deep" / "hard")
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "block", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    (root / ("n" * 255)).write_text("long name")
    (root / "/".join(["long"] * 40)).mkdir(parents=True)
    (root / "/".join(["long"] * 40) / "leaf").write_text("leaf")
    (root / "ünï\ncode").write_text("name")
    (Path(os.fsdecode(os.fsencode(root) + b"/bytes-\xff\xfe"))).write_text("not UTF-8")
    os.setxattr(root / "plain", "user.colour", b"bl\0u=e\n")
    os.setxattr(root / "deep", "user.of-directory", b"1")
    os.setxattr(
        root / "deep" / "er" / "setuid",
        "security.capability",
        bytes.fromhex("0100000200200000000000000000000000000000"),
    )
    # An access control list, as acl(5) and the kernel's posix_acl_xattr.h lay it out: user 1000 may read.
    entries = ((1, 6, 2**32 - 1), (2, 4, 1000), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(root / "deep" / "er", "system.posix_acl_access", acl)
    os.setxattr(root / "long-link", "trusted.of-link", b"1", follow_symlinks=False)
    with open(root / "sparse", "wb") as stream:
        stream.seek(1 << 20)
        stream.write(b"middle" * 1000)
        stream.truncate(8 << 20)
    with open(root / "hole", "wb") as stream:
        stream.truncate(1 << 20)
    for number, path in enumerate(sorted(_walk(root))):
        os.utime(path, ns=(0, 1_500_000_000_123_456_789 + number), follow_symlinks=False)
    os.utime(root / "empty", ns=(0, -5_000_000_001))
