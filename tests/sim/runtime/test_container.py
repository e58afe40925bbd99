from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sim.runtime import CommandNotFoundError, NotRunningError, Probe, ProcessSpec
from sim.runtime.container import Container
from sim.runtime.log import LogOptions, read_log
from tests.patience import gone, until


@pytest.fixture
def place(tmp_path: Path) -> Path:
    # Longer than a socket's name may be, as directories with a digest in them are.
    path = tmp_path / ("d" * 64) / ("e" * 64)
    path.mkdir(parents=True)
    return path


@pytest.fixture
def made(place: Path) -> Iterator[list[Container]]:
    containers: list[Container] = []
    yield containers
    for container in containers:
        if container.status().phase == "created":
            container.abandon()
        else:
            container.stop(timeout=0)


def frames(stream: socket.socket) -> tuple[bytes, bytes]:
    """Read a stream to its end and take it apart."""
    stream.settimeout(20)
    data, texts = b"", {1: b"", 2: b""}
    while part := stream.recv(1 << 16):
        data += part
    while data:
        kind, length = struct.unpack_from(">BxxxI", data)
        texts[kind] += data[8 : 8 + length]
        data = data[8 + length :]
    return texts[1], texts[2]


def spec_of(rootfs: Path, *args: str) -> ProcessSpec:
    return ProcessSpec(args=args, rootfs=rootfs)


def test_attached_before_the_start_it_shows_all(rootfs: Path, place: Path, made: list[Container]) -> None:
    log = LogOptions(path=os.fspath(place / "log.json"))
    container = Container.create(place, spec_of(rootfs, "sh", "-c", "cat; echo err >&2; exit 4"), log=log, stdin="once")
    made.append(container)
    assert container.status().phase == "created"
    stream = container.attach(stdin=True)
    container.start()
    assert container.status().phase == "running"
    stream.sendall(b"hello\nworld")
    stream.shutdown(socket.SHUT_WR)
    assert frames(stream) == (b"hello\nworld", b"err\n")
    stream.close()
    assert container.wait(60) == 4
    status = container.status()
    assert (status.phase, status.code, status.pid) == ("exited", 4, 0)
    assert 0 < status.started < status.finished
    entries = [(entry.stream, entry.text) for entry in read_log(place / "log.json")]
    assert sorted(entries) == [("stderr", "err\n"), ("stdout", "hello\n"), ("stdout", "world")]
    assert not (place / "shim.sock").exists()


