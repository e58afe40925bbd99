"""Real programs on a mount over a Debian tree: what they leave is what they leave in a plain directory."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fusefs import Stack, mount
from fusefs.drivers.fusepython import LIMITS
from tests.integration.debian import build_package, debian_tree

pytestmark = pytest.mark.usefixtures("root")

Tool = Callable[..., str]


def run(*words: str | os.PathLike[str], cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run(
        [os.fspath(word) for word in words], cwd=cwd, env={**os.environ, "LC_ALL": "C", **(environment or {})},
        capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
    return done.stdout


def facts(root: Path) -> dict[str, object]:
    """Return all that two copies of a tree have in common, by path; times in whole seconds, as in tar."""
    found: dict[str, object] = {}
    inodes: dict[tuple[int, int], str] = {}
    for at in sorted([root, *root.rglob("*")]):
        status = at.lstat()
        name = str(at.relative_to(root))
        content = os.readlink(at) if at.is_symlink() else ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(at.read_bytes()).hexdigest()
        names = sorted(os.listxattr(at, follow_symlinks=False))
        first = inodes.setdefault((status.st_dev, status.st_ino), name)
        found[name] = (
            oct(status.st_mode), status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns // 10**9, content,
            *(() if at.is_dir() else (status.st_size, status.st_nlink, first)),
            [(one, os.getxattr(at, one, follow_symlinks=False)) for one in names],
        )  # fmt: skip
    return found


def same(one: Path, other: Path) -> None:
    """Compare two trees."""
    left, right = facts(one), facts(other)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name] == right[name], name


def _fill(base: Path) -> None:
    """Make a tree where there is no Debian one."""
    for number in range(120):
        at = base / "etc" / f"part{number % 7}" / f"sub{number % 3}" / f"file{number}.conf"
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(f"option = {number}\n" * number)
    (base / "etc/link").symlink_to("part1")
    for at in base.rglob("*"):
        os.utime(at, (1e9, 1e9), follow_symlinks=False)


def _mix(layer: Path, base: Path) -> None:
    """Make a layer on the tree that has all that is hard to keep."""
    mixed = layer / "srv/mixed"
    mixed.mkdir(parents=True)
    (layer / "etc").mkdir()
    for name in ("one", "two words", "new\nline", "ünïcode", "-dash", "n" * 255):
        (mixed / name).write_text(name)
    with (mixed / "sparse").open("wb") as file:
        file.seek(4 << 20)
        file.write(b"end")
    (mixed / "hard").hardlink_to(mixed / "one")
    (mixed / "soft").symlink_to("one")
    (mixed / "dangling").symlink_to("/no/where")
    os.mkfifo(mixed / "fifo")
    os.mknod(mixed / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (mixed / "program").write_text("#!/bin/sh\n")
    (mixed / "program").chmod(0o4755)
    os.setxattr(mixed / "one", "user.colour", b"red")
    (mixed / "sticky").mkdir()
    (mixed / "sticky").chmod(0o3777)
    os.chown(mixed / "sticky", 7, 8)
    hidden = sorted(name for name in os.listdir(base / "etc") if (base / "etc" / name).is_dir())[:2]
    for name in hidden:
        os.mknod(layer / "etc" / name, stat.S_IFCHR, 0)
    for at in mixed.rglob("*"):
        os.utime(at, ns=(10**18, 10**18 + 123_456_789), follow_symlinks=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tree that is mounted: Debian's, or one of our own."""
    try:
        return debian_tree()
    except pytest.skip.Exception:
        own = tmp_path_factory.mktemp("base")
        _fill(own)
        return own


