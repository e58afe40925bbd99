"""The errors of the course.

Decided here: the base class, whose text is shown to people as it is, and that what students are told about their own
state is told in their language.

    CourseError            something about the course cannot be done; the text says what and how to mend it
    ├── LessonTextError    a lesson's source is not as `lessons/AUTHORING.md` wants it
    └── ToldError          what a student did or has; in both languages
        ├── MessError      the lesson's directory is in a state that cannot be checked
        └── NotYetError    an exercise is not solved; the text says what was found and what to look at
"""

from __future__ import annotations

from sim.course.texts import Language, Text

__all__ = ["CourseError", "LessonTextError", "MessError", "NotYetError", "ToldError"]


class CourseError(Exception):
    """Base class; one line that names the thing and the mend."""


class LessonTextError(CourseError):
    """A lesson's source has another form than the one agreed on; the text names file and line."""


class ToldError(CourseError):
    """Something that a student is told.

    Parameters
    ----------
    en, zh
        The sentence in both languages.
    """

    def __init__(self, en: str, zh: str) -> None:
        self.text = Text(en, zh)
        super().__init__(en)

    def __str__(self) -> str:
        """Return the sentence in the language that the environment asks for."""
        return self.text.in_(Language.of())


class MessError(ToldError):
    """The lesson's directory is in a state that cannot be checked; the text says what was found and what to do."""


class NotYetError(ToldError):
    """An exercise is not solved; the text says what was found instead and what to look at."""