def test_it_outlives_its_maker(rootfs: Path, place: Path, made: list[Container]) -> None:
    script = f"""
        import os
        from pathlib import Path
        from sim.runtime import ProcessSpec
        from sim.runtime.container import Container
        spec = ProcessSpec(args=("sh", "-c", "read line; exit $line"), rootfs=Path({os.fspath(rootfs)!r}))
        Container.create(Path({os.fspath(place)!r}), spec, stdin="open").start()
        os.kill(os.getpid(), 9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=20)
    container = Container.open(place)
    made.append(container)
    assert container.status().phase == "running"
    with container.attach(stdin=True) as stream:
        stream.sendall(b"7\n")
        assert container.wait(60) == 7


def test_a_command_that_is_not_there(rootfs: Path, place: Path) -> None:
    container = Container.create(place, spec_of(rootfs, "nosuch"))
    with pytest.raises(CommandNotFoundError, match="executable file not found"):
        container.start()
    status = container.status()
    assert (status.phase, status.code) == ("exited", 127)
    assert "nosuch" in status.error


def test_one_that_was_never_started_is_abandoned(rootfs: Path, place: Path) -> None:
    container = Container.create(place, spec_of(rootfs, "true"))
    shim = json.loads((place / "state.json").read_text())["shim"]
    container.abandon()
    until(lambda: not Path(f"/proc/{shim}").exists())


def test_it_dies_with_its_shim_and_can_be_cleaned(rootfs: Path, place: Path) -> None:
    container = Container.create(place, spec_of(rootfs, "sleep", "1000"))
    container.start()
    pid = container.status().pid
    os.kill(json.loads((place / "state.json").read_text())["shim"], signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists())
    status = container.status()
    assert (status.phase, status.code) == ("exited", 137)
    assert container.wait() == 137


def test_stop_asks_first(rootfs: Path, place: Path, made: list[Container]) -> None:
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    container = Container.create(place, spec_of(rootfs, "sh", "-c", script))
    made.append(container)
    with container.attach() as stream:
        container.start()
        assert stream.recv(100).endswith(b"ready\n")
    assert container.stop(timeout=10) == 9


def test_stop_kills_in_the_end(rootfs: Path, place: Path, made: list[Container]) -> None:
    container = Container.create(place, spec_of(rootfs, "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"))
    made.append(container)
    container.start()
    began = time.monotonic()
    assert container.stop(timeout=0.3) == 137
    assert time.monotonic() - began >= 0.3
    with pytest.raises(NotRunningError):
        container.kill(signal.SIGTERM)


def test_exec_joins_the_world(rootfs: Path, place: Path, made: list[Container]) -> None:
    spec = replace(spec_of(rootfs, "sleep", "1000"), hostname="box")
    container = Container.create(place, spec)
    made.append(container)
    container.start()
    spaces = "for n in mnt pid net ipc uts; do readlink /proc/self/ns/$n; done"
    script = f"hostname; cat; grep CapBnd /proc/self/status; {spaces}; exit 3"
    ask = replace(spec, args=("sh", "-c", script))
    result = container.execution(ask).run(capture=True, input=b"typed\n", timeout=20)
    pid = container.status().pid
    expected = [os.readlink(f"/proc/{pid}/ns/{name}") for name in ("mnt", "pid", "net", "ipc", "uts")]
    assert result.code == 3
    assert result.stdout.decode().split() == ["box", "typed", "CapBnd:", "00000000a80425fb", *expected]
    with pytest.raises(CommandNotFoundError):
        container.execution(replace(spec, args=("nosuch",))).run()
    until(lambda: len(container.processes()) == 1)
    group = container.group()
    if group is not None:
        with container.execution(replace(spec, args=("sleep", "5"))) as other:
            other.start()
            assert other.pid in container.processes()


def test_who_minds_an_exec_is_not_seen_from_inside(rootfs: Path, place: Path, made: list[Container]) -> None:
    """It is in the container's namespaces, all but that of processes, and nobody may look into it."""
    made.append(Container.create(place, spec_of(rootfs, "sleep", "1000")))
    made[0].start()
    with made[0].execution(spec_of(rootfs, "sleep", "7")) as other:
        other.start()
        shim = int(Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[1])
        title = Path(f"/proc/{shim}/cmdline").read_text().rstrip("\0").split("\0")
        assert title == ["layerlab-shim", f"exec {made[0].status().pid}"]
        assert shim not in made[0].processes()
        seen = made[0].execution(spec_of(rootfs, "ps", "-o", "pid,args")).run(capture=True, timeout=20)
        assert {line.split(None, 1)[1] for line in seen.stdout.decode().splitlines()[1:]} == {
            "sleep 1000",
            "sleep 7",
            "ps -o pid,args",
        }
        assert os.stat(f"/proc/{shim}/environ").st_uid == 0  # as that of a process that cannot be dumped
        status = Path(f"/proc/{shim}/status").read_text()
        assert "\nNSpid:\t" in status
        assert len(status.partition("\nNSpid:\t")[2].partition("\n")[0].split()) == 1
    shim = made[0].shim()
    assert Path(f"/proc/{shim}/cmdline").read_text().rstrip("\0").split("\0") == ["layerlab-shim", os.fspath(place)]


def test_an_exec_ends_with_the_container(rootfs: Path, place: Path, made: list[Container]) -> None:
    made.append(Container.create(place, spec_of(rootfs, "sleep", "1000")))
    made[0].start()
    with made[0].execution(spec_of(rootfs, "sleep", "1000")) as other:
        other.start()
        assert made[0].stop(timeout=0) == 137
        assert other.wait(60) == 137


def test_exec_in_what_has_ended(rootfs: Path, place: Path) -> None:
    container = Container.create(place, spec_of(rootfs, "true"))
    container.start()
    container.wait(60)
    with pytest.raises(NotRunningError):
        container.execution(spec_of(rootfs, "true"))


def test_a_terminal_has_a_size_and_takes_keys(rootfs: Path, place: Path, made: list[Container]) -> None:
    script = "trap 'echo int; exit 6' INT; stty size; read -r line; echo got:$line; while :; do sleep 0.05; done"
    spec = replace(spec_of(rootfs, "sh", "-c", script), terminal=True)
    container = Container.create(place, spec, stdin="open")
    made.append(container)
    container.resize(33, 99)
    with container.attach(stdin=True) as stream:
        container.start()
        stream.sendall(b"key\n")
        seen = b""
        stream.settimeout(10)
        while b"got:key" not in seen:
            seen += stream.recv(1000)
        stream.sendall(b"\x03")
        while part := stream.recv(1000):
            seen += part
    assert b"33 99\r\n" in seen
    assert b"got:key\r\n" in seen
    assert b"int\r\n" in seen
    assert container.wait(60) == 6


def test_slow_viewer_loses_nothing(rootfs: Path, place: Path, made: list[Container]) -> None:
    container = Container.create(place, spec_of(rootfs, "sh", "-c", "seq 1 400000"))
    made.append(container)
    stream = container.attach()
    container.start()
    time.sleep(0.3)
    assert container.status().phase == "running"  # it waits for the viewer
    out, _ = frames(stream)
    stream.close()
    assert out == b"".join(b"%d\n" % number for number in range(1, 400001))
    assert container.wait(60) == 0


