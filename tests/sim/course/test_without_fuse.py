"""Where nothing can be mounted: a lesson says what to do instead, and its check takes that."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fusefs import JournalLayer, Recorder, UnionFS
from fusefs.errors import MountError
from sim.cli import lesson
from sim.course import exercises, place


def refuse() -> str:
    raise MountError("/dev/fuse: the kernel offers no FUSE here")


@pytest.mark.parametrize(("number", "other"), [(4, "UnionFS"), (12, "notebook 10")])
def test_a_lesson_says_what_to_do_instead(
    number: int, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--lang", "en", "start", str(number), "--dir", str(tmp_path / "home")]
    monkeypatch.setattr(sys.modules["fusefs.mount"], "choose_driver", refuse)  # `fusefs.mount` is a function too
    done = CliRunner().invoke(lesson.command, arguments)
    assert done.exit_code == 0, done.output
    (line,) = done.stderr.splitlines()
    assert "nothing can be mounted here" in line
    assert other in line


def test_a_check_takes_what_the_union_in_python_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = place.start(4, tmp_path / "layerlab-lesson-4", exercises.lay_out(4))
    monkeypatch.chdir(made.home)
    names = ["changes", "hotfix", "app", "base"]
    layers = [JournalLayer(n, "ro" if n else "rw", name, made.home / name) for n, name in enumerate(names)]
    with Recorder(made.home / "journal.db", layers) as record:
        fs = UnionFS([made.home / name for name in names[1:]], made.home / "changes", made.home / "work", record=record)
        fs.unlink("/etc/hosts")
        fs.close()
    assert [result.passed for result in exercises.check(made, "4.1")] == [True]
