"""The score: how many problems were answered, how many rightly, and how many in a row.

Decided here: where it is kept (`layerlab/predict.json` in the user's state directory, XDG_STATE_HOME) and what counts.
A file that cannot be read any more is put aside, not in the way of the next problem. A lock keeps two terminals from
losing each other's answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sim.course.predict.problems import Form
from sim.course.texts import Text

__all__ = ["Score", "load", "place", "record", "words"]


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one form.

    Attributes
    ----------
    asked, right
        Problems answered; answered rightly.
    row, best
        Right answers in a row, now and at most.

    Examples
    --------
    >>> Score().answered(True).answered(True).answered(False)
    Score(asked=3, right=2, row=0, best=2)
    """

    asked: int = 0
    right: int = 0
    row: int = 0
    best: int = 0

    def answered(self, right: bool) -> Score:
        """Return it after one more answer."""
        row = self.row + 1 if right else 0
        return replace(self, asked=self.asked + 1, right=self.right + right, row=row, best=max(self.best, row))


def place() -> Path:
    """Return the file."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(state) / "layerlab" / "predict.json"


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def load() -> dict[Form, Score]:
    """Return the score of every form."""
    try:
        data = json.loads(place().read_text())
        return {form: Score(**{key: int(value) for key, value in data.get(form, {}).items()}) for form in Form}
    except FileNotFoundError:
        return {form: Score() for form in Form}
    except (OSError, ValueError, TypeError, AttributeError):
        with contextlib.suppress(OSError):
            os.replace(place(), place().with_suffix(".unreadable"))
        return {form: Score() for form in Form}


def record(form: Form, right: bool) -> Score:
    """Count one answer; return the form's new score."""
    file = place()
    with _locked(file):
        scores = load()
        scores[form] = scores[form].answered(right)
        aside = file.with_suffix(".new")
        aside.write_text(json.dumps({str(key): asdict(value) for key, value in scores.items()}))
        os.replace(aside, file)
    return scores[form]


def words(form: Form, score: Score) -> Text:
    """Return a score in words."""
    return Text(
        f"{form}: {score.right} of {score.asked} right, {score.row} in a row, {score.best} at most",
        f"{form}：{score.asked} 题答对 {score.right} 题，已连对 {score.row} 题，最多连对 {score.best} 题",
    )
