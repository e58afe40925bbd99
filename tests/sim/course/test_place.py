"""A student's directory in every mess: each check ends in a sentence, each reset in a clean start."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs import Stack, mount
from sim.course import exercises
from sim.course.errors import CourseError, MessError
from sim.course.place import MARKER, Place, clear, find, manifest, mounts_below, reset, start
from tests.conftest import User
from tests.patience import gone, until

LESSON = 4


def fresh(home: Path) -> Place:
    return start(LESSON, home, exercises.lay_out(LESSON))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Return a lesson that is solved."""
    made = fresh(tmp_path / "lesson")
    exercises.track(LESSON).solve(made.home)
    yield made
    if mounts_below(tmp_path):
        clear(made.home)


def tree(home: Path) -> dict[str, str]:
    return {name: line for name, line in manifest(home).items() if not name.startswith(f"/{MARKER}")}


def _link(home: Path) -> None:
    (home / "base").rename(home / "b")
    (home / "base").symlink_to("b")


def _other_database(home: Path) -> None:
    (home / "journal.db").unlink()
    with contextlib.closing(sqlite3.connect(home / "journal.db")) as database:
        database.execute("create table a (b)")


def _everything(home: Path) -> None:
    for path in home.glob("[!.]*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


MESSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted below": (lambda home: os.unlink(home / "base/etc/hosts"), "look for its whiteout in the upper layer"),
    "changed below": (lambda home: (home / "app/srv/shop.py").write_text("x"), "changed in the read-only layer app"),
    "added below": (lambda home: os.mkdir(home / "base/new"), "/new was changed in the read-only layer base"),
    "a layer gone": (lambda home: shutil.rmtree(home / "base"), "base is not there"),
    "a layer a link": (_link, "base is a symlink"),
    "no upper": (lambda home: shutil.rmtree(home / "changes"), "changes is not there"),
    "no journal": (lambda home: os.unlink(home / "journal.db"), "there is no journal.db yet"),
    "a journal of rubbish": (lambda home: (home / "journal.db").write_bytes(b"rubbish" * 999), "journal.db"),
    "another database": (_other_database, "journal.db"),
    "everything gone": (_everything, "not there"),
}


@pytest.mark.parametrize("mess", MESSES)
def test_a_mess_is_told_and_reset(mess: str, place: Place) -> None:
    clean = tree(fresh(place.home.with_name("clean")).home)
    make, said = MESSES[mess]
    make(place.home)
    results = exercises.check(place)
    assert [result.number for result in results] == ["4.1", "4.2", "4.3"]
    assert said in results[0].text.en
    assert not results[0].passed
    assert tree(reset(place, exercises.lay_out(LESSON)).home) == clean
    assert not any(result.passed for result in exercises.check(find(LESSON, place.home)))


def test_mistakes_are_told_apart(place: Place) -> None:
    def said(number: str) -> str:
        (result,) = exercises.check(place, number)
        assert not result.passed
        return result.text.en

    changes = place.home / "changes"
    (changes / "etc/hosts").unlink()
    assert "still seen" in said("4.1")
    (changes / "etc/hosts").write_text("mine")
    assert "no whiteout" in said("4.1")
    reset(place, exercises.lay_out(LESSON))
    (changes / "etc").mkdir()
    (changes / "etc/.wh.hosts").touch()
    from sim.course.exercises.stacks import opened

    with opened(place.home, ("hotfix", "app", "base")) as fs:
        fs.read_bytes("/etc/motd")
    assert "made by hand" in said("4.1")
    with opened(place.home, ("hotfix", "app", "base")) as fs:
        fs.unlink("/usr/share/doc/manual")
        fs.unlink("/usr/share/doc/licence")
        fs.write_bytes("/usr/share/doc/readme", b"short\n")
    assert "the directory itself never was" in said("4.2")


