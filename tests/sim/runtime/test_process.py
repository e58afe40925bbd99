from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sim.runtime import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ContainerError,
    Process,
    ProcessSpec,
    Result,
    UnknownUserError,
    end_zygote,
)
from sim.runtime.zygote import Zygote, zygote
from tests.patience import gone, until


def run(rootfs: Path, *args: str, **wishes: object) -> Result:
    spec = ProcessSpec(args=args, rootfs=rootfs, **wishes)  # type: ignore[arg-type]
    return Process(spec).run(capture=True, timeout=20)


def sh(rootfs: Path, script: str, **wishes: object) -> str:
    result = run(rootfs, "sh", "-c", script, **wishes)
    assert result.code == 0, result.stderr
    return result.stdout.decode()


def test_streams_are_apart_and_status_is_kept(rootfs: Path) -> None:
    result = run(rootfs, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")


def test_input_is_read_to_its_end(rootfs: Path) -> None:
    data = os.urandom(300_000)
    spec = ProcessSpec(args=("cat",), rootfs=rootfs)
    assert Process(spec).run(capture=True, input=data, timeout=20).stdout == data


def test_killed_by_a_signal_is_128_and_more(rootfs: Path) -> None:
    with Process(ProcessSpec(args=("sleep", "60"), rootfs=rootfs)) as process:
        process.start()
        process.signal(signal.SIGKILL)
        assert process.wait(10) == 137


@pytest.mark.parametrize(
    ("command", "kind", "code", "text"),
    [
        ("nosuch", CommandNotFoundError, 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", CommandNotFoundError, 127, 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("/etc", CommandNotExecutableError, 126, 'exec: "/etc": is a directory'),
        ("/etc/passwd", CommandNotExecutableError, 126, 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_a_command_that_cannot_run(
    rootfs: Path, command: str, kind: type[ContainerError], code: int, text: str
) -> None:
    with pytest.raises(kind) as caught:
        run(rootfs, command)
    assert caught.value.code == code
    assert str(caught.value) == text


def test_the_interpreter_of_a_script_is_missing(rootfs: Path) -> None:
    script = rootfs / "bin/script"
    script.write_text("#!/no/such/thing\n")
    script.chmod(0o755)
    with pytest.raises(CommandNotFoundError, match="exec /bin/script: no such file or directory"):
        run(rootfs, "/bin/script")


def test_an_unknown_user(rootfs: Path) -> None:
    with pytest.raises(UnknownUserError, match="unable to find user nobody: no matching entries in passwd file"):
        run(rootfs, "true", user="nobody")


def test_its_world_is_its_own(rootfs: Path) -> None:
    text = sh(rootfs, "hostname; echo $$; echo /proc/[0-9]*; ls /sys/class/net", hostname="box")
    assert text.split() == ["box", "1", "/proc/1", "lo"]


def test_it_is_killed_when_its_caller_dies(rootfs: Path, tmp_path: Path) -> None:
    script = f"""
        import os, sys
        from pathlib import Path
        from sim.runtime import Process, ProcessSpec
        process = Process(ProcessSpec(args=("sleep", "1234"), rootfs=Path({os.fspath(rootfs)!r})))
        process.start()
        print(process.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, timeout=20)
    pid = int(done.stdout)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.01)


def test_a_time_out_kills(rootfs: Path) -> None:
    process = Process(ProcessSpec(args=("sleep", "60"), rootfs=rootfs))
    with pytest.raises(TimeoutError):
        process.run(capture=True, timeout=0.2)
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_terminal_is_one(rootfs: Path) -> None:
    result = run(rootfs, "sh", "-c", "tty; test -c /dev/console && echo console; echo $TERM", terminal=True)
    assert result.stdout.decode().split() == ["/dev/pts/0", "console", "xterm"]


def test_init_reaps_and_passes_signals_on(rootfs: Path) -> None:
    script = "trap 'echo got; exit 5' TERM; (sleep 0.1 &) ; echo ready; while :; do sleep 0.05; done"
    spec = ProcessSpec(args=("sh", "-c", script), rootfs=rootfs, init=True)
    out, sink = os.pipe()
    with Process(spec) as process:
        process.start(stdout=sink)
        os.close(sink)
        assert os.read(out, 6) == b"ready\n"
        process.signal(signal.SIGTERM)
        assert process.wait(10) == 5
    assert os.read(out, 100) == b"got\n"
    os.close(out)


def test_it_works_with_many_descriptors_open(rootfs: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        assert run(rootfs, "sh", "-c", "echo $(ls /proc/self/fd | wc -l)").stdout == b"4\n"
        assert run(rootfs, "tty", terminal=True).code == 0
    finally:
        for each in opened:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_after_the_zygote_died_there_is_another(rootfs: Path) -> None:
    assert run(rootfs, "true").code == 0
    before = zygote().pid
    with Process(ProcessSpec(args=("sleep", "1000"), rootfs=rootfs)) as process:
        process.start()
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while zygote().pid == before:
            assert time.monotonic() < deadline
        assert run(rootfs, "true").code == 0
        process.signal(signal.SIGKILL)  # what runs goes on
        assert process.wait(5) == 137


@pytest.fixture
def dying_zygote() -> Iterator[None]:
    """Stop the zygote, so that it forks nothing it is asked for, and kill it a moment later."""
    killed = threading.Event()
    dying = zygote()
    os.kill(dying.pid, signal.SIGSTOP)

    def kill() -> None:
        until(lambda: waiting(dying))
        os.kill(dying.pid, signal.SIGKILL)
        killed.set()

    threading.Thread(target=kill, daemon=True).start()
    yield
    assert killed.wait(10)


def waiting(asked: Zygote) -> bool:
    """Tell whether something is on its way to a zygote that has not been taken."""
    left = bytearray(4)
    fcntl.ioctl(asked._socket, termios.TIOCOUTQ, left)
    return any(left)


def test_what_a_killed_zygote_has_not_forked_the_next_one_does(rootfs: Path, dying_zygote: None) -> None:
    with ThreadPoolExecutor() as pool:
        results = [pool.submit(run, rootfs, "echo", "hello") for _ in range(4)]
        assert [each.result().stdout for each in results] == [b"hello\n"] * 4


def test_what_a_stopped_zygote_does_not_fork_the_next_one_does(rootfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.runtime.zygote._PATIENCE", 0.1)
    assert run(rootfs, "sleep", "0.5").code == 0  # one that is only slow is waited for
    stopped = zygote().pid
    os.kill(stopped, signal.SIGSTOP)
    with ThreadPoolExecutor() as pool:
        results = [pool.submit(run, rootfs, "echo", "hello") for _ in range(4)]
        assert [each.result(20).stdout for each in results] == [b"hello\n"] * 4
    assert zygote().pid != stopped


def test_a_zygote_that_runs_is_not_taken_for_a_stopped_one(rootfs: Path) -> None:
    assert run(rootfs, "true").code == 0
    running = zygote()
    running.end_if_stopped()
    os.kill(running.pid, signal.SIGSTOP)
    os.kill(running.pid, signal.SIGCONT)
    running.end_if_stopped()
    assert run(rootfs, "true").code == 0
    assert zygote() is running


def test_it_is_no_zygote_from_the_moment_it_is_killed(rootfs: Path) -> None:
    for _ in range(2):
        assert run(rootfs, "true").code == 0
        os.kill(zygote().pid, signal.SIGKILL)


def ahead() -> list[int]:
    """Return the processes that the zygote has forked ahead."""
    pid = zygote().pid
    found = []
    for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):  # it has just ended
            if "layerlab-ahead" in Path(f"/proc/{each}/comm").read_text():
                found.append(int(each))
    return found


def test_one_is_forked_ahead_and_used(rootfs: Path) -> None:
    assert run(rootfs, "true").code == 0
    until(ahead)
    (waiting,) = ahead()
    with Process(ProcessSpec(args=("sleep", "60"), rootfs=rootfs)) as process:
        process.start()
        assert "layerlab-shim" in Path(f"/proc/{waiting}/cmdline").read_text()
        until(lambda: ahead() and waiting not in ahead())
    end_zygote()
    until(lambda: gone(waiting))


def test_one_that_was_forked_ahead_may_be_killed_and_ends_with_the_zygote(rootfs: Path) -> None:
    assert run(rootfs, "true").code == 0
    until(ahead)
    (killed,) = ahead()
    os.kill(killed, signal.SIGKILL)
    until(lambda: gone(killed))
    assert run(rootfs, "echo", "hello").stdout == b"hello\n"
    until(ahead)
    (waiting,) = ahead()
    end_zygote()
    until(lambda: gone(waiting))


def test_a_killed_zygote_is_let_go_of(rootfs: Path) -> None:
    assert run(rootfs, "true").code == 0
    killed = zygote()
    os.kill(killed.pid, signal.SIGKILL)
    end_zygote()
    assert not Path(f"/proc/{killed.pid}").exists()  # not even as a zombie


def test_a_forked_caller_gets_its_own(rootfs: Path) -> None:
    assert run(rootfs, "true").code == 0
    theirs = zygote().pid
    out, sink = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            code = run(rootfs, "true").code
            os.write(sink, f"{code} {zygote().pid != theirs}".encode())
            end_zygote()
        finally:
            os._exit(0)
    os.close(sink)
    os.waitpid(child, 0)
    assert os.read(out, 100) == b"0 True"
    os.close(out)


def test_a_shell_leaves_nothing_open_at_its_end(rootfs: Path) -> None:
    script = f"""
        from pathlib import Path
        from sim.runtime import Process, ProcessSpec
        print(Process(ProcessSpec(args=("true",), rootfs=Path({os.fspath(rootfs)!r}))).run(capture=True).code)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)], capture_output=True, timeout=20
    )
    assert (done.stdout, done.stderr) == (b"0\n", b"")


def title(pid: int) -> list[str]:
    """Return the words that `ps` shows of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text().removesuffix("\0").split("\0")


def test_init_shows_the_command_and_nothing_of_the_host(rootfs: Path) -> None:
    script = "cat /proc/1/comm; tr '\\0' ' ' < /proc/1/cmdline; echo 0"
    result = run(rootfs, "sh", "-c", script, init=True, privileged=os.geteuid() == 0)
    name, shown = result.stdout.decode().split("\n", 1)
    assert name == "docker-init"
    assert shown == f"/sbin/docker-init -- sh -c {script} 0\n"
    assert sys.executable not in shown
    if os.geteuid() == 0:  # another may look into no process that has come to the container from outside
        environment = run(rootfs, "sh", "-c", "tr -d '\\0' < /proc/1/environ", init=True, privileged=True)
        assert environment.stdout == b""


def test_processes_on_the_host_say_what_they_are_for(rootfs: Path, tmp_path: Path) -> None:
    with Process(ProcessSpec(args=("sleep", "100"), rootfs=rootfs)) as process:
        process.start()
        shim = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert title(shim) == ["layerlab-shim", "run"]
        assert title(zygote().pid) == ["layerlab-zygote"]


def test_a_title_longer_than_its_room_is_cut(rootfs: Path) -> None:
    with Process(ProcessSpec(args=("sh", "-c", "sleep 100", *["x" * 100] * 100), rootfs=rootfs, init=True)) as process:
        process.start()
        assert title(process.pid)[:5] == ["/sbin/docker-init", "--", "sh", "-c", "sleep 100"]
        assert 1000 < len("".join(title(process.pid))) < 5000
        if os.geteuid() == 0:  # another may not look into it at all
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            assert not environment.strip(b"\0")
