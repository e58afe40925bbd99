"""A reference engine for tests: a private dockerd in a temporary directory, from which nothing is left.

Decided here: where dockerd is looked for, and how it is kept apart. It runs in namespaces of its own (network, mounts,
processes), so that its bridge, its packet filter, its mounts and its containers end with it whatever happens; the
unix socket is what connects it with the tests. A registry on loopback that it shall reach must run in its network
namespace: start that with the words of `ReferenceEngine.inside` before it. It has no image at first:
`ReferenceEngine.busybox` gives it one.

`reference_engine` is a fixture for the session; name it in a test's arguments, after
`from tests.dockerd import reference_engine` in a conftest of the tests that use it. Where there is no dockerd, or no
root, the test is skipped and says so.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

#: Where its programs may be besides PATH: a package unpacked there, nothing of which is installed.
UNPACKED = os.environ.get("LAYERLAB_DOCKERD", "/opt/docker")

#: What dockerd and containerd write outside of the directories that they are given: hidden under an empty tmpfs each.
HIDDEN = ("/etc/docker", "/run/docker", "/run/containerd")


@dataclass(frozen=True)
class ReferenceEngine:
    """A dockerd that runs.

    Attributes
    ----------
    socket
        Its unix socket.
    place
        Its temporary directory.
    pid
        The process whose namespaces it is in.
    version
        Such as `20.10.24+dfsg1`.
    """

    socket: Path
    place: Path
    pid: int
    version: str

    @property
    def address(self) -> str:
        """For `DOCKER_HOST` and `docker -H`."""
        return f"unix://{self.socket}"

    @property
    def inside(self) -> tuple[str, ...]:
        """Words before a command that shall run in its network namespace."""
        return ("nsenter", "-t", str(self.pid), "-n", "--")

    def client(self) -> docker.DockerClient:
        """Return a new client of the SDK; close it."""
        return docker.DockerClient(base_url=self.address, version="auto", timeout=60)

    def docker(
        self, *words: str, environment: Mapping[str, str] | None = None, stdin: bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the docker command against it (the classic builder); skip the test where that is not installed."""
        program = find("docker")
        if program is None:
            pytest.skip("needs the docker command; install docker.io")
        settings = {"DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(self.place / "client"), **(environment or {})}
        return subprocess.run(
            [program, "-H", self.address, *words],
            env={**os.environ, **settings},
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def busybox(self, name: str = "busybox:latest") -> str:
        """Give it an image around the machine's static busybox; return the image's ID."""
        client = self.client()
        try:
            with contextlib.suppress(docker.errors.ImageNotFound):
                return str(client.images.get(name).id)
            repository, _, tag = name.rpartition(":")
            answer = client.api.import_image_from_data(busybox_tar(), repository=repository, tag=tag)
            return str(json.loads(answer.splitlines()[-1])["status"])
        finally:
            client.close()


def find(program: str) -> str | None:
    """Return where a program is; None where it is nowhere."""
    return shutil.which(program, path=_path())


def _path() -> str:
    more = [f"{UNPACKED}/usr/sbin", f"{UNPACKED}/usr/bin", "/usr/sbin", "/sbin"]
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *more])


def busybox_tar(extra: Mapping[str, bytes] | None = None) -> bytes:
    """Return a root filesystem as a tar: the machine's static busybox, its applets as links, a few files.

    Parameters
    ----------
    extra
        More files: paths without a leading slash, and what is in them.
    """
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("needs busybox; install busybox-static")
    files = {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        "etc/group": b"root:x:0:\nnogroup:x:65534:\nstaff:x:50:nobody\n",
        **(extra or {}),
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.size, member.linkname = kind, mode, len(data), link
            member.mtime = 1_600_000_000
            tar.addfile(member, io.BytesIO(data))

        directories = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
        for name in sorted({"bin", "etc", "root", "tmp", "usr", "usr/bin", "var", *directories}):
            add(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755)
        add("bin/busybox", tarfile.REGTYPE, 0o755, Path(program).read_bytes())
        for applet in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
            if applet != "busybox":
                add(f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        for name, data in sorted(files.items()):
            add(name, tarfile.REGTYPE, 0o644, data)
    return out.getvalue()


@pytest.fixture(scope="session")
def reference_engine(root: None) -> Iterator[ReferenceEngine]:
    """Start dockerd for this session; end it and take everything away afterwards."""
    with started() as engine:
        yield engine


@contextlib.contextmanager
def started() -> Iterator[ReferenceEngine]:
    """Start dockerd; end it and take everything away afterwards."""
    for name, package in (("dockerd", "docker.io"), ("containerd", "containerd"), ("runc", "runc"), ("unshare", "")):
        if find(name) is None:
            pytest.skip(f"needs {name}; install {package or 'util-linux'}")
    # A short name: the path of a unix socket has at most 107 bytes.
    place = Path(tempfile.mkdtemp(prefix="dockerd-", dir="/tmp"))
    group = f"dockerref-{os.getpid()}"
    made = [path for path in HIDDEN if not os.path.isdir(path)]
    for path in made:
        os.makedirs(path)
    process = _start(place, group)
    try:
        yield _wait(place, process)
    finally:
        # Ends every process of its process namespace: dockerd, containerd, all containers.
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        _remove_groups(group)
        shutil.rmtree(place, ignore_errors=True)
        for path in made:
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _start(place: Path, group: str) -> subprocess.Popen[bytes]:
    # The image store that every version has; the newest ones would take containerd's.
    (place / "daemon.json").write_text('{"features": {"containerd-snapshotter": false}}\n')
    hide = [f"mount -t tmpfs -o mode=755 none {path}" for path in HIDDEN]
    options = [
        *("--host", f"unix://{place}/docker.sock"),
        *("--data-root", f"{place}/data", "--exec-root", f"{place}/exec", "--pidfile", f"{place}/docker.pid"),
        *("--config-file", f"{place}/daemon.json", "--cgroup-parent", f"/{group}"),
        *("--bip", "172.30.90.1/24", "--insecure-registry", "127.0.0.0/8"),
    ]
    script = "\n".join(["set -e", *hide, "ip link set lo up", 'exec dockerd "$@"'])
    apart = ["unshare", "--net", "--mount", "--propagation", "slave", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with open(place / "log", "wb") as log:
        return subprocess.Popen(
            # Ends with this process, also when that is killed.
            ["setpriv", "--pdeathsig", "KILL", *apart, "sh", "-c", script, "dockerd", *options],
            env={**os.environ, "PATH": _path()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _wait(place: Path, process: subprocess.Popen[bytes]) -> ReferenceEngine:
    end = time.monotonic() + 60
    while True:
        if _answers(place / "docker.sock"):
            client = docker.DockerClient(base_url=f"unix://{place}/docker.sock", version="auto", timeout=10)
            try:
                version = str(client.version()["Version"])
            finally:
                client.close()
            child = int(_children(process.pid)[0])
            return ReferenceEngine(place / "docker.sock", place, child, version)
        if process.poll() is not None or time.monotonic() > end:
            tail = (place / "log").read_text(errors="replace").splitlines()[-5:]
            pytest.skip(f"needs a dockerd that starts here: {' / '.join(tail)}")
        time.sleep(0.1)


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        return b" 200 " in connection.recv(1024)
    return False


def _children(pid: int) -> Sequence[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _remove_groups(group: str) -> None:
    for top, directories, _ in os.walk("/sys/fs/cgroup"):
        if group not in directories:
            continue
        for path, *_ in os.walk(os.path.join(top, group), topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)
