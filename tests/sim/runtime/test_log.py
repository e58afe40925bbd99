from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.runtime.log import LogOptions, LogWriter, read_log


def write(place: Path, *parts: tuple[str, bytes], **options: int) -> list[tuple[str, str]]:
    writer = LogWriter(LogOptions(os.fspath(place / "log"), **options))
    for stream, data in parts:
        writer.write(stream, data)
    writer.close()
    return [(entry.stream, entry.text) for entry in read_log(place / "log", options.get("max_files", 1))]


def test_lines_are_put_together(tmp_path: Path) -> None:
    parts = (("stdout", b"on"), ("stderr", b"err\n"), ("stdout", b"e\ntwo\nend"))
    assert write(tmp_path, *parts) == [("stderr", "err\n"), ("stdout", "one\n"), ("stdout", "two\n"), ("stdout", "end")]


def test_the_format_is_dockers(tmp_path: Path) -> None:
    write(tmp_path, ("stdout", "größe <&>\r\n".encode()))
    (line,) = (tmp_path / "log").read_text().splitlines()
    entry = json.loads(line)
    assert list(entry) == ["log", "stream", "time"]
    assert entry["log"] == "größe <&>\r\n"
    assert len(entry["time"]) == len("2017-07-14T02:40:00.000000042Z")


def test_a_long_line_is_cut_where_docker_cuts_it(tmp_path: Path) -> None:
    texts = [text for _, text in write(tmp_path, ("stdout", b"x" * 40000 + b"\n"))]
    assert [len(text) for text in texts] == [16384, 16384, 7233]
    assert "".join(texts) == "x" * 40000 + "\n"


def test_what_is_no_text_is_replaced(tmp_path: Path) -> None:
    assert write(tmp_path, ("stdout", b"a\xff\xfeb\n")) == [("stdout", "a\ufffd\ufffdb\n")]


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_nothing_is_lost_however_it_comes(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    place = tmp_path_factory.mktemp("log")
    clean = [part.replace(b"\xff", b"").decode("latin-1").encode() for part in parts]
    found = write(place, *(("stdout", part) for part in clean))
    assert "".join(text for _, text in found) == b"".join(clean).decode()


def test_rotation(tmp_path: Path) -> None:
    lines = [(("stdout", b"%03d " % number + b"." * 90 + b"\n")) for number in range(100)]
    found = write(tmp_path, *lines, max_size=2000, max_files=3)
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1", "log.2"]
    assert all((tmp_path / name).stat().st_size <= 2000 for name in os.listdir(tmp_path))
    numbers = [int(text[:3]) for _, text in found]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) > 20


def test_rotation_to_one_file(tmp_path: Path) -> None:
    lines = [("stdout", b"." * 90 + b"\n")] * 50
    write(tmp_path, *lines, max_size=1000, max_files=1)
    assert os.listdir(tmp_path) == ["log"]
    assert (tmp_path / "log").stat().st_size <= 1000


@pytest.mark.usefixtures("needs_root")
def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "full"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", place], check=True)
    try:
        writer = LogWriter(LogOptions(os.fspath(place / "log")))
        for _ in range(300):
            writer.write("stdout", b"x" * 1000 + b"\n")
        assert writer.lost > 100_000
        writer.close()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_line_that_is_being_written_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"log":"whole\\n","stream":"stdout","time":"t"}\n{"log":"half')
    assert [entry.text for entry in read_log(tmp_path / "log")] == ["whole\n"]
