"""Contexts and engines by ssh: what is said compared with the docker command, and whom a command is for.

`contexts.json` holds what the docker command (28.2.2) said, line by line of `contexts.txt`; where it is installed in
that version it is asked again. `LAYERLAB_GOLDEN=write` writes the file anew.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.cli.client import CannotConnectError, Engine
from sim.cli.client.contexts import Context, Contexts, chosen
from sim.cli.client.far import words_for
from sim.cli.client.hosts import choose, parse
from sim.cli.failure import Failure
from sim.cli.main import run
from tests.conftest import ROOT
from tests.sim.cli.fake import FakeEngine, fake_engine
from tests.sim.cli.test_like_docker import VERSION

HERE = Path(__file__).parent
GOLDEN = HERE / "contexts.json"
LINES = (HERE / "contexts.txt").read_text().splitlines()
_VARIABLES = ("LAYERLAB_HOST", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "LAYERLAB_SSH_COMMAND")

Said = list[tuple[str, str, int]]


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the directory of the user's config file, which is not there."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setattr("sim.engine.places.default_host", lambda: "unix:///var/run/docker.sock")
    return tmp_path / "config"


def plain(out: str, err: str, status: int, config: Path) -> tuple[str, str, int]:
    """Return what was said without what is another's name or place."""
    for mine, word in ((str(config), "CONFIG"), ("layerlab", "docker")):
        out, err = out.replace(mine, word), err.replace(mine, word)
    return "\n".join(line.rstrip() for line in out.splitlines()), err, status


def docker_says(config: Path) -> Said:
    found = []
    for line in LINES:
        done = subprocess.run(["docker", *shlex.split(line)], capture_output=True, text=True, check=False)
        found.append(plain(done.stdout, done.stderr, done.returncode, config))
    return found


def golden() -> Said:
    return [(out, err, status) for out, err, status in json.loads(GOLDEN.read_text())]


