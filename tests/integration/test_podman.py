"""layerlab-overlayfs as podman's and buildah's mount program: containers run, change, are committed and run again."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from fusefs import syscalls
from fusefs.mount import DRIVERS, find_mount
from tests.integration.debian import build_package, debian_tree, real_packages, write_index

pytestmark = pytest.mark.usefixtures("root", "fuse")

FUSE_DRIVERS = [driver for driver in DRIVERS if driver != "overlayfs"]

_CONTAINERS = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
[containers]
netns = "none"
pids_limit = 0
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""

_STORAGE = """\
[storage]
driver = "{driver}"
runroot = "{place}/run"
graphroot = "{place}/root"
"""

_MOUNT_PROGRAM = """\
[storage.options.overlay]
mount_program = "{program}"
"""


class Podman:
    """Podman with a store of its own in a directory."""

    def __init__(self, place: Path, program: Path | None) -> None:
        self.place = place
        self.log = place / "mounts"
        place.mkdir(parents=True, exist_ok=True)
        driver = "vfs" if program is None else "overlay"
        more = "" if program is None else _MOUNT_PROGRAM.format(program=program)
        (place / "storage.conf").write_text(_STORAGE.format(driver=driver, place=place) + more)
        (place / "containers.conf").write_text(_CONTAINERS)
        self.environment: Mapping[str, str] = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(place / "storage.conf"),
            "CONTAINERS_CONF": str(place / "containers.conf"),
        }

    def __call__(self, *words: str, program: str = "podman", status: int = 0) -> str:
        """Run a command of podman's and return what it printed."""
        own = [f"--tmpdir={self.place}/tmp"] if program == "podman" else []
        done = subprocess.run(
            [program, *own, *words], env=self.environment, cwd=self.place, capture_output=True, text=True,
            timeout=110, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{words}: {done.stderr}{done.stdout}"
        return done.stdout

    def close(self) -> None:
        """Remove all containers, mounts and cgroups of this store."""
        self("rm", "-af", "-t", "0")
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            point = line.split()[4]
            if point.startswith(f"{self.place}/"):
                with contextlib.suppress(OSError):
                    syscalls.umount(os.fsencode(point))


@pytest.fixture
def cgroups() -> Iterator[None]:
    """Remove the cgroups that podman makes for all of its containers and leaves."""
    pattern = "/sys/fs/cgroup/*/libpod_parent"
    before = set(glob.glob(pattern))
    yield
    for parent in set(glob.glob(pattern)) - before:
        for path, *_ in os.walk(parent, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)


@pytest.fixture
def busybox(tool: Callable[..., str], tmp_path: Path) -> Path:
    """Return a tar with a root filesystem around busybox."""
    found = tool("busybox", "busybox-static")
    root = tmp_path / "busybox"
    for name in ("bin", "etc", "tmp", "var/spool"):
        (root / name).mkdir(parents=True)
    shutil.copy(found, root / "bin/busybox")
    for name in ("sh", "cat", "echo", "id", "ln", "ls", "mkdir", "mv", "rm", "rmdir", "stat", "true", "wc"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/motd").write_text("hello")
    (root / "etc/issue").hardlink_to(root / "etc/motd")
    packed = tmp_path / "busybox.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(root, ".")
    return packed


@pytest.fixture
def podman(
    request: pytest.FixtureRequest, tool: Callable[..., str], tmp_path: Path, busybox: Path, cgroups: None
) -> Iterator[Podman]:
    """Return a podman whose mount program is ours, with the image `busybox`."""
    for name in ("podman", "runc", "conmon"):
        tool(name)
    # A short name: podman waits ten seconds for each container whose sockets have too long ones.
    place = Path(tempfile.mkdtemp())
    usual = Podman(place / "usual", None)
    try:
        try:
            usual("import", "-q", str(busybox), "busybox")
            usual("run", "--rm", "busybox", "true")
        except (AssertionError, subprocess.SubprocessError) as error:
            pytest.skip(f"needs a podman that can run containers: {str(error).splitlines()[0]}")
    finally:
        usual.close()
    driver = getattr(request, "param", "auto")
    program = tmp_path / "layerlab-overlayfs"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom fusefs.dropin import run\n"
        f"sys.exit(run(['-o', 'driver={driver}', *sys.argv[1:]]))\n"
    )
    program.chmod(0o755)
    ours = Podman(place / "ours", program)
    try:
        ours("import", "-q", str(busybox), "busybox")
        yield ours
    finally:
        ours.close()
        shutil.rmtree(place)


_CHANGES = """
set -e
echo new > /etc/new
rm /etc/issue
rm -r /var/spool
mkdir /var/spool
echo fresh > /var/spool/fresh
mv /bin/id /bin/renamed
ln /etc/new /etc/linked
echo more >> /etc/motd
"""

_SEEN = """
cat /etc/new /etc/motd
ls /etc /var/spool
ls /bin | wc -l
stat -c %h /etc/new
test ! -e /bin/id
ls /bin/renamed
"""

_SAID = ["new", "hellomore", "/etc:", "hostname", "hosts", "linked", "motd", "mtab", "new", "resolv.conf", "",
         "/var/spool:", "fresh", "14", "2", "/bin/renamed"]  # fmt: skip


@pytest.mark.parametrize("podman", FUSE_DRIVERS, indirect=True)
def test_a_container_runs_changes_is_committed_and_runs_again(podman: Podman) -> None:
    podman("run", "--name", "one", "busybox", "/bin/sh", "-c", _CHANGES)
    podman("commit", "-q", "one", "changed")
    said = podman("run", "--rm", "changed", "/bin/sh", "-c", _SEEN).splitlines()
    assert [line for line in said if line != "resolv.conf"] == [line for line in _SAID if line != "resolv.conf"]
    # Nothing but the changes is in the container's layer.
    changed = podman("diff", "one").splitlines()
    assert "A /etc/new" in changed
    assert "D /etc/issue" in changed
    assert "C /etc/motd" in changed
    assert not [line for line in changed if "busybox" in line]


def test_it_is_ours_that_serves_a_container(podman: Podman) -> None:
    podman("create", "--name", "one", "busybox", "true")
    where = Path(podman("mount", "one").strip())
    found = find_mount(where)
    assert found is not None
    assert b"layerlab-overlayfs" in Path(f"/proc/{found.pid}/cmdline").read_bytes()
    assert (where / "etc/motd").read_text() == "hello"
    podman("umount", "one")
    assert find_mount(where) is None
    assert "layerlab-overlayfs" in podman("info")


def test_podman_builds(podman: Podman) -> None:
    context = podman.place / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM localhost/busybox\n"
        "RUN mkdir /made && echo one > /made/a && echo two > /made/b\n"
        "RUN rm /made/a && rm -r /var/spool && mv /made/b /made/c\n"
        "COPY Dockerfile /made/\n"
    )
    podman("build", "-q", "--isolation", "chroot", "-t", "built", str(context))
    said = podman("run", "--rm", "built", "/bin/sh", "-c", "ls /made /var; cat /made/c").split()
    assert said == ["/made:", "Dockerfile", "c", "/var:", "two"]