def test_a_viewer_that_goes_away_stops_nothing(rootfs: Path, place: Path, made: list[Container]) -> None:
    container = Container.create(place, spec_of(rootfs, "sh", "-c", "seq 1 400000; exit 3"))
    made.append(container)
    stream = container.attach()
    container.start()
    stream.close()
    assert container.wait(20) == 3


def test_a_bad_word_on_the_socket_is_no_harm(rootfs: Path, place: Path, made: list[Container]) -> None:
    container = Container.create(place, spec_of(rootfs, "sleep", "1000"))
    made.append(container)
    container.start()
    for words in (
        b"",
        b"\xff" * 100,
        struct.pack("=I", 5) + b"{bad}",
        struct.pack("=I", 2) + b"[]",
        struct.pack("=I", 9),
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            here = os.open(place, os.O_PATH)
            connection.connect(f"/proc/self/fd/{here}/shim.sock")
            os.close(here)
            connection.sendall(words)
    assert container.status().phase == "running"
    container.resize(5, 5)
    assert not (place / "shim.err").exists()


def test_who_may_speak_to_the_shim(rootfs: Path, place: Path, made: list[Container]) -> None:
    made.append(Container.create(place, spec_of(rootfs, "true")))
    assert (place / "shim.sock").stat().st_mode & 0o077 == 0


def test_signals_for_the_session_leave_the_shim(rootfs: Path, place: Path, made: list[Container]) -> None:
    container = Container.create(place, spec_of(rootfs, "sleep", "1000"))
    made.append(container)
    container.start()
    shim = json.loads((place / "state.json").read_text())["shim"]
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        os.kill(shim, number)
    time.sleep(0.05)
    assert container.status().phase == "running"


def test_many_who_wait(rootfs: Path, place: Path, made: list[Container]) -> None:
    container = Container.create(place, spec_of(rootfs, "sh", "-c", "read line; exit 5"), stdin="once")
    made.append(container)
    codes: list[int] = []
    waiting = [threading.Thread(target=lambda: codes.append(container.wait(20))) for _ in range(10)]
    for thread in waiting:
        thread.start()
    for _ in range(30):
        with pytest.raises(TimeoutError):
            container.wait(0.001)  # one who gives up
    stream = container.attach(stdin=True)
    container.start()
    stream.close()
    for thread in waiting:
        thread.join()
    assert codes == [5] * 10


def test_an_execution_that_lives_on(rootfs: Path, place: Path, made: list[Container]) -> None:
    container = Container.create(place, spec_of(rootfs, "sleep", "1000"))
    made.append(container)
    container.start()
    script = f"""
        import os
        from pathlib import Path
        from sim.runtime import Container, ProcessSpec
        lives, dies = (ProcessSpec(args=("sleep", word), rootfs=Path({os.fspath(rootfs)!r})) for word in ("55", "66"))
        container = Container.open(Path({os.fspath(place)!r}))
        one, other = container.execution(lives, lives=True), container.execution(dies)
        one.start()
        other.start()
        Path({os.fspath(place / "pids")!r}).write_text(f"{{one.pid}} {{other.pid}}")
        os.kill(os.getpid(), 9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=60)
    lives, dies = map(int, (place / "pids").read_text().split())
    until(lambda: gone(dies))
    assert not gone(lives)


def test_probes(rootfs: Path, place: Path, made: list[Container]) -> None:
    made.append(Container.create(place, spec_of(rootfs, "sleep", "100")))
    made[0].start()

    def probe(script: str, **wishes: float) -> Probe:
        return made[0].probe(spec_of(rootfs, "sh", "-c", script), timeout=wishes.get("timeout", 20), limit=20)

    descriptors = len(os.listdir("/proc/self/fd"))
    good = probe("echo one; echo two >&2; echo three")
    assert (good.code, good.output) == (0, b"one\ntwo\nthree\n")
    assert probe("exit 3").code == 3
    long = probe("yes | head -c 3000000; exit 1")
    assert (long.code, long.output) == (1, b"y\n" * 10)
    assert probe("sleep 77 & echo left").output == b"left\n"  # it is not waited for
    slow = probe("echo begun; sleep 88 & sleep 99", timeout=1.5)
    assert (slow.code, slow.output) == (None, b"begun\n")
    assert probe("yes", timeout=0.3).code is None
    commands = made[0].execution(spec_of(rootfs, "ps")).run(capture=True).stdout
    assert b"sleep 77" in commands
    assert b"sleep 88" not in commands
    assert b"sleep 99" not in commands
    with pytest.raises(CommandNotFoundError):
        made[0].probe(spec_of(rootfs, "nope"))
    assert len(os.listdir("/proc/self/fd")) == descriptors
