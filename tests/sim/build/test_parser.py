"""The parser in its process, and what instructions mean."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim.build import parser
from sim.build.errors import DockerfileError
from sim.build.instructions import OnBuild, Run, Transfer, stages_of
from sim.build.parser import escape_of, parse
from sim.build.quoting import duration, parse_duration, quote, quote_list


def test_instructions_come_with_their_lines() -> None:
    found = parse('# escape=`\n\nFROM a\nRUN one `\n  two\n\nCMD ["x"]\n')
    assert [(each.name, each.line, each.last_line) for each in found.instructions] == [
        ("from", 3, 3),
        ("run", 4, 5),
        ("cmd", 7, 7),
    ]
    assert found.escape == "`"
    assert found.instructions[1].words == ("one   two",)
    assert found.instructions[2].is_json


def test_what_the_binding_would_cut_in_silence_is_refused() -> None:
    with pytest.raises(DockerfileError, match="zero byte in line 2"):
        parse("FROM a\nRUN echo a\0b\n")
    with pytest.raises(DockerfileError, match="maximum allowed size"):
        parse("FROM a\nRUN echo " + "x" * 70_000 + "\n")
    assert len(parse("FROM a\nRUN echo " + "x" * 60_000 + "\n").instructions) == 2


def test_the_parser_s_process_is_replaced_when_it_dies() -> None:
    parse("FROM a\n")
    first = parser._PARSER._process
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    assert parse("FROM b\n").instructions[0].words == ("b",)
    second = parser._PARSER._process
    assert second is not None
    for turn in range(3):  # also where it is known to be gone, and without leaving its pipes open
        os.kill(second.pid, signal.SIGKILL)
        second.wait()
        before = len(os.listdir("/proc/self/fd"))
        assert parse(f"FROM c{turn}\n").instructions[0].words == (f"c{turn}",)
        assert len(os.listdir("/proc/self/fd")) <= before
        second = parser._PARSER._process
        assert second is not None
    assert second is not None
    assert second.pid != first.pid


def test_the_parser_s_library_is_not_in_this_process() -> None:
    parse("FROM a\n")
    assert "dockerfile" not in Path("/proc/self/maps").read_text()


def test_many_threads_may_parse() -> None:
    found: list[str] = []

    def work(number: int) -> None:
        for _ in range(20):
            found.append(parse(f"FROM image{number}\n").instructions[0].words[0] + f"/image{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160
    assert all(len(set(each.split("/"))) == 1 for each in found)


@settings(max_examples=200)
@given(st.text(max_size=200))
@example("\\")  # continued by nothing, and so an instruction without a name
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(DockerfileError):
        stages_of(parse(text).instructions)


@pytest.mark.parametrize(
    ("text", "escape"),
    [
        ("FROM a", "\\"),
        ("# escape=`\nFROM a", "`"),
        ("#Escape = `\nFROM a", "`"),
        ("# syntax=x\n# escape=`\nFROM a", "`"),
        ("# a comment\n# escape=`\nFROM a", "\\"),
        ("\n# escape=`\nFROM a", "\\"),
        ("\ufeff# escape=`\nFROM a", "`"),
    ],
)
def test_directives(text: str, escape: str) -> None:
    assert escape_of(text) == escape


def test_documents() -> None:
    text = "FROM a\nRUN <<EOF\necho $x\nEOF\nCOPY <<-'A' <<B f /to/\n\tplain $x\nA\nmore\nB\n"
    _, (stage,) = stages_of(parse(text).instructions)
    run, copy = stage.commands
    assert isinstance(run, Run)
    assert [(each.name, each.content, each.expand) for each in run.documents] == [("EOF", "echo $x\n", True)]
    assert isinstance(copy, Transfer)
    assert copy.sources == ("A", "B", "f")
    assert [(each.name, each.content, each.expand) for each in copy.documents] == [
        ("A", "plain $x\n", False),
        ("B", "more\n", True),
    ]


def test_a_trigger_keeps_all_of_its_text() -> None:
    _, (stage,) = stages_of(parse("FROM a\nONBUILD   COPY --from=x --chown=1:2 a b\n").instructions)
    (trigger,) = stage.commands
    assert isinstance(trigger, OnBuild)
    assert trigger.expression == "COPY --from=x --chown=1:2 a b"


@pytest.mark.parametrize(
    ("text", "nanoseconds", "shown"),
    [
        ("5s", 5 * 10**9, "5s"),
        ("1m30s", 90 * 10**9, "1m30s"),
        ("1h", 3600 * 10**9, "1h0m0s"),
        ("1.5ms", 1_500_000, "1.5ms"),
        ("0", 0, "0s"),
        ("90m", 5400 * 10**9, "1h30m0s"),
        ("2us", 2000, "2µs"),
    ],
)
def test_durations(text: str, nanoseconds: int, shown: str) -> None:
    assert parse_duration(text) == nanoseconds
    assert duration(nanoseconds) == shown


@pytest.mark.parametrize("text", ["", "5", "s", "5x", "-", "1..2s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"^time: "):
        parse_duration(text)


def test_quotes_are_go_s() -> None:
    assert quote('a"\\\t\x01ü\x7f\u2028') == '"a\\"\\\\\\t\\x01ü\\x7f\\u2028"'
    assert quote_list([]) == "[]"