@pytest.mark.usefixtures("fuse")
def test_a_mount_left_behind_is_unmounted_by_reset(place: Place) -> None:
    reset(place, exercises.lay_out(LESSON))
    home = place.home
    (home / "deep/in side").mkdir(parents=True)
    for merged in (home / "merged", home / "deep/in side"):
        mount(Stack((home / "base",)), merged)
    assert len(mounts_below(home)) == 2
    reset(place, exercises.lay_out(LESSON))
    assert mounts_below(home) == []
    assert sorted(os.listdir(home / "base")) == ["bin", "etc", "opt", "usr", "var"]


@pytest.mark.usefixtures("fuse")
def test_a_mount_without_its_process_is_told_and_reset(place: Place) -> None:
    home = place.home
    server = mount(Stack((home / "base",)), home / "merged", driver="fuse-python")
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: gone(server.pid))
    (result, *_) = exercises.check(place)
    assert "lost its process" in result.text.en
    reset(place, exercises.lay_out(LESSON))
    assert mounts_below(home) == []


@pytest.mark.usefixtures("fuse")
def test_a_mount_in_use_is_told(place: Place) -> None:
    home = place.home
    mount(Stack((home / "base",)), home / "merged")
    with subprocess.Popen(["sleep", "60"], cwd=home / "merged/etc") as sleeper:
        reset(place, exercises.lay_out(LESSON))  # taken out of the tree; it ends with its last user
        sleeper.kill()
    assert mounts_below(home) == []
    assert (home / "base/etc/hosts").exists()


def test_reset_follows_no_link_out_of_the_lesson(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "etc").mkdir(parents=True)
    (outside / "etc/precious").write_text("keep")
    shutil.rmtree(place.home / "base")
    (place.home / "base").symlink_to(outside)
    (place.home / "link").symlink_to(outside / "etc/precious")
    os.link(outside / "etc/precious", place.home / "hard")
    reset(place, exercises.lay_out(LESSON))
    assert (outside / "etc/precious").read_text() == "keep"
    assert (place.home / "base/etc/hosts").exists()


def test_a_damaged_marker_is_told_and_reset(place: Place) -> None:
    for rubbish in ("", "{", "[]", '{"lesson": "x"}'):
        (place.home / MARKER).write_text(rubbish)
        with pytest.raises(MessError, match="changed and cannot be read"):
            find(LESSON, place.home)
        again = reset(find(LESSON, place.home, checked=False), exercises.lay_out(LESSON))
        assert find(LESSON, place.home) == again


def test_only_a_lessons_directory_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(CourseError, match="not a lesson's directory"):
        clear(tmp_path)
    for home in (tmp_path, tmp_path / "precious"):
        with pytest.raises(MessError):
            fresh(home)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MessError):
        fresh(tmp_path / "link")
    assert sorted(os.listdir(tmp_path)) == ["link", "precious"]


def test_the_directory_is_found(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.home / "base/etc")
    assert find(None).home == place.home
    assert find(LESSON).home == place.home
    with pytest.raises(MessError, match="directory of lesson 4, not of lesson 3"):
        find(3)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MessError, match="no lesson was started here"):
        find(LESSON)
    with pytest.raises(MessError, match="started here already"):
        fresh(place.home)


def test_a_work_directory_that_may_not_be_entered_is_removed(user: User) -> None:
    done = user.run(
        [
            sys.executable,
            "-c",
            "import os\n"
            "from pathlib import Path\n"
            "from sim.course import exercises\n"
            "from sim.course.place import start, reset\n"
            "place = start(4, Path('lesson'), exercises.lay_out(4))\n"
            "exercises.track(4).solve(place.home)\n"
            "print([r.passed for r in exercises.check(place)])\n"
            "os.makedirs('lesson/work/work/x'); os.chmod('lesson/work/work/x', 0); os.chmod('lesson/work/work', 0)\n"
            "reset(place, exercises.lay_out(4))\n"
            "print(os.listdir('lesson/work'))\n",
        ]
    )
    assert done.stdout.splitlines() == ["[True, True, True]", "[]"], done.stderr