@pytest.fixture
def merged(driver: str, base: Path, tmp_path: Path) -> Iterator[Path]:
    """Return a mount of two layers and an upper."""
    place = tmp_path / "stack"
    for name in ("top", "upper", "work", "merged"):
        (place / name).mkdir(parents=True)
    _mix(place / "top", base)
    stack = Stack((place / "top", base), place / "upper", place / "work")
    with mount(stack, place / "merged", driver=driver):
        yield place / "merged"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Return an empty plain directory."""
    (tmp_path / "plain").mkdir()
    return tmp_path / "plain"


_TAR = ("--numeric-owner", "--xattrs", "--xattrs-include=user.*", "--sparse")


@pytest.mark.cannot("fuse-python", LIMITS["omit time"])
def test_tar_out_and_in(merged: Path, plain: Path, tool: Tool) -> None:
    tool("tar")
    for name in ("etc", "srv/mixed"):
        archive = plain / "archive.tar"
        run("tar", *_TAR, "-C", merged / name, "-cf", archive, ".")
        (plain / name).mkdir(parents=True)
        (merged / "srv/unpacked" / name).mkdir(parents=True)
        for target in (plain / name, merged / "srv/unpacked" / name, merged / name):
            run("tar", *_TAR, "-C", target, "-xpf", archive)
        same(merged / name, plain / name)
        same(merged / "srv/unpacked" / name, plain / name)


def test_cp_keeps_everything_also_within_the_mount(merged: Path, plain: Path) -> None:
    for name in ("etc", "srv/mixed"):
        out, within = plain / Path(name).name, merged / "srv" / f"copy-{Path(name).name}"
        run("cp", "-a", merged / name, out)
        same(merged / name, out)
        run("cp", "-a", merged / name, within)
        same(within, out)
    assert (merged / "srv/copy-mixed/sparse").stat().st_blocks < 1000


def test_rsync_transfers_once(merged: Path, plain: Path, tool: Tool) -> None:
    tool("rsync")
    (plain / "etc").mkdir()
    (merged / "srv/back").mkdir()
    command = ("rsync", "-aHAX", "--numeric-ids", "--itemize-changes")
    for source, target in (
        (merged / "etc", plain / "etc"),
        (merged / "srv/mixed", plain / "mixed"),
        (plain / "mixed", merged / "srv/back"),
        (plain / "etc", merged / "etc"),
    ):
        first = run(*command, f"{source}/", f"{target}/")
        assert (first != "") == (target != merged / "etc")
        assert run(*command, f"{source}/", f"{target}/") == ""
        same(source, target)
    # Delete what one does not have, across the layers.
    run("sh", "-c", "rm -r -- *", cwd=plain / "mixed")
    run(*command, "--delete", f"{plain / 'mixed'}/", f"{merged / 'srv/mixed'}/")
    assert os.listdir(merged / "srv/mixed") == []


_GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": "1500000000 +0000",
    "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": "1500000000 +0000",
}  # fmt: skip


def test_git_commits_clones_and_checks(merged: Path, plain: Path, tool: Tool) -> None:
    tool("git")

    def git(where: Path, *words: str) -> str:
        return run("git", "-c", "safe.directory=*", "-c", "gc.auto=0", *words, cwd=where, environment=_GIT)

    heads = []
    spared = shutil.ignore_patterns("*-", "shadow*", "rc*.d", "systemd", "init.d", "pam.d", "cron*")
    shutil.copytree(merged / "etc", plain / "etc", symlinks=True, ignore=spared)
    for work in (merged / "srv/repository", plain / "repository"):
        shutil.copytree(plain / "etc", work, symlinks=True)
        git(work, "init", "-q", "-b", "main")
        git(work, "add", "-A")
        git(work, "commit", "-q", "-m", "one")
        (work / "passwd").write_text("changed\n")
        git(work, "mv", sorted(name for name in os.listdir(work) if (work / name).is_file())[0], "moved")
        git(work, "commit", "-q", "-a", "-m", "two")
        git(work.parent, "clone", "-q", str(work), str(work.parent / "clone"))
        git(work.parent / "clone", "gc", "-q")
        git(work, "checkout", "-q", "HEAD~1")
        git(work, "checkout", "-q", "main")
        for one in (work, work.parent / "clone"):
            git(one, "fsck", "--full", "--strict")
            assert git(one, "status", "--porcelain") == ""
        heads.append(git(work.parent / "clone", "rev-parse", "HEAD"))
    assert heads[0] == heads[1]


def test_dpkg_installs_verifies_and_purges(driver: str, merged: Path, base: Path, tmp_path: Path, tool: Tool) -> None:
    tool("dpkg-deb", "dpkg")
    debian_tree()
    tool("chroot", "coreutils")
    package = build_package(tmp_path, "layerlab-sample")
    shutil.copy(package, merged / "srv")
    before = run("chroot", merged, "dpkg-query", "-W")
    run("chroot", merged, "dpkg", "-i", f"/srv/{package.name}")
    assert run("chroot", merged, "layerlab-sample") == "layerlab-sample runs\n"
    owned = merged / "usr/share/layerlab-sample/owned"
    status = owned.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), status.st_nlink) == (7, 8, 0o640, 2)
    assert run("chroot", merged, "dpkg", "--verify", "layerlab-sample", "coreutils") == ""
    # Installed once more, every file is replaced through its .dpkg-new; the configuration file stays as it was changed.
    (merged / "etc/layerlab-sample.conf").write_text("option = 2\n")
    run("chroot", merged, "dpkg", "--force-confold", "-i", f"/srv/{package.name}")
    assert (merged / "etc/layerlab-sample.conf").read_text() == "option = 2\n"
    run("chroot", merged, "dpkg", "--purge", "layerlab-sample")
    assert run("chroot", merged, "dpkg-query", "-W") == before
    assert run("chroot", merged, "dpkg", "--audit") == ""
    assert not list(merged.glob("usr/share/layerlab-sample*"))
    assert not (base / "srv" / package.name).exists()


def test_a_virtual_environment_works(merged: Path, plain: Path) -> None:
    place = merged / "srv/environment"
    run(sys.executable, "-m", "venv", "--without-pip", place)
    python = place / "bin/python"
    site = Path(run(python, "-c", "import site; print(site.getsitepackages()[0])").strip())
    assert site.is_relative_to(place)
    wheel = plain / "sample-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("sample/__init__.py", "from sample.deep import answer\n")
        packed.writestr("sample/deep.py", "answer = 42\n")
        packed.writestr("sample-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n")
        packed.writestr("sample-1.0.dist-info/RECORD", "")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    code = "import sample, importlib.metadata as m; print(sample.answer, m.version('sample'))"
    assert run(python, "-c", code) == "42 1.0\n"
    run(python, "-m", "compileall", "-q", "-f", site)
    assert len(list(site.glob("sample/__pycache__/*.pyc"))) == 2
    # The modules are compiled and their times are right: nothing is written a second time.
    before = facts(site)
    assert run(python, "-c", code) == "42 1.0\n"
    assert facts(site) == before


_WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=60)
for number in range(60):
    with database:
        database.execute("insert into entry (writer, number) values (?, ?)", (sys.argv[2], number))
database.close()
"""


