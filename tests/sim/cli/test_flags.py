"""Flags as the docker command takes them: what the comparison with it leaves out."""

from __future__ import annotations

import pytest

from sim.cli.flags.flag import filters, many, option, switch
from sim.cli.flags.parse import FlagProblem, parse
from sim.cli.flags.values import duration, memory

FLAGS = [
    switch("-i, --interactive", ""),
    switch("-t, --tty", ""),
    switch("--sig-proxy", "", True),
    option("-m, --memory", "bytes", ""),
    option("--name", "string", "", "none"),
    many("-e, --env", "list", ""),
    many("--gateway", "strings", ""),
    filters(),
]


def test_nothing_given() -> None:
    values, given, rest = parse([], FLAGS)
    assert values["sig-proxy"] is True
    assert values["name"] == "none"
    assert values["env"] == []
    assert (given, rest) == (set(), [])


@pytest.mark.parametrize("words", [["-it", "-m=1k"], ["-ti", "-m1k"], ["-i", "-t", "-m", "1k"], ["-itm", "1k"]])
def test_letters_together(words: list[str]) -> None:
    values, given, _ = parse(words, FLAGS)
    assert (values["interactive"], values["tty"], values["memory"]) == (True, True, 1024)
    assert given == {"interactive", "tty", "memory"}


def test_switches_with_values() -> None:
    values, given, rest = parse(["--sig-proxy=false", "-i=false", "--tty", "false"], FLAGS)
    assert (values["sig-proxy"], values["interactive"], values["tty"]) == (False, False, True)
    assert given == {"sig-proxy", "interactive", "tty"}
    assert rest == ["false"]


def test_where_flags_end() -> None:
    words = ["a", "-i", "--", "-t", "--nosuch"]
    assert parse(words, FLAGS)[2] == ["a", "-t", "--nosuch"]
    assert parse(words, FLAGS, mixed=False)[2] == ["a", "-i", "--", "-t", "--nosuch"]
    assert parse(["-", "x"], FLAGS)[2] == ["-", "x"]


def test_several() -> None:
    values, _, _ = parse(["-e", "A=1,2", "--env=B=", "--gateway", "a,b", "--gateway=c"], FLAGS)
    assert values["env"] == ["A=1,2", "B="]
    assert values["gateway"] == ["a", "b", "c"]
    # What one command was given is not there for the next.
    assert parse([], FLAGS)[0]["env"] == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["---x"], "bad flag syntax: ---x"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-ix"], "unknown shorthand flag: 'x' in -ix"),
        (["--interactive="], 'strconv.ParseBool: parsing "": invalid syntax'),
        (["--name"], "flag needs an argument: --name"),
        (["-ie"], "flag needs an argument: 'e' in -ie"),
    ],
)
def test_wrong_words(words: list[str], text: str) -> None:
    with pytest.raises(FlagProblem) as problem:
        parse(words, FLAGS)
    assert text in str(problem.value)


@pytest.mark.parametrize("text", ["", "x", "1.2.3m", "5 x", "-1", "1kib2", "1bb"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="invalid"):
        memory(text)


@pytest.mark.parametrize("text", ["", "5", "1h 2m", "s", ".s", "1..5s", "5x"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="time: "):
        duration(text)
