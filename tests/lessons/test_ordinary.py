"""The lessons that have an engine, as an ordinary user: its containers, builds and registries work without root."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import User

CODE = """
import pathlib
import sys

from sim.course import engine, shelf
from sim.course.author import run_commands, run_solutions
from sim.course.place import mounts_below

number = int(sys.argv[1])
place = pathlib.Path(sys.argv[2]) / "lesson"
place.mkdir()
try:
    for command, printed, fits in run_commands(shelf.lesson(number), place):
        assert fits, f"{command.text!r} prints {list(printed)}"
    assert run_solutions(shelf.lesson(number), place) == []
finally:
    engine.stop(place / "home" / f"layerlab-lesson-{number}")
assert mounts_below(place) == []
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [1, 7, 8])  # the others do nothing that these do not, and take a minute
def test_lessons_with_an_engine_work_for_an_ordinary_user(number: int, user: User, fuse: None) -> None:
    home = str(user.home)
    own = {"PYTHONDONTWRITEBYTECODE": "1", "XDG_RUNTIME_DIR": home}
    done = user.run([sys.executable, "-P", "-c", CODE, str(number), home], environment=own, timeout=110)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