def test_sqlite_in_wal_mode_stays_whole(driver: str, base: Path, tmp_path: Path) -> None:
    place = tmp_path / "stack"
    for name in ("lower", "upper", "work", "merged"):
        (place / name).mkdir(parents=True)
    with closing(sqlite3.connect(place / "lower/data.db")) as made:
        assert made.execute("pragma journal_mode = wal").fetchone() == ("wal",)
        made.execute("create table entry (id integer primary key, writer, number)")
        made.executemany("insert into entry (writer, number) values ('layer', ?)", [(n,) for n in range(2000)])
        made.commit()
    stack = Stack((place / "lower",), place / "upper", place / "work")
    with mount(stack, place / "merged", driver=driver):
        path = place / "merged/data.db"
        with closing(sqlite3.connect(path, timeout=60)) as reader:
            assert reader.execute("select count(*) from entry").fetchone() == (2000,)
            writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name]) for name in ("a", "b")]
            while any(writer.poll() is None for writer in writers):
                (count,) = reader.execute("select count(*) from entry").fetchone()
                assert 2000 <= count <= 2120
            assert [writer.wait() for writer in writers] == [0, 0]
            assert reader.execute("select count(*) from entry").fetchone() == (2120,)
            assert reader.execute("pragma integrity_check").fetchone() == ("ok",)
            reader.execute("pragma wal_checkpoint(truncate)")
    with mount(stack, place / "merged", driver=driver), closing(sqlite3.connect(path)) as again:
        assert again.execute("select count(*) from entry").fetchone() == (2120,)
        assert again.execute("pragma integrity_check").fetchone() == ("ok",)
    with closing(sqlite3.connect(place / "lower/data.db")) as below:
        assert below.execute("select count(*) from entry").fetchone() == (2000,)


