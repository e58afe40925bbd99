"""Bad input and bad luck: what is said, in Docker's words, with its exit status, and that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import (
    Bind,
    Container,
    ContainerError,
    Limits,
    LogOptions,
    Namespaces,
    NotRunningError,
    Port,
    Rlimit,
    Tmpfs,
    read_log,
    start_zygote,
)
from sim.runtime.zygote import zygote
from tests.patience import until

MIB = 1 << 20


def shims() -> set[str]:
    """Return the processes that were forked from this process's zygote for something and are there yet."""
    parent = str(zygote().pid)
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                name, _, rest = Path(f"/proc/{entry}/stat").read_text().rpartition(")")
            except OSError:
                continue
            if rest.split()[1] == parent and not name.endswith("layerlab-ahead"):
                found.add(entry)
    return found


@pytest.fixture(autouse=True)
def _nothing_runs_and_nothing_is_open() -> Iterator[None]:
    start_zygote(mounts=False)
    before, descriptors = shims(), len(os.listdir("/proc/self/fd"))
    yield
    until(lambda: not shims() - before, lambda: shims() - before)
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.fixture
def make(box: Any, tmp_path: Path) -> Callable[..., Container]:
    def make(*args: str, directory: Path | None = None, log: LogOptions | None = None, **wishes: Any) -> Container:
        place = directory or tmp_path / f"c{len(list(tmp_path.glob('c*')))}"
        place.mkdir(exist_ok=True)
        name = f"lltest/trouble-{os.getpid()}" if os.geteuid() == 0 else ""
        return Container.create(place, box.spec(*args, cgroup=name, **wishes), log=log)

    return make


def ended(container: Container) -> None:
    """Wait for the end of a shim, which answers just before that."""
    until(lambda: not container.shim())


def refused(container: Container, code: int, text: str) -> None:
    """Check that a container does not start, and can be removed."""
    with pytest.raises(ContainerError, match=text) as found:
        container.start()
    assert found.value.code == code
    ended(container)
    status = container.status()
    assert (status.phase, status.code) == ("exited", code)
    assert status.error == str(found.value)
    assert container.wait(60) == code
    with pytest.raises(NotRunningError):
        container.kill()
    shutil.rmtree(container.directory)


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("nope",), 127, r'exec: "nope": executable file not found in \$PATH'),
        (("/nope",), 127, 'exec: "/nope": stat /nope: no such file or directory'),
        (("/etc",), 126, 'exec: "/etc": is a directory'),
        (("/etc/passwd",), 126, 'exec: "/etc/passwd": permission denied'),
        (("/etc/script",), 127, "exec /etc/script: no such file or directory"),
        (("/etc/garbage",), 126, "exec /etc/garbage: exec format error"),
        (("/etc/passwd/x",), 126, 'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory'),
    ],
)
def test_commands_that_cannot_run(box: Any, make: Any, args: tuple[str, ...], code: int, text: str) -> None:
    for name, content in (("script", "#!/no/such/interpreter\n"), ("garbage", "\0\0\0\0")):
        (box.rootfs / "etc" / name).write_text(content)
        (box.rootfs / "etc" / name).chmod(0o755)
    refused(make(*args), code, text)


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ({"user": "nosuch"}, "unable to find user nosuch: no matching entries in passwd file"),
        ({"user": "0:nosuch"}, "unable to find group nosuch: no matching entries in group file"),
        ({"groups": ("nosuch",)}, "Unable to find group nosuch"),
        ({"cwd": "/etc/passwd"}, r'chdir to cwd \("/etc/passwd"\) set in config.json failed: not a directory'),
        ({"rlimits": (Rlimit("foo", 1, 1),)}, "invalid ulimit type: foo"),
        ({"sysctls": (("net.ipv4.nosuch", "1"),)}, "cannot set sysctl net.ipv4.nosuch=1: No such file or directory"),
        ({"mounts": (Tmpfs("/etc/passwd"),)}, "cannot mount a directory on /etc/passwd: it is a file in the container"),
        ({"mounts": (Bind(Path("/nope"), "/srv"),)}, "bind source path does not exist: /nope"),
        ({"mounts": (Bind(Path("/etc"), "/etc/passwd"),)}, "cannot mount a directory on /etc/passwd: it is a file"),
        ({"namespaces": Namespaces(network="/proc/1/ns/nope")}, "join /proc/1/ns/nope as network namespace"),
    ],
)
def test_wishes_that_cannot_be(make: Any, wishes: dict[str, Any], text: str) -> None:
    refused(make("true", **wishes), 125, text)


@pytest.mark.usefixtures("needs_root")
def test_a_file_on_a_directory(make: Any) -> None:
    refused(make("true", mounts=(Bind(Path("/etc/passwd"), "/srv"),)), 125, "cannot mount a file on /srv: it is a dir")


@pytest.mark.usefixtures("needs_root")
def test_limits_out_of_range(make: Any) -> None:
    refused(make("true", limits=Limits(memory=MIB)), 125, "Minimum memory limit allowed is 6MB")
    refused(make("true", limits=Limits(cpuset_cpus="77")), 125, "Requested CPUs are not available - requested 77")


