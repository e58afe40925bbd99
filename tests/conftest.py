"""What all tests share: what they need and may not have, an ordinary user, and the search for what they leave behind.

A test asks for what it needs by naming a fixture (`root`, `fuse`, `overlayfs`, `tool`, `user`); where the machine does
not have it, the test is skipped and says why. After every test in `tests/integration` the machine is searched for
mounts, processes and the rest of it (`tests.leaks`).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.leaks import MARK, traces
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
INTEGRATION = ROOT / "tests" / "integration"

#: A user that every Linux system has and nobody logs in as.
NOBODY = 65534


def pytest_configure() -> None:
    """Mark this run's processes; keep settings of the machine's own user out of the tests."""
    name, _, value = MARK.partition("=")
    os.environ[name] = value
    os.environ.setdefault("MPLBACKEND", "agg")
    # The same examples each time, however long they take; others, at random, where more are asked for.
    random = bool(os.environ.get("LAYERLAB_EXAMPLES"))
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    settings.register_profile("layerlab", derandomize=not random, deadline=None, suppress_health_check=slow)
    settings.load_profile("layerlab")


@pytest.fixture(scope="session")
def root() -> None:
    """Need to be root."""
    if os.geteuid() != 0:
        pytest.skip("needs root; run the tests as root or with sudo")


@pytest.fixture(scope="session")
def fuse() -> None:
    """Need to be able to mount with FUSE."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"needs /dev/fuse: {error.strerror}; `modprobe fuse`, or start the container with it")
    if os.geteuid() != 0 and shutil.which("fusermount3") is None and shutil.which("fusermount") is None:
        pytest.skip("needs fusermount; install fuse3")


@pytest.fixture(scope="session")
def overlayfs(root: None) -> None:
    """Need the kernel's overlayfs on the directory of temporary files."""
    with tempfile.TemporaryDirectory() as place:
        lower, merged = Path(place, "lower"), Path(place, "merged")
        lower.mkdir()
        merged.mkdir()
        other = Path(place, "other")
        other.mkdir()
        data = f"lowerdir={lower}:{other}".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        flags = ctypes.c_ulong(1)  # MS_RDONLY
        if libc.mount(b"overlay", os.fsencode(merged), b"overlay", flags, data) != 0:
            pytest.skip(f"needs the kernel's overlayfs: {os.strerror(ctypes.get_errno())}")
        libc.umount2(os.fsencode(merged), 0)


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Return a function that finds a program, and skips the test where it is not installed."""

    def find(name: str, package: str = "") -> str:
        found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if found is None:
            pytest.skip(f"needs {name}; install {package or name}")
        return found

    return find


@dataclass(frozen=True)
class User:
    """An ordinary user.

    Attributes
    ----------
    uid, gid
        Who it is.
    home
        A directory of its own, empty at first, on a real filesystem.
    """

    uid: int
    gid: int
    home: Path

    def run(
        self,
        program: Sequence[str | os.PathLike[str]],
        *,
        environment: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user in its home and return what came of it."""
        wanted = {"HOME": str(self.home), "TMPDIR": str(self.home), "USER": "nobody", **(environment or {})}
        command = [os.fspath(word) for word in program]
        if os.geteuid() != self.uid:
            reach = (ROOT, sys.prefix, sys.base_prefix)
            command = [
                *(sys.executable, str(ROOT / "tests" / "ordinary.py"), str(self.uid), str(self.gid)),
                *map(str, reach),
                "--",
                *command,
            ]
        return subprocess.run(
            command,
            cwd=self.home,
            env={**os.environ, **wanted},
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def python(self, code: str, *arguments: str) -> str:
        """Run Python code as this user, with the project at hand; return what it printed."""
        done = self.run([sys.executable, "-W", "error", "-c", code, *arguments])
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def user() -> Iterator[User]:
    """Return an ordinary user: `nobody` for root, else whoever runs the tests."""
    with tempfile.TemporaryDirectory(prefix="user-", dir="/var/tmp") as place:
        home = Path(place)
        if os.geteuid() != 0:
            yield User(os.getuid(), os.getgid(), home)
            return
        os.chown(home, NOBODY, NOBODY)
        yield User(NOBODY, NOBODY, home)


@pytest.fixture(autouse=True)
def nothing_left_behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail an integration test that leaves something on the machine."""
    if not request.path.is_relative_to(INTEGRATION):
        yield
        return
    own = tmp_path_factory.getbasetemp()  # made now, before the directory for temporary files is another one
    # A short name: the path of a unix socket has at most 107 bytes.
    temporary = Path(tempfile.mkdtemp(prefix="ll-", dir="/tmp"))
    temporary.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = traces(own, temporary)
    try:
        yield
        left = traces(own, temporary) - before
        end = time.monotonic() + PATIENCE / 3
        while left and time.monotonic() < end:  # a process may still be on its way out
            time.sleep(0.05)
            left = traces(own, temporary) - before
        if left:
            pytest.fail(f"left behind: {dict(left)}", pytrace=False)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
