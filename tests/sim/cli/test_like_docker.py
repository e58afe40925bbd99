"""What the command prints and asks, compared with what the docker command does, word by word.

`golden.json` holds what the docker command (28.2.2) printed and asked of the same engine, which is made of recorded
answers. Where the docker command is installed in that version, a test has it do the same again, so that what is golden
stays true. `LAYERLAB_GOLDEN=write` writes the file anew.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.cli.main import run
from tests.sim.cli.fake import FakeEngine, fake_engine

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.json"
COMMANDS = [line for line in (HERE / "commands.txt").read_text().splitlines() if line and not line.startswith("#")]
VERSION = "28.2.2"

#: Moments that are so and so long ago.
MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ| \d\d:\d\d:\d\d \+0000 UTC)")


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("LAYERLAB_HOST", "DOCKER_HOST", "DOCKER_API_VERSION", "UNSET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FROM_HERE", "here")
    work = tmp_path / "work"
    work.mkdir()
    (work / "Dockerfile").write_text("FROM clia/busybox:1\nRUN exit 3\n")
    (work / "variables").write_text("# comment\nA=1\nFROM_HERE\nUNSET\n")
    os.utime(work / "Dockerfile", (1e9, 1e9))
    monkeypatch.chdir(work)
    with fake_engine(tmp_path) as fake:
        yield fake


def split(line: str) -> tuple[list[str], str]:
    """Return a line's words, and what comes in on standard input: what stands behind `<<<`."""
    text, _, given = line.partition(" <<< ")
    return shlex.split(text), given + "\n" if given else ""


def plain(value: Any) -> Any:
    """Leave away what is empty: whether it is said or left away makes no difference to an engine."""
    if isinstance(value, dict):
        found = {key: plain(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in (None, "", 0, False, [], {})}
    return [plain(item) for item in value] if isinstance(value, list) else value


def asked(engine: FakeEngine) -> list[Any]:
    """Return what was asked; archives are only known to be there."""
    found: list[list[Any]] = []
    for method, path, query, body in engine.requests:
        body = "(data)" if isinstance(body, str) and body else plain(body)
        query = [pair for pair in query if not pair[1].isdigit() or pair[0] not in ("since", "until")]
        found.append([method, path, [list(pair) for pair in query], body])
    # The docker command asks for several things at once, and for plugins, which nobody here has.
    return sorted((one for one in found if not one[1].startswith("/plugins/") and one[1] != "/info"), key=json.dumps)


def record(out: str, err: str, status: int, engine: FakeEngine) -> dict[str, Any]:
    place = str(engine.path.parent)
    out = MOMENT.sub("MOMENT", out)
    return {
        "out": out.replace(place, "PLACE"),
        "err": err.replace(place, "PLACE")
        .replace("docker: ", "layerlab: ")
        .replace("'docker ", "'layerlab ")
        .replace("command: docker ", "command: layerlab "),
        "status": status,
        "asked": json.loads(json.dumps(asked(engine)).replace(place, "PLACE")),
    }


def ours(line: str, engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    words, given = split(line)
    read, write = os.pipe()
    os.write(write, given.encode())
    os.close(write)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        status = run(["--host", engine.url, *words])
    said = capsys.readouterr()
    return record(said.out, said.err, status, engine)


def theirs(line: str, engine: FakeEngine) -> Any:
    words, given = split(line)
    done = subprocess.run(
        ["docker", "--host", engine.url, *words],
        input=given.encode(),
        capture_output=True,
        check=False,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    err = "\n\n".join(part for part in done.stderr.decode().split("\n\n") if not part.startswith("DEPRECATED"))
    found = record(done.stdout.decode(), err, done.returncode, engine)
    for part in ("out", "err"):
        found[part] = found[part].replace("Usage:  docker", "Usage:  layerlab")
    return found


def golden() -> Any:
    return json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}


@pytest.mark.parametrize("line", COMMANDS)
def test_as_the_docker_command(
    line: str, engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ours(line, engine, capsys, monkeypatch) == golden()[line]


def test_what_is_golden_is_what_the_docker_command_does(engine: FakeEngine) -> None:
    program = shutil.which("docker")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False) if program else None
    if said is None or f" {VERSION}," not in said.stdout:
        pytest.skip(f"the docker command {VERSION} is not installed: `docker --version` says so")
    writing = os.environ.get("LAYERLAB_GOLDEN") == "write"
    # All of them take half a minute; each run of the tests tries some, and other ones.
    chosen = COMMANDS if writing else COMMANDS[os.getpid() % 8 :: 8]
    found = {}
    for line in chosen:
        engine.requests.clear()
        found[line] = theirs(line, engine)
    if writing:
        GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    known = golden()
    assert {line: known.get(line) for line in chosen} == found


def test_every_golden_command_is_tried() -> None:
    assert list(golden()) == COMMANDS
