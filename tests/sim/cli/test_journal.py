"""The command `journal`."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from fusefs import Effect, EffectKind, JournalLayer, Kind, Operation, Recorder
from sim.cli.main import run

OPERATIONS = (
    Operation(Kind.LOOKUP, "/etc", layer=1, start=1_000_000_000),
    Operation(
        Kind.OPEN,
        "/etc/passwd",
        layer=0,
        effects=(Effect(EffectKind.COPIED_UP, "/etc/passwd", origin=1, size=911),),
        start=1_500_000_000,
    ),
    Operation(Kind.WRITE, "/etc/passwd", layer=0, size=40, start=1_600_000_000),
    Operation(Kind.UNLINK, "/bin/ls", layer=1, error=13, start=1_700_000_000),
    Operation(Kind.RENAME, "/a\n", layer=0, target="/etcetera\udcff", start=1_800_000_000),
)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    file = tmp_path / "journal.db"
    layers = [JournalLayer(0, "rw", "RW layer", Path("/u")), JournalLayer(1, "ro", "sha256:" + "cd" * 32, Path("/l"))]
    with Recorder(file, layers) as record:
        for operation in OPERATIONS:
            record(operation)
    return file


def lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    assert run(["journal", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_lines_for_people(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = lines(capsys, journal)
    assert len(said) == 7
    assert said[0].split() == ["layer", "0", "RW", "RW", "layer", "/u"]
    assert "cdcdcdcdcdcd" in said[1]
    assert said[2].split() == ["1", "0.0000", "lookup", "1", "/etc"]
    assert said[3].split()[:5] == ["2", "0.5000", "open", "0", "/etc/passwd"]
    assert said[3].endswith("→ copied up from layer 1, 911 B")
    assert "EACCES" in said[5]
    assert said[6].endswith(r"/a\n /etcetera\udcff")


def test_json_gives_all_back(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = [json.loads(line) for line in lines(capsys, "--json", journal)]
    assert [one["number"] for one in said] == [1, 2, 3, 4, 5]
    assert said[1]["effects"][0] == {"kind": "copied up", "path": "/etc/passwd", "origin": 1, "size": 911, "target": ""}
    assert said[4]["target"] == "/etcetera\udcff"


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["--changes"], [2]),
        (["--errors"], [4]),
        (["--path", "/etc"], [1, 2, 3]),
        (["--path", "/etc/"], [1, 2, 3]),
        (["--path", "/"], [1, 2, 3, 4, 5]),
        (["--kind", "lookup", "--kind", "write"], [1, 3]),
    ],
)
def test_choosing(journal: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], numbers: list[int]) -> None:
    assert [json.loads(line)["number"] for line in lines(capsys, "--json", *arguments, journal)] == numbers


def test_follow_shows_what_comes_and_ends_with_the_mount(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "journal.db"
    record = Recorder(file, [JournalLayer(1, "ro", "base", Path("/l"))], flush_interval=0.01)
    record(OPERATIONS[0])

    def later() -> None:
        time.sleep(0.2)
        record(OPERATIONS[3])
        record.close()

    thread = threading.Thread(target=later)
    thread.start()
    try:
        said = lines(capsys, "--follow", "--json", file)
    finally:
        thread.join()
    assert [json.loads(line)["kind"] for line in said] == ["lookup", "unlink"]
