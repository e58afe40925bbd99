"""How the command starts and ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from sim.cli.group import cli
from sim.cli.main import COMMANDS, run
from sim.cli.table import GROUPS

COMMAND = [sys.executable, "-P", "-m", "sim.cli"]


def layerlab(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for name, (_, line) in COMMANDS.items():
        assert f"\n  {name} " in text
        assert line.split()[0] in text


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    said = capsys.readouterr()
    assert re.search(f"Usage: +layerlab {name}", said.out)
    assert said.err == ""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name in (name, "rm")  # `rmi` is `image rm`


DOCKERS = [name for name, (place, _) in COMMANDS.items() if place.startswith("sim.cli.commands.")]


@pytest.mark.parametrize(
    "words",
    [*([name] for name in DOCKERS), *([group, name] for group in GROUPS for name in GROUPS[group])],
    ids=" ".join,
)
def test_docker_commands_have_help_with_examples(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage:  layerlab {' '.join(words)}")
    if words not in [[group] for group in GROUPS]:
        assert "\nExamples:\n  " in said
        assert "--help" not in said


def test_help_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["ps"], ["image", "ls"], ["mount"], []):
        assert run(["help", *words]) == 0
        told = capsys.readouterr().out
        assert run([*words, "--help"]) == 0
        assert capsys.readouterr().out == told


def test_docker_commands_need_no_click() -> None:
    code = (
        "import sys; from sim.cli.main import run; run(['-H', 'unix:///nosuch', 'ps']);"
        "print([name for name in sys.modules if name in"
        " ('click', 'rich', 'networkx', 'sim.images', 'sim.graph', 'dataclasses', 'subprocess', 'sqlite3')])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr.startswith("Cannot connect to the Docker daemon at unix:///nosuch.")


def test_options_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["-H", "unix:///nosuch"], ["--host=unix:///nosuch"], ["-D", "-H", "unix:///nosuch", "-l", "warn"]):
        assert run([*words, "ps"]) == 1
        assert "unix:///nosuch" in capsys.readouterr().err
    assert run(["-H", "unix:///a", "-H", "unix:///b", "ps"]) == 1
    assert "Specify only one -H" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["version"]
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"layerlab {wanted}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from sim.cli.main import run; run(['--help']);"
        "print([name for name in sys.modules if name in"
        " ('rich', 'networkx', 'matplotlib', 'numpy', 'fuse', 'fusefs', 'sqlite3', 'sim.images', 'sim.graph')])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nosuch"], "nosuch"),
        (["--nosuch"], "--nosuch"),
        (["mount"], "MOUNTPOINT"),
        (["mount", "/mnt"], "--lower"),
        (["mount", "--lower"], "--lower"),
        (["mount", "--record", "some", "/mnt"], "some"),
        (["mount", "-o", "lowerdir=/a,nosuch", "/mnt"], "nosuch"),
        (["mount", "-o", "lowerdir=/a,index=maybe", "/mnt"], "maybe"),
        (["mount", "-o", "lowerdir", "/mnt"], "lowerdir"),
        (["mount", "-o", "lowerdir=/a::/b", "/mnt"], "colon"),
        (["mount", "--lower", "/a", "-o", "lowerdir=/b", "/mnt"], "twice"),
        (["mount", "--lower", "/a", "--upper", "/u", "-o", "upperdir=/b", "/mnt"], "twice"),
        (["umount"], "MOUNTPOINT"),
        (["journal"], "FILE"),
        (["journal", "--kind", "nosuch", "file"], "nosuch"),
        (["figure", "nosuch"], "nosuch"),
        (["figure", "timeline"], "--journal"),
        (["figure", "timeline", "--lower", "/a"], "--journal"),
        (["figure", "sharing", "--lower", "/a", "-o", "x.gif"], ".png"),
        (["figure", "lookup", "--lower", "/a"], "--path"),
        (["demo", "surplus"], "surplus"),
        (["doctor", "--nosuch"], "--nosuch"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("layerlab: ")
    assert named in said.err
    assert "--help" in said.err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["journal", "nosuch.db"], "nosuch.db"),
        (["journal", "text"], "text"),
        (["figure", "timeline", "--journal", "nosuch.db"], "nosuch.db"),
        (["figure", "timeline", "--journal", "text"], "text"),
        (["figure", "sharing", "--lower", "nosuch"], "nosuch"),
        (["figure", "sharing", "--lower", ".", "-o", "nosuch/x.png"], "nosuch"),
        (["umount", "nosuch"], "nosuch"),
        (["demo", "--rootfs", "nosuch"], "nosuch"),
        (["demo", "--output", "text/below"], "text"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_one_line_and_status_1(
    arguments: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no journal")
    assert run(arguments) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert said.err.startswith("layerlab: ")
    assert named in said.err
    assert os.listdir(tmp_path) == ["text"]


def test_a_name_that_cannot_be_encoded_is_said_all_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [*map(os.fsencode, COMMAND), b"journal", b"/nosuch\xff.db"], capture_output=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"layerlab: /nosuch")


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-c", '"$@" | true; echo "${PIPESTATUS[0]}"', "bash", *COMMAND, "doctor", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout in ("141\n", "0\n")  # 0: all was written before the reader ended
    assert done.stderr == ""


def test_the_command_works_where_sim_is_another_package(tmp_path: Path) -> None:
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.startswith("layerlab ")
