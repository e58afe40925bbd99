"""The daemon's process: how it starts, what it refuses, what each signal does, who may reach it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import docker
import httpx
import pytest

from tests.conftest import ROOT, User
from tests.daemons import Daemon, daemon, new_daemon
from tests.patience import until
from tests.shared import empty
from tests.sim.images.registries import authority, free_port

__all__ = ["daemon", "empty", "new_daemon"]

NewDaemon = Callable[..., Daemon]


def started(place: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Start a daemon that is expected not to start."""
    command = [sys.executable, "-m", "sim.cli", "daemon", "--data-root", str(place / "root"), *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_it_answers_the_docker_command_and_the_sdk(empty: Daemon) -> None:
    assert empty.output("version", "--format", "{{.Server.Platform.Name}} {{.Server.APIVersion}}") == "layerlab 1.50"
    client = empty.client()
    try:
        assert client.ping()
        assert client.info()["DockerRootDir"] == str(empty.root)
        assert client.info()["InitBinary"] == "docker-init"  # Docker's name for what --init runs
    finally:
        client.close()


@pytest.mark.parametrize("version", ["1.24", "1.41", "1.50"])
def test_it_speaks_older_versions_of_the_api(empty: Daemon, version: str) -> None:
    client = docker.DockerClient(base_url=empty.address, version=version)
    try:
        assert client.version()["MinAPIVersion"] == "1.24"
        assert client.images.list() == []
    finally:
        client.close()


def test_versions_that_it_does_not_speak_are_refused(empty: Daemon) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(empty.socket))) as client:
        old, new = client.get("http://d/v1.23/info"), client.get("http://d/v1.99/info")
    assert (old.status_code, new.status_code) == (400, 400)
    assert "client version 1.23 is too old" in old.json()["message"]
    assert "client version 1.99 is too new. Maximum supported API version is 1.50" in new.json()["message"]


def test_its_socket_is_for_root_and_a_group(empty: Daemon) -> None:
    assert stat.S_IMODE(empty.socket.stat().st_mode) == 0o660


def test_sigterm_ends_it_in_order(new_daemon: NewDaemon) -> None:
    daemon = new_daemon()
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
    assert "shutting down" in daemon.log


def test_open_streams_do_not_hold_the_end_up(daemon: Daemon) -> None:
    client = daemon.client()
    try:
        events = client.events()  # the head of its answer is there
        took = stopped(daemon)
        assert list(events) == []
        assert took < stopped(daemon.start()) + 4  # after five seconds it would be cut off
    finally:
        client.close()


def stopped(daemon: Daemon) -> float:
    """End a daemon in order; return the seconds that it took."""
    began = time.monotonic()
    assert daemon.stop() == 0
    return time.monotonic() - began


def test_one_data_root_has_one_daemon(daemon: Daemon, tmp_path: Path) -> None:
    done = started(daemon.place, "--host", f"unix://{tmp_path}/s.sock")
    assert done.returncode == 1
    assert f"another daemon (process {daemon.pid}) has this data root" in done.stderr
    assert daemon.answers()


def test_one_socket_has_one_daemon(daemon: Daemon, tmp_path: Path) -> None:
    done = started(tmp_path, "--host", daemon.address)
    assert done.returncode == 1
    assert "another daemon listens there" in done.stderr
    assert daemon.answers()


def test_a_killed_daemon_leaves_a_root_that_the_next_one_takes(new_daemon: NewDaemon) -> None:
    daemon = new_daemon()
    daemon.output("volume", "create", "kept")
    daemon.stop(signal.SIGKILL)
    daemon.start()
    assert daemon.output("volume", "ls", "-q") == "kept"


def test_the_number_of_the_process_is_written(new_daemon: NewDaemon, tmp_path: Path) -> None:
    daemon = new_daemon("--pidfile", str(tmp_path / "pid"))
    assert int((tmp_path / "pid").read_text()) == daemon.pid
    daemon.stop()
    assert not (tmp_path / "pid").exists()


