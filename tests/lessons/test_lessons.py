"""Every lesson: its languages match, its commands print what it shows, its exercises fail and pass as they should."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sim.course import engine, exercises, shelf
from sim.course.author import differences, run_commands, run_solutions
from sim.course.lesson import Lesson
from sim.course.place import find, mounts_below, reset, start
from sim.course.texts import Language
from tests.sim.figures.test_pictures import TOLERANCE, difference

HOME = shelf.home()
ENGINE = ("engine", "registry")
NUMBERS = list(shelf.numbers())
each = pytest.mark.parametrize("number", NUMBERS)


def need(lesson: Lesson, request: pytest.FixtureRequest) -> None:
    """Skip the test where the machine lacks what the lesson needs."""
    wanted = {"fuse": ("fuse",), "root": ("root", "fuse"), "engine": ("fuse",), "registry": ("fuse",)}
    for fixture in wanted.get(lesson.needs, ()):
        request.getfixturevalue(fixture)
    if lesson.needs == "registry":
        request.getfixturevalue("tool")("docker-registry")


def test_both_languages_have_the_same_lessons() -> None:
    names = [[path.name for path in shelf.numbers(language).values()] for language in Language]
    assert names[0] == names[1]
    assert names[0]


@each
def test_the_languages_match_part_by_part(number: int) -> None:
    assert differences(shelf.lesson(number, Language.EN), shelf.lesson(number, Language.ZH)) == []


@each
def test_the_chinese_text_is_chinese(number: int) -> None:
    lesson = shelf.lesson(number, Language.ZH)
    texts = [one for exercise in lesson.exercises for one in (exercise.task, *exercise.hints, exercise.solution)]
    for text in [lesson.title, *(part.text for part in lesson.parts.values()), *texts]:
        assert re.search("[\u4e00-\u9fff]", text), text


@each
def test_commands_and_solutions_do_what_the_lesson_says(
    number: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    lesson = shelf.lesson(number)
    need(lesson, request)
    try:
        for command, printed, fits in run_commands(lesson, tmp_path):
            assert fits, f"{lesson.path}:{command.line}: {command.text!r} prints {list(printed)}"
        assert lesson.needs in ENGINE or mounts_below(tmp_path) == []
        assert run_solutions(lesson, tmp_path) == []
        engine.stop(tmp_path / "home" / f"layerlab-lesson-{number}")
        assert mounts_below(tmp_path) == []
    finally:
        home = tmp_path / "home" / f"layerlab-lesson-{number}"
        engine.stop(home)
        if mounts_below(tmp_path):
            reset(find(number, home), exercises.lay_out(number))


@each
def test_an_exercise_as_handed_out_fails_and_what_solves_it_here_passes(number: int, tmp_path: Path) -> None:
    lesson = shelf.lesson(number)
    if exercises.track(number).costly:
        pytest.skip("takes seconds; its solutions are tried in the test before this one")
    place = start(number, tmp_path / "fresh", exercises.lay_out(number))
    results = exercises.check(place)
    assert [result.number for result in results] == [one.number for one in lesson.exercises]
    assert [result for result in results if result.passed] == []
    exercises.track(number).solve(place.home)
    assert [result for result in exercises.check(place) if not result.passed] == []
    again = reset(place, exercises.lay_out(number))
    assert [result for result in exercises.check(again) if result.passed] == []


@each
def test_the_figure_is_what_its_script_draws(number: int, tmp_path: Path) -> None:
    picture = (shelf.lesson(number).path.parent / shelf.lesson(number).figure).resolve()
    drawn = tmp_path / picture.name
    done = subprocess.run(
        [sys.executable, "-W", "error", str(picture.with_suffix(".py")), str(drawn)],
        capture_output=True,
        text=True,
        check=False,
        cwd=HOME.parent,
    )
    assert done.returncode == 0, done.stderr
    if os.environ.get("LAYERLAB_DRAW"):  # a figure's look was changed on purpose
        shutil.copyfile(drawn, picture)
    with Image.open(picture) as one, Image.open(drawn) as other:
        assert difference(one.convert("L"), other.convert("L")) < TOLERANCE


def test_every_figure_belongs_to_a_lesson() -> None:
    wanted = {lesson.name for lesson in shelf.lessons()} | {"demo-cross-section"}
    assert {path.stem for path in (HOME / "figures").glob("*.png")} == wanted


@pytest.mark.parametrize("language", list(Language))
def test_links_lead_somewhere(language: Language) -> None:
    for path in (HOME / language).glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), f"{path}: {target}"


def test_the_glossary_leads_to_the_modules_in_both_languages() -> None:
    english, chinese = (shelf.glossary(language) for language in Language)
    assert [term.module for term in english] == [term.module for term in chinese]
    assert len(english) >= 30
    for term in [*english, *chinese]:
        assert (HOME / "en" / term.link).resolve().is_file(), term
        assert importlib.util.find_spec(term.module) is not None, term.module


def test_twelve_lessons() -> None:
    assert list(range(1, 13)) == NUMBERS
    assert all(exercises.track(number).checks for number in NUMBERS)
