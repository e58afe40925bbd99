"""Problems in a notebook: choices to click, a field for an answer in one's own words, the reasons and the figure.

Decided here: how a problem looks as widgets. `show()` is all that a notebook calls. Needs ipywidgets, which needs no
FUSE and no privilege. One thread, the kernel's.
"""

from __future__ import annotations

import html
from random import SystemRandom
from typing import Any

from sim.course.predict import reveal, score
from sim.course.predict.answers import Judgement, UnclearError, judge
from sim.course.predict.problems import Form, make
from sim.course.texts import Language, Text

__all__ = ["Quiz", "show"]


class Quiz:
    """A problem, its answer, and the next one.

    Parameters
    ----------
    form, level, seed
        Which problems; a seed of None begins anywhere.
    language
        In which language; None for the environment's.
    """

    def __init__(
        self, form: Form | str = Form.STATE, level: int = 1, seed: int | None = None, language: Language | None = None
    ) -> None:
        import ipywidgets as widgets

        self.form, self.level = Form(form), level
        self.seed = SystemRandom().randrange(1_000_000) if seed is None else seed
        self.language = language or Language.of()
        self._text = widgets.HTML()
        self._choices = widgets.RadioButtons(options=[], layout=widgets.Layout(width="auto"))
        self._own = widgets.Text(placeholder=self._say("or in your own words", "或用自己的话回答"))
        self._check = widgets.Button(description=self._say("Check", "检查"), button_style="primary")
        self._next = widgets.Button(description=self._say("Next", "下一题"))
        self._said = widgets.HTML()
        self._figure = widgets.Image(format="png", layout=widgets.Layout(display="none", max_width="100%"))
        self._check.on_click(lambda _: self.check())
        self._next.on_click(lambda _: self.next())
        buttons = widgets.HBox([self._check, self._next])
        self.view = widgets.VBox([self._text, self._choices, self._own, buttons, self._said, self._figure])
        self._ask()

    def _say(self, en: str, zh: str) -> str:
        return Text(en, zh).in_(self.language)

    def _ask(self) -> None:
        self.problem = make(self.form, self.level, self.seed)
        self.answered = False
        asked = html.escape(reveal.question(self.problem).in_(self.language))
        self._text.value = f"<b>{self.problem.name}</b><pre>{asked}</pre>"
        self._choices.options = reveal.options(self.problem)
        self._choices.value = None
        self._own.value = self._said.value = ""
        self._figure.layout.display = "none"

    def check(self) -> Judgement | None:
        """Judge what was chosen, or typed; None if it cannot be understood. Only the first answer counts."""
        answer = self._own.value or (self._choices.value or "")[:1]
        if not answer:
            self._said.value = self._say("Choose one, or type an answer.", "请选一个，或输入答案。")
            return None
        try:
            judged = judge(self.problem, answer)
        except UnclearError as error:
            self._said.value = html.escape(error.text.in_(self.language))
            return None
        first, self.answered = not self.answered, True
        now = score.record(self.form, judged.right) if first else score.load()[self.form]
        said = [judged.text, reveal.reasons(self.problem), score.words(self.form, now)]
        mark = "✓" if judged.right else "✗"
        lines = "\n".join(text.in_(self.language) for text in said)
        self._said.value = f"<pre>{mark} {html.escape(lines)}</pre>"
        self._figure.value = self._drawn()
        self._figure.layout.display = ""
        return judged

    def _drawn(self) -> bytes:
        import io

        stream = io.BytesIO()
        reveal.figure(self.problem).savefig(stream, format="png", dpi=80)
        return stream.getvalue()

    def next(self) -> None:
        """Go on to the next problem."""
        self.seed += 1
        self._ask()


def show(form: str = "state", level: int = 1, seed: int | None = None, language: str | None = None) -> Any:
    """Return the widgets of an endless row of problems, to be the last line of a notebook's cell."""
    return Quiz(form, level, seed, Language(language) if language else None).view
