"""Tables, progress, sizes and moments: what the comparison with the docker command leaves out."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest

from sim.cli.failure import Failure
from sim.cli.show.human import ago, clip, duration_words, size
from sim.cli.show.moments import moment
from sim.cli.show.progress import show_progress
from sim.cli.show.quoting import familiar, quoted, short_id
from sim.cli.show.table import lay_out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError


PULL: list[Mapping[str, Any]] = [
    {"status": "Pulling from library/redis", "id": "7"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "one"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "two"},
    {"status": "Downloading", "progressDetail": {"current": 500, "total": 1000}, "id": "one"},
    {"status": "Download complete", "progressDetail": {}, "id": "two"},
    {"status": "Status: Downloaded"},
]


def test_progress_elsewhere_is_a_line_for_what_is_done() -> None:
    out = io.StringIO()
    show_progress(PULL, out)
    assert out.getvalue().splitlines() == [
        "7: Pulling from library/redis",
        "one: Pulling fs layer",
        "two: Pulling fs layer",
        "two: Download complete",
        "Status: Downloaded",
    ]


def test_progress_on_a_terminal_is_written_over() -> None:
    """Interpret what is written as a terminal does, and look at what is left."""
    out = Terminal()
    show_progress(PULL, out)
    lines, row, column = [""], 0, 0
    text = out.getvalue()
    while text:
        if text.startswith("\x1b["):
            code, letter, text = text[2:].partition(next(one for one in text[2:] if one.isalpha()))
            if letter == "A":
                row -= int(code)
            elif letter == "B":
                row += int(code)
            else:
                lines[row] = ""
        elif text[0] == "\n":
            row, column = row + 1, 0
            text = text[1:]
        elif text[0] == "\r":
            column, text = 0, text[1:]
        else:
            lines[row] = lines[row][:column].ljust(column) + text[0] + lines[row][column + 1 :]
            column, text = column + 1, text[1:]
        while len(lines) <= row:
            lines.append("")
        assert row >= 0
    bar = f"[{'=' * 25}>{' ' * 25}]     500B/1kB"
    assert [line.strip() for line in lines if line] == [
        "7: Pulling from library/redis",
        f"one: Downloading {bar}",
        "two: Download complete",
        "Status: Downloaded",
    ]


def test_an_error_in_the_stream() -> None:
    out = io.StringIO()
    with pytest.raises(Failure) as failure:
        show_progress([{"stream": "Step 1\n"}, {"errorDetail": {"code": 3, "message": "bad"}, "error": "bad"}], out)
    assert (failure.value.text, failure.value.status, out.getvalue()) == ("bad", 3, "Step 1\n")
    with pytest.raises(Failure, match="old"):
        show_progress([{"error": "old"}], out, quiet=True)


def test_what_is_for_programs_is_not_shown() -> None:
    out = io.StringIO()
    found: list[Any] = []
    show_progress([{"aux": {"ID": "x"}}, {"stream": "y"}], out, found.append)
    assert (out.getvalue(), found) == ("y", [{"ID": "x"}])


def test_columns_are_runs_of_lines() -> None:
    # A line without a cell ends the column above it; the last cell of a line belongs to none.
    text = "a\tb\tc\nlonger-than-ten\tb\tc\nno cells\nx\ty\n"
    assert lay_out(text).splitlines() == [
        "a                 b         c",
        "longer-than-ten   b         c",
        "no cells",
        "x         y",
    ]
    assert lay_out("") == ""
    assert lay_out("\t\tx\n", least=4) == "        x\n"
    assert lay_out("é\tx\n", least=0) == "é   x\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.999, "Less than a second"),
        (1.9, "1 second"),
        (2, "2 seconds"),
        (60, "About a minute"),
        (45 * 60, "45 minutes"),
        (60 * 60, "About an hour"),
        (89 * 60, "About an hour"),
        (90 * 60, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_words(seconds) == text


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [(0, "0B"), (999, "999B"), (1000, "1kB"), (999_950, "1e+03kB"), (1.5e9, "1.5GB"), (2e27, "2000YB")],
)
def test_sizes(bytes_: float, text: str) -> None:
    assert size(bytes_, 3 if bytes_ < 1e10 else 4) == text


def test_texts() -> None:
    assert clip("日本語のテキスト", 7) == "日本語…"
    assert clip("日本語", 6) == "日本語"
    assert (clip("abc", 1), clip("abc", 0)) == ("a", "")
    assert quoted("a\x00\n\u200b\\") == '"a\\x00\\n\\u200b\\\\"'
    assert short_id("sha256:" + "a" * 64) == "a" * 12
    assert familiar("docker.io/a/b") == "a/b"
    assert ago(0).endswith("years ago")


@pytest.mark.parametrize("text", ["x", "2026-13-01", "2026-1-1", "10:00", "1h2"])
def test_moments_that_are_none(text: str) -> None:
    with pytest.raises((Failure, ValueError)):
        moment(text)


def test_moments() -> None:
    assert moment("2026-11-27T10:00:00+02:00") == "1795766400.000000000"
    assert moment("2026-11-27T10:00Z") == "1795773600.000000000"
    assert moment("1.5") == "1.5"