def test_a_session_is_as_dockers(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, expected in zip(LINES, golden(), strict=True):
        status = run(shlex.split(line))
        said = capsys.readouterr()
        assert plain(said.out, said.err, status, config) == expected, line


def test_what_is_golden_is_what_docker_says(config: Path) -> None:
    if shutil.which("docker") is None:
        pytest.skip("needs the docker command; install docker.io")
    version = subprocess.run(
        ["docker", "version", "-f", "{{.Client.Version}}"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if version != VERSION:
        pytest.skip(f"needs the docker command {VERSION}, not {version}")
    said = docker_says(config)
    if os.environ.get("LAYERLAB_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    assert said == golden()


def test_each_command_finds_the_others_contexts(config: Path, tmp_path: Path) -> None:
    if shutil.which("docker") is None:
        pytest.skip("needs the docker command; install docker.io")
    with fake_engine(tmp_path) as fake:
        subprocess.run(["docker", "context", "create", "theirs", "--docker", f"host={fake.url}"], check=True)
        subprocess.run(["docker", "context", "use", "theirs"], check=True)
        assert choose({}).url == fake.url
        assert run(["ps", "-q"]) == 0
        assert run(["context", "create", "ours", "--docker", f"host={fake.url}"]) == 0
        done = subprocess.run(["docker", "-c", "ours", "ps", "-q"], capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) > 0
    assert (config / "config.json").stat().st_mode & 0o777 == 0o600


def test_whom_a_command_is_for(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = Contexts({})
    for name in ("first", "second", "third"):
        contexts.keep(Context(name, host=f"unix:///{name}"))
    assert (chosen({}), choose({}).named) == ("default", False)
    contexts.use("first")
    assert (chosen({}), choose({}).url, choose({}).named) == ("first", "unix:///first", True)
    monkeypatch.setenv("DOCKER_CONTEXT", "second")
    assert choose({}).url == "unix:///second"
    monkeypatch.setenv("DOCKER_HOST", "unix:///host")
    assert (chosen({}), choose({}).url) == ("default", "unix:///host")
    assert choose({"context_name": "third"}).url == "unix:///third"
    assert choose({"context_name": "default"}).url == "unix:///host"
    assert choose({"host": ["unix:///option"]}).url == "unix:///option"
    with pytest.raises(Failure, match="cannot specify both --host and --context"):
        choose({"host": ["unix:///option"], "context_name": "third"})
    with pytest.raises(Failure, match='Failed to initialize: unable to resolve docker endpoint: context "none"'):
        choose({"context_name": "none"})


def test_the_other_settings_of_the_config_file_stay(config: Path) -> None:
    config.mkdir()
    (config / "config.json").write_text('{"auths": {"r": {"auth": "eDp5"}}, "psFormat": "{{.ID}}"}')
    contexts = Contexts({})
    contexts.keep(Context("lab", host="unix:///lab"))
    contexts.use("lab")
    found = json.loads((config / "config.json").read_text())
    assert found == {"auths": {"r": {"auth": "eDp5"}}, "psFormat": "{{.ID}}", "currentContext": "lab"}
    contexts.use("default")
    assert "currentContext" not in json.loads((config / "config.json").read_text())


def test_certificates_of_a_context_are_used(config: Path, tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"-----BEGIN {name}")
    wish = ",".join(["host=tcp://far:2376", *(f"{name}={tmp_path / name}" for name in ("ca", "cert", "key"))])
    assert run(["context", "create", "far", "--docker", wish]) == 0
    tls = choose({"context_name": "far"}).tls
    assert tls is not None
    assert tls.verify
    assert [Path(path).read_text() for path in tls[1:]] == [f"-----BEGIN {name}" for name in ("ca", "cert", "key")]
    assert Path(tls.key).stat().st_mode & 0o777 == 0o600
    assert run(["context", "update", "far", "--docker", "host=tcp://far:2376,skip-tls-verify=true"]) == 0
    tls = choose({"context_name": "far"}).tls
    assert tls == (False, "", "", "")
    assert run(["context", "rm", "far"]) == 0
    assert list(config.rglob("*.pem")) == []


# -- ssh


@pytest.fixture
def ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeEngine]:
    """Return an engine that is reached by a program `ssh` that stays on this machine."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with fake_engine(tmp_path) as fake:
        (programs / "ssh").write_text(
            "#!/bin/sh\n"
            f'echo "$@" >> {tmp_path}/called\n'
            'while [ "$1" != -- ]; do shift; done; shift 2\n'
            f"export DOCKER_HOST={fake.url} PYTHONPATH={ROOT}\n"
            'exec sh -c "$*"\n'
        )
        (programs / "docker").write_text(f'#!/bin/sh\nexec {sys.executable} -m sim.cli "$@"\n')
        for path in programs.iterdir():
            path.chmod(0o755)
        yield fake


def test_an_engine_is_reached_by_ssh(ssh: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-H", "ssh://me@far:22", "ps", "-q"]) == 0
    assert len(capsys.readouterr().out.split()) > 0
    assert ("GET", "/containers/json") in [(method, path) for method, path, *_ in ssh.requests]
    called = (tmp_path / "called").read_text().splitlines()
    assert called == ["-o ConnectTimeout=30 -T -l me -p 22 -- far docker system dial-stdio"]


def test_what_the_other_machine_starts_can_be_chosen(
    ssh: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERLAB_SSH_COMMAND", f"{sys.executable} -m sim.cli system dial-stdio")
    assert run(["context", "create", "far", "--docker", "host=ssh://far"]) == 0
    assert run(["-c", "far", "images", "-q"]) == 0
    assert (tmp_path / "called").read_text().endswith("-m sim.cli system dial-stdio\n")


def test_the_docker_command_reaches_an_engine_through_ours(ssh: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.environ["PATH"].partition(":")[2]
    program = shutil.which("docker", path=path)
    if program is None:
        pytest.skip("needs the docker command; install docker.io")
    done = subprocess.run([program, "-H", "ssh://far", "ps", "-q"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) > 0


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo no such host >&2; exit 255", "has exited with exit status 255, make sure the URL is valid, and Docker"),
        ("cat > /dev/null & exec >&-; wait", "error during connect"),
    ],
)
def test_a_way_that_fails_is_told(script: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    engine = Engine(parse("ssh://far"))
    with pytest.raises(CannotConnectError, match=text):
        engine.ping()
    engine.close()


def test_a_machine_without_ssh_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotConnectError, match='exec: "ssh": executable file not found in \\$PATH'):
        Engine(parse("ssh://far")).ping()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ssh://far", "-T -- far docker system dial-stdio"),
        ("ssh://me@[::1]:2222", "-T -l me -p 2222 -- ::1 docker system dial-stdio"),
        ("ssh://Far/run/x.sock", "-T -- Far docker --host unix:///run/x.sock system dial-stdio"),
    ],
)
def test_the_words_of_ssh(text: str, words: str) -> None:
    assert " ".join(words_for(text)).removeprefix("ssh -o ConnectTimeout=30 ") == words


@pytest.mark.parametrize("text", ["ssh://", "ssh://a:b@far", "ssh://far?x=y", "ssh://far#x", "ssh://far:nonsense"])
def test_hosts_of_ssh_that_cannot_be(text: str) -> None:
    with pytest.raises(Failure):
        parse(text)


def test_the_context_in_use_is_told(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fake_engine(tmp_path) as fake:
        Contexts({}).keep(Context("lab", host=fake.url))
        assert run(["-c", "lab", "version", "-f", "{{.Client.Context}}"]) == 0
        assert run(["-H", fake.url, "version", "-f", "{{.Client.Context}}"]) == 0
        assert capsys.readouterr().out.split() == ["lab", "default"]
        assert run(["-c", "lab", "info"]) == 0
        assert " Context:    lab\n" in capsys.readouterr().out