def test_buildah_runs_and_commits(podman: Podman, tool: Callable[..., str]) -> None:
    tool("buildah")

    def buildah(*words: str) -> str:
        return podman(*words, program="buildah").strip()

    buildah("from", "--name", "working", "localhost/busybox")
    buildah("run", "--isolation", "chroot", "working", "/bin/sh", "-c", "echo built > /built; rm /etc/motd")
    buildah("commit", "-q", "working", "built")
    buildah("rm", "working")
    assert podman("run", "--rm", "built", "/bin/sh", "-c", "cat /built; ls /etc/issue").split() == [
        "built",
        "/etc/issue",
    ]


_INSTALL = """
set -e
rm -f /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/repository ./' > /etc/apt/sources.list
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq -y install {names} >&2
{own}
"""


#: What a Debian image can do without, to be imported in less time.
_NOT_NEEDED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man")


def test_apt_get_installs_into_a_debian_container(podman: Podman, tool: Callable[..., str], tmp_path: Path) -> None:
    tool("dpkg-deb", "dpkg")
    tree = debian_tree()
    repository = tmp_path / "repository"
    repository.mkdir()
    own = build_package(tmp_path, "layerlab-sample")
    packages = [own, *real_packages()]
    for package in packages:
        shutil.copy(package, repository)
    write_index(repository)
    packed = tmp_path / "debian.tar"
    spared = [f"--exclude=./{path}/*" for path in _NOT_NEEDED]
    subprocess.run(["tar", *spared, "-C", tree, "-cf", packed, "."], check=True, timeout=100)
    podman("import", "-q", str(packed), "debian")
    packed.unlink()
    names = [package.name.split("_")[0] for package in packages]
    script = _INSTALL.format(names=" ".join(names), own="layerlab-sample")
    command = ("run", "--name", "one", "-v", f"{repository}:/repository:ro", "debian", "/bin/sh", "-c", script)
    assert podman(*command).split() == ["layerlab-sample", "runs"]
    podman("commit", "-q", "one", "installed")
    check = (
        f"set -e; layerlab-sample; dpkg --audit; dpkg --verify {' '.join(names)}; cat /var/lib/layerlab-sample;"
        " stat -c '%u %g %a %h' /usr/share/layerlab-sample/owned;"
        f" dpkg-query -W -f '${{Package}} ${{Status}}\\n' {' '.join(names)}"
    )
    said = podman("run", "--rm", "installed", "/bin/sh", "-c", check).splitlines()
    assert said[:3] == ["layerlab-sample runs", "configured", "7 8 640 2"]
    assert sorted(said[3:]) == sorted(f"{name} install ok installed" for name in names)