_MAKEFILE = """\
program: main.o part.o
\t$(CC) -o $@ $^
%.o: %.c part.h
\t$(CC) -c -o $@ $<
clean:
\trm -f program *.o
"""


def test_make_builds_and_knows_what_is_new(driver: str, tmp_path: Path, tool: Tool) -> None:
    tool("make")
    tool("cc", "gcc")
    place = tmp_path / "stack"
    for name in ("lower/src", "upper", "work", "merged"):
        (place / name).mkdir(parents=True)
    source = place / "lower/src"
    (source / "Makefile").write_text(_MAKEFILE)
    (source / "part.h").write_text("int part(int);\n")
    (source / "part.c").write_text('#include "part.h"\nint part(int one) { return one + 1; }\n')
    (source / "main.c").write_text(
        '#include <stdio.h>\n#include "part.h"\nint main(void) { printf("%d\\n", part(41)); return 0; }\n'
    )
    for at in source.iterdir():
        os.utime(at, (1e9, 1e9))
    with mount(Stack((place / "lower",), place / "upper", place / "work"), place / "merged", driver=driver):
        src = place / "merged/src"
        assert run("make", "-j2", cwd=src).count(" -c ") == 2
        assert run(src / "program") == "42\n"
        assert "up to date" in run("make", cwd=src)
        for name in ("main.o", "part.o", "program"):  # as if built long ago
            os.utime(src / name, (1.5e9, 1.5e9))
        (src / "part.c").write_text('#include "part.h"\nint part(int one) { return one + 2; }\n')
        assert run("make", cwd=src).count(" -c ") == 1
        assert run(src / "program") == "43\n"
        run("make", "clean", cwd=src)
        assert sorted(os.listdir(src)) == ["Makefile", "main.c", "part.c", "part.h"]
    assert sorted(os.listdir(place / "upper/src")) == ["part.c"]
    assert (source / "part.c").read_text().count("+ 1") == 1


def test_find_deletes_and_nothing_comes_back(merged: Path, driver: str, base: Path) -> None:
    seen = sorted(run("find", merged / "etc", "-printf", "%P\n").split("\n"))
    assert len(seen) > 50
    run("find", merged / "etc", merged / "srv/mixed", "-delete")
    assert not (merged / "etc").exists()
    assert os.listdir(merged / "srv") == []
    (merged / "etc").mkdir()
    assert os.listdir(merged / "etc") == []
    upper = merged.parent / "upper"
    assert sorted(str(at.relative_to(upper)) for at in upper.rglob("*")) == ["etc", "srv", "srv/mixed"]


def test_du_counts_what_a_copy_has(merged: Path, plain: Path) -> None:
    run("cp", "-a", merged / "etc", merged / "srv/mixed", plain)
    for name in ("etc", "srv/mixed"):
        # Directories take what their filesystem gives them: what is counted is files, each inode once.
        for options in (("--inodes",), ("--apparent-size", "-B1")):
            assert _du(merged / name, options) == _du(plain / Path(name).name, options)
        assert run("du", "-s", "--inodes", merged / name).split()[0] == str(len(set(_inodes(merged / name))))
    assert _du(merged / "srv/mixed", ("-B1",)) < 1 << 20


def _inodes(root: Path) -> Iterator[int]:
    for at in [root, *root.rglob("*")]:
        yield at.lstat().st_ino


def _du(root: Path, options: tuple[str, ...]) -> int:
    """Return what du counts for all files below a directory."""
    listed = subprocess.run(["find", root, "!", "-type", "d", "-print0"], capture_output=True, check=True).stdout
    done = subprocess.run(
        ["du", "-c", *options, "--files0-from=-"], input=listed, capture_output=True, check=True, timeout=100
    )
    return int(done.stdout.splitlines()[-1].split()[0])
