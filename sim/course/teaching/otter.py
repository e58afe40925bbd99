"""The exercises as an assignment for otter-grader: a notebook, and a test file for each exercise.

Decided here and only here: the form, which is that of otter-grader's documentation ("OK-formatted tests"): in `tests/` a
Python file a question with `OK_FORMAT` and a dictionary `test`, whose cases are doctests. A test runs the exercise's own
check in the lesson's directory, so it says the same as `layerlab lesson check`. Functions without state: any thread.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sim.course.lesson import ExerciseText, Lesson
from sim.course.texts import Text

__all__ = ["write"]


def write(lessons: Sequence[Lesson], out: Path) -> list[Path]:
    """Write the notebook of each lesson, and the tests; return the files."""
    made = []
    (out / "tests").mkdir(parents=True, exist_ok=True)
    for lesson in lessons:
        notebook = out / _file(lesson)
        notebook.write_text(json.dumps(_notebook(lesson), ensure_ascii=False, indent=1) + "\n")
        made.append(notebook)
        for exercise in lesson.exercises:
            file = out / "tests" / f"{_question(exercise)}.py"
            file.write_text(_test(exercise))
            made.append(file)
    return made


def _file(lesson: Lesson) -> str:
    return f"{lesson.number:02}-{lesson.name}.ipynb"


def _question(exercise: ExerciseText) -> str:
    return f"q{exercise.number.replace('.', '_')}"


def _notebook(lesson: Lesson) -> dict[str, object]:
    def say(en: str, zh: str) -> str:
        return Text(en, zh).in_(lesson.language)

    cells = [
        _markdown(
            f"# {lesson.number}. {lesson.title}\n\n"
            + say(
                f"Read lesson {lesson.number}, then start it here. Commands for a shell begin with `!` in a notebook; a terminal will do as well.",
                f"先读第 {lesson.number} 课，再在这里开始。在 notebook 里，shell 命令以 `!` 开头；也可以使用终端。",
            )
        ),
        # By its name: otter finds a notebook of no name only where it is alone in its directory.
        _code(f"import otter\n\ngrader = otter.Notebook({_file(lesson)!r})"),
        _code(f"!layerlab lesson start {lesson.number}"),
    ]
    for exercise in lesson.exercises:
        cells.append(_markdown(f"## {exercise.number} {exercise.title}\n\n{exercise.task}"))
        cells.append(_code(f"# {say('your commands', '你的命令')}\n"))
        cells.append(_code(f'grader.check("{_question(exercise)}")'))
    # A PDF would take a TeX that few laptops have.
    cells.append(_code("grader.export(pdf=False, run_tests=True)"))
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "otter": {"OK_FORMAT": True, "tests": {}},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _markdown(text: str) -> dict[str, object]:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def _code(text: str) -> dict[str, object]:
    return {"cell_type": "code", "metadata": {}, "source": text, "outputs": [], "execution_count": None}


def _test(exercise: ExerciseText) -> str:
    lesson = exercise.number.partition(".")[0]
    code = (
        ">>> from sim.course import exercises, place\n"
        f'>>> (result,) = exercises.check(place.find({lesson}), "{exercise.number}")\n'
        ">>> print(result.passed or result.text.en)\nTrue\n"
    )
    test = {
        "name": _question(exercise),
        "points": 1,
        "suites": [
            {
                "cases": [{"code": code, "hidden": False, "locked": False}],
                "scored": True,
                "setup": "",
                "teardown": "",
                "type": "doctest",
            }
        ],
    }
    body = json.dumps(test, indent=4).replace(": false", ": False").replace(": true", ": True")
    return f"OK_FORMAT = True\n\ntest = {body}\n"