def test_a_port_in_use(make: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        text = f"Bind for 127.0.0.1:{number} failed: port is already allocated"
        refused(make("true", ports=(Port(80, 0, "127.0.0.1"), Port(80, number, "127.0.0.1"))), 125, text)


def test_a_root_that_is_not_there(make: Any, tmp_path: Path) -> None:
    refused(make("true", rootfs=tmp_path / "nope"), 125, "cannot use .*/nope as root filesystem: No such file")
    (tmp_path / "file").touch()
    refused(make("true", rootfs=tmp_path / "file"), 125, "cannot use .*/file as root filesystem: it is no directory")


def test_a_place_that_is_not_there(box: Any, tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match=r"cannot make a socket in .*/nope: No such file or directory"):
        Container.create(tmp_path / "nope", box.spec("true"))


def test_a_log_that_cannot_be(box: Any, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with pytest.raises(ContainerError, match="No such file or directory: '/nope/log'"):
        Container.create(tmp_path / "c", box.spec("true"), log=LogOptions("/nope/log"))
    assert os.listdir(tmp_path / "c") == []


@pytest.fixture
def small(tmp_path: Path, needs_root: None) -> Iterator[Path]:
    """A filesystem of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def fill(place: Path) -> None:
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


class TestFullDisk:
    def test_of_the_log(self, make: Any, small: Path) -> None:
        container = make("sh", "-c", "seq 1 40000; echo done >&2", log=LogOptions(str(small / "log")))
        container.start()
        assert container.wait(60) == 0
        assert container.status().lost_log > 0
        kept = [entry.text for entry in read_log(small / "log")]
        assert kept[0] == "1\n"

    def test_before_it_is_made(self, make: Any, small: Path) -> None:
        place = small / "state"
        place.mkdir()
        fill(small)
        with pytest.raises(ContainerError, match=r"cannot write the container's state in .*: no space left on device"):
            make("true", directory=place)
        assert os.listdir(place) == []

    def test_before_it_starts(self, make: Any, small: Path) -> None:
        container = make("sh", "-c", "exit 7", directory=small / "state")
        fill(small)
        container.start()
        assert container.wait(60) == 7
        ended(container)
        assert container.status().code == 7

    def test_before_it_starts_and_what_was_reserved_is_gone(self, make: Any, small: Path) -> None:
        container = make("sleep", "100", directory=small / "state")
        (small / "state/state.reserve").unlink()
        fill(small)
        with pytest.raises(ContainerError, match=r"cannot write the container's state in .*: no space left on device"):
            container.start()
        ended(container)
        assert container.status().phase == "created"  # as it was: nobody could write down anything else

    def test_before_it_ends(self, make: Any, small: Path) -> None:
        container = make("sh", "-c", "read line; exit 7", directory=small / "state")
        container.start()
        fill(small)
        assert container.wait(60) == 7  # it read the end of nothing at once
        ended(container)
        assert container.status().code == 7

    def test_where_the_shim_was_killed_as_well(self, make: Any, small: Path) -> None:
        container = make("sleep", "100", directory=small / "state")
        container.start()
        (small / "state/state.reserve").unlink()
        fill(small)
        os.kill(container.shim(), signal.SIGKILL)
        ended(container)
        until(lambda: container.status().phase == "exited")  # the kernel is killing it
        for _ in range(2):
            assert (container.status().phase, container.status().code) == ("exited", 137)


def test_a_shim_that_dies_while_it_is_waited_for(make: Any) -> None:
    container = make("sleep", "100")
    container.start()
    stream = container.attach()
    os.kill(container.shim(), signal.SIGKILL)
    assert container.wait(60) == 137
    assert stream.recv(1) == b""
    stream.close()
    for _ in range(2):
        assert container.status().error == "the shim ended before the container"
    with pytest.raises(NotRunningError):
        container.stop(timeout=0) if container.shim() else container.kill()
    shutil.rmtree(container.directory)


def test_a_shim_that_dies_before_the_start(make: Any) -> None:
    container = make("sleep", "100")
    os.kill(container.shim(), signal.SIGKILL)
    with pytest.raises(NotRunningError):
        container.start()
    assert container.status().phase == "created"
    shutil.rmtree(container.directory)


def test_many_refused_starts_leave_no_descriptor(make: Any) -> None:
    for _ in range(5):
        refused(make("nope"), 127, "not found")


def test_executions_that_cannot_run_leave_the_container_alone(box: Any, make: Any) -> None:
    container = make("sleep", "100")
    container.start()
    for wishes, code in (({"args": ("nope",)}, 127), ({"args": ("/etc",)}, 126), ({"user": "nosuch"}, 125)):
        spec = box.spec(*wishes.pop("args", ("true",)), **wishes)
        with pytest.raises(ContainerError) as found:
            container.execution(spec).start()
        assert found.value.code == code
    assert container.status().phase == "running"
    assert len(container.processes()) == 1
    container.stop(timeout=0)
