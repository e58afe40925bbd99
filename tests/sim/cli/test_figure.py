"""The command `figure`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusefs import JournalLayer, Level, Recorder, UnionFS
from sim.cli.main import run
from sim.figures import FIGURES

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("base/etc", "app/etc", "upper", "work"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "base/etc/motd").write_text("base")
    (tmp_path / "app/etc/motd").write_text("app")
    layers = [JournalLayer(n, "ro" if n else "rw", p, tmp_path / p) for n, p in enumerate(("upper", "app", "base"))]
    with Recorder(tmp_path / "journal.db", layers, level=Level.ALL) as record:
        fs = UnionFS(
            lower=[tmp_path / "app", tmp_path / "base"], upper=tmp_path / "upper", work=tmp_path / "work", record=record
        )
        fs.write_bytes("/etc/motd", b"mine")
        fs.close()
    return tmp_path


@pytest.mark.parametrize("name", FIGURES)
def test_from_a_journal(stack: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    about = ["--path", "/etc/motd"] if FIGURES[name].needs_path else []
    assert run(["figure", name, "--journal", "journal.db", *about]) == 0
    assert capsys.readouterr().out == f"{name}.png\n"
    assert (stack / f"{name}.png").read_bytes().startswith(PNG)


def test_the_help_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["figure", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"The figures: {', '.join(FIGURES)}." in said


@pytest.mark.parametrize("name", FIGURES)
def test_from_directories_or_not_at_all(stack: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    about = ["--path", "/etc/motd"] if FIGURES[name].needs_path else []
    status = run(["figure", name, "--lower", "base", "--lower", "app", *about])
    assert status == (2 if name in ("timeline", "copy-up", "latency", "heat") else 0)
    assert capsys.readouterr().err.count("\n") == (1 if status else 0)


def test_from_directories_and_as_another_format(stack: Path) -> None:
    assert run(["figure", "cross-section", "--lower", "base", "--lower", "app", "-o", "c.svg"]) == 0
    text = (stack / "c.svg").read_text()
    assert "<svg" in text
    assert run(["figure", "sharing", "--lower", "base", "--dark", "-o", "s.pdf"]) == 0
    assert (stack / "s.pdf").read_bytes().startswith(b"%PDF")


def test_a_moment_of_the_past(stack: Path) -> None:
    assert run(["figure", "cross-section", "--journal", "journal.db", "--at", "0", "-o", "then.svg"]) == 0
    assert run(["figure", "cross-section", "--journal", "journal.db", "-o", "now.svg"]) == 0
    assert (stack / "then.svg").read_text() != (stack / "now.svg").read_text()


def test_a_moment_that_never_was(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["figure", "timeline", "--journal", "journal.db", "--at", "99999"]) == 1
    assert "99999" in capsys.readouterr().err
    assert sorted(name for name in os.listdir(stack) if "timeline" in name) == []


def test_a_journal_without_operations(stack: Path) -> None:
    with Recorder(stack / "empty.db", [JournalLayer(1, "ro", "base", stack / "base")]) as record:
        assert record.level is Level.ALL
    for name in ("cross-section", "timeline", "sharing"):
        assert run(["figure", name, "--journal", "empty.db"]) == 0


def test_from_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sim.images import Store, file, image_from_layers, image_on

    monkeypatch.chdir(tmp_path)
    with Store("store") as store:
        base = image_from_layers(store, [store.add_entries([file("/etc/motd", "hello")])], tags=["base"])
        for name in ("one", "two"):
            image_on(store, base, [file(f"/{name}", name)], tags=[name])
    assert run(["figure", "images", "--store", "store"]) == 0
    assert run(["figure", "cross-section", "--store", "store", "--stack", "one:latest"]) == 0
    capsys.readouterr()
    assert run(["figure", "cross-section", "--store", "store", "--stack", "nosuch"]) == 1
    assert "nosuch" in capsys.readouterr().err


def test_a_store_is_not_made_by_looking_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["figure", "sharing", "--store", "nosuch"]) == 1
    assert "nosuch: this is no image store" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
