"""The score is kept, also for two at once and beside rubbish; the widgets ask, judge and go on."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from sim.course.predict import Form, make, score
from sim.course.predict.widget import Quiz, show
from sim.course.texts import Language


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the score of the machine's user out of it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def _answer(count: int) -> None:
    for _ in range(count):
        score.record(Form.STATE, True)


def test_two_at_once_lose_nothing() -> None:
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=_answer, args=(20,)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert score.load()[Form.STATE] == score.Score(60, 60, 60, 60)


def test_rubbish_is_put_aside(state: Path) -> None:
    score.record(Form.BYTES, False)
    for rubbish in ("{", "[]", '{"state": {"asked": "many"}}', '{"state": 3}'):
        score.place().write_text(rubbish)
        assert score.load()[Form.STATE] == score.Score()
        assert score.record(Form.STATE, True).right == 1


def test_a_quiz_asks_and_judges_and_goes_on() -> None:
    quiz = Quiz("state", 1, 5, Language.ZH)
    problem = make(Form.STATE, 1, 5)
    assert quiz.problem == problem
    assert quiz.check() is None
    quiz._own.value = "perhaps"
    assert quiz.check() is None
    quiz._own.value = ""
    quiz._choices.value = quiz._choices.options[problem.right]
    judged = quiz.check()
    assert judged is not None
    assert judged.right
    assert bytes(quiz._figure.value).startswith(b"\x89PNG")
    quiz.check()
    assert score.load()[Form.STATE].asked == 1, "only the first answer counts"
    quiz.next()
    assert quiz.problem == make(Form.STATE, 1, 6)
    assert quiz._figure.layout.display == "none"


def test_show_gives_widgets() -> None:
    import ipywidgets

    assert isinstance(show("bytes", 2, 3, "en"), ipywidgets.VBox)