# -- settings


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{\n  "debug": true\n  "labels": []\n}', "daemon.json:3: debug: invalid JSON"),
        ('{\n  "debug": true,\n  "colour": "red"\n}', "daemon.json:3: colour: this is no setting of the daemon"),
        ('{"debug": "yes"}', "daemon.json:1: debug: must be true or false"),
        ('{"data-root": "/x"}', "daemon.json:1: data-root: the setting is given both as a flag and in the file"),
        ('{"storage-driver": "aufs"}', "daemon.json:1: storage-driver: must be one of auto, devfuse"),
        ("[]", "daemon.json:1: it must hold a JSON object"),
    ],
)
def test_settings_that_make_no_sense_keep_it_from_starting(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "daemon.json"
    path.write_text(text)
    done = started(tmp_path, "--config-file", str(path), "--host", f"unix://{tmp_path}/s.sock")
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "root").exists()


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    done = started(tmp_path, "--config-file", str(tmp_path / "none.json"))
    assert (done.returncode, "there is no such file" in done.stderr) == (1, True)


def test_flags_are_shown_by_info(new_daemon: NewDaemon) -> None:
    daemon = new_daemon(
        *("--registry-mirror", "http://127.0.0.1:5999", "--insecure-registry", "lab.example:5000"),
        *("--insecure-registry", "10.1.0.0/16", "--label", "room=12", "--log-level", "warn", "--live-restore"),
    )
    shown = daemon.output("info")
    assert "Registry Mirrors:\n  http://127.0.0.1:5999/" in shown
    assert "lab.example:5000" in shown
    assert "10.1.0.0/16" in shown
    assert "Labels:\n  room=12" in shown
    assert "Live Restore Enabled: true" in shown


def test_sighup_takes_over_what_can_change(daemon: Daemon) -> None:
    client = daemon.client()
    try:
        since = time.time() - 1
        (daemon.place / "daemon.json").write_text(
            '{"registry-mirrors": ["http://127.0.0.1:5998"], "labels": ["a=b"], "storage-driver": "overlayfs"}'
        )
        os.kill(daemon.pid, signal.SIGHUP)

        def told() -> list[str]:
            events = client.events(since=since, until=time.time(), decode=True, filters={"type": "daemon"})
            return [event["Action"] for event in events]

        until(lambda: "reload" in told(), lambda: daemon.log)
        assert told() == ["reload"]
        assert client.info()["RegistryConfig"]["Mirrors"] == ["http://127.0.0.1:5998/"]
        assert client.info()["Labels"] == ["a=b"]
        assert "these settings need a restart of the daemon: storage-driver" in daemon.log
    finally:
        client.close()


def test_sighup_with_a_broken_file_changes_nothing(new_daemon: NewDaemon) -> None:
    daemon = new_daemon(start=False)
    (daemon.place / "daemon.json").write_text('{"labels": ["a=b"]}')
    daemon.start()
    (daemon.place / "daemon.json").write_text('{"labels": ["a=c"')
    os.kill(daemon.pid, signal.SIGHUP)
    until(lambda: "the settings stay as they are" in daemon.log)
    assert daemon.output("info", "--format", "{{json .Labels}}") == '["a=b"]'


# -- TCP


def test_tcp_without_tls_is_warned_of_loudly(new_daemon: NewDaemon) -> None:
    port = free_port()
    daemon = new_daemon("--host", f"tcp://127.0.0.1:{port}")
    assert "DON'T BIND ON ANY IP ADDRESS WITHOUT setting --tlsverify" in daemon.log
    client = docker.DockerClient(base_url=f"tcp://127.0.0.1:{port}")
    try:
        assert any("without encryption" in line for line in client.info()["Warnings"])
    finally:
        client.close()


