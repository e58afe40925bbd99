"""Where the last lines of a log begin, whatever their length and streams."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from sim.engine import logs

BOTH = frozenset(("stdout", "stderr"))


def written(path: Path, streams: list[str], sizes: list[int]) -> list[bytes]:
    """Write a log; return its lines."""
    lines = [
        json.dumps(
            {"log": "x" * size + "\n", "stream": stream, "time": "2026-01-01T00:00:00.000000000Z"},
            separators=(",", ":"),
        ).encode()
        + b"\n"
        for stream, size in zip(streams, sizes, strict=True)
    ]
    path.write_bytes(b"".join(lines))
    return lines


@pytest.mark.parametrize("piece", [64, 100, 1 << 20])
def test_the_last_lines_are_found_from_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(logs, "_PIECE", piece)
    chance = random.Random(3)
    path = tmp_path / "log"
    streams = [chance.choice(("stdout", "stderr")) for _ in range(60)]
    lines = written(path, streams, [chance.choice((0, 1, 30, 400)) for _ in streams])
    for wanted in (BOTH, frozenset(("stdout",)), frozenset(("stderr",))):
        those = [number for number, stream in enumerate(streams) if stream in wanted]
        for count in (0, 1, 2, 7, len(those), len(those) + 5):
            start, found = logs._last_lines(path, count, wanted)
            assert found == min(count, len(those))
            if count == 0:
                assert start == path.stat().st_size
            elif count <= len(those):
                assert start == sum(map(len, lines[: those[-count]]))
            else:
                assert start == 0


def test_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    assert logs._last_lines(path, 5, BOTH) == (0, 0)