def test_tls_lets_in_only_who_has_a_certificate(new_daemon: NewDaemon, tmp_path: Path) -> None:
    own, certificate, key = authority(tmp_path / "ca")
    port = free_port()
    new_daemon(
        *("--host", f"tcp://127.0.0.1:{port}", "--tlsverify", "--tlscacert", str(own)),
        *("--tlscert", str(certificate), "--tlskey", str(key)),
    )
    context = ssl.create_default_context(cafile=str(own))
    with httpx.Client(verify=context) as stranger, pytest.raises(httpx.HTTPError):
        stranger.get(f"https://127.0.0.1:{port}/_ping")
    context.load_cert_chain(certificate, key)
    with httpx.Client(verify=context) as known:
        assert known.get(f"https://127.0.0.1:{port}/_ping").text == "OK"
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{port}/_ping")


def test_tls_without_its_files_does_not_start(tmp_path: Path) -> None:
    done = started(tmp_path, "--host", "tcp://127.0.0.1:0", "--tlsverify", "--tlscert", str(tmp_path / "none.pem"))
    assert (done.returncode, "none.pem: cannot be read" in done.stderr) == (1, True)


# -- what it costs


def test_idle_it_takes_little_memory_and_no_time(daemon: Daemon) -> None:
    daemon.output("info")

    def ticks() -> int:
        fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def idle() -> bool:
        before = ticks()
        time.sleep(1)
        return ticks() - before <= 1

    until(idle)  # what the request began may go on for a while
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident < 80_000


def test_an_ordinary_user_has_a_daemon_of_their_own(user: User) -> None:
    code = """
import json, os, pathlib, signal, subprocess, sys, time, socket
home = pathlib.Path.home()
process = subprocess.Popen([sys.executable, "-m", "sim.cli", "daemon"], cwd=sys.argv[1],
                           env={**os.environ, "XDG_RUNTIME_DIR": str(home)}, stderr=subprocess.PIPE)
path = home / "layerlab" / "layerlab.sock"
end = time.monotonic() + 60
while time.monotonic() < end:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
        break
    except OSError:  # there is none yet, or nobody listens yet
        connection.close()
        time.sleep(0.05)
connection.sendall(b"GET /info HTTP/1.1\\r\\nHost: d\\r\\nConnection: close\\r\\n\\r\\n")
data = b""
while part := connection.recv(65536):
    data += part
info = json.loads(data.partition(b"\\r\\n\\r\\n")[2])
process.send_signal(signal.SIGTERM)
process.wait(20)
process.stderr.close()
print(json.dumps([info["DockerRootDir"], info["SecurityOptions"], process.returncode]))
"""
    root, options, status = json.loads(user.python(code, str(ROOT)))
    assert root == f"{user.home}/.local/share/layerlab"
    assert "name=rootless" in options
    assert status == 0


def test_the_file_says_what_flags_say(new_daemon: NewDaemon, tmp_path: Path) -> None:
    own, certificate, key = authority(tmp_path / "ca")
    port = free_port()
    daemon = new_daemon(start=False)
    said = {
        "pidfile": str(tmp_path / "pid"), "tlsverify": True, "tlscacert": str(own), "tlscert": str(certificate),
        "tlskey": str(key), "group": "0", "labels": ["a=b"],
    }  # fmt: skip
    (daemon.place / "daemon.json").write_text(json.dumps(said))
    daemon.flags = ["--host", f"tcp://127.0.0.1:{port}"]
    daemon.start()
    assert int((tmp_path / "pid").read_text()) == daemon.pid
    assert daemon.socket.stat().st_gid == 0
    context = ssl.create_default_context(cafile=str(own))
    context.load_cert_chain(certificate, key)
    with httpx.Client(verify=context) as known:
        assert known.get(f"https://127.0.0.1:{port}/info").json()["Labels"] == ["a=b"]
    path = str(daemon.place / "daemon.json")
    done = started(tmp_path, "--config-file", path, "--pidfile", "/other", "--host", f"unix://{tmp_path}/s.sock")
    assert "pidfile: the setting is given both as a flag and in the file" in done.stderr
