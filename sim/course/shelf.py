"""Where the lessons are, and all of them at once.

Decided here and only here: the directories of the lessons (in a checkout `lessons/`, in an installed package beside
this module), that a lesson's file begins with its number, and the glossary's form: lines
`- **term** (module): meaning`, the module as a link in `code`. Any thread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sim.course.errors import CourseError, LessonTextError
from sim.course.lesson import Lesson, parse
from sim.course.texts import Language

__all__ = ["Term", "glossary", "home", "lesson", "lessons", "numbers"]

_TERM = re.compile(r"- \*\*(?P<term>[^*]+)\*\* \(\[`(?P<module>[\w.]+)`\]\((?P<link>[^)]+)\)\): (?P<meaning>.+)")


@dataclass(frozen=True, slots=True)
class Term:
    """A word of the field.

    Attributes
    ----------
    term, meaning
        As the glossary has them.
    module
        Dotted name of the module that implements it.
    link
        The module's file, relative to the glossary.
    """

    term: str
    module: str
    link: str
    meaning: str


def home() -> Path:
    """Return the directory that has `en/`, `zh/` and `figures/`."""
    for place in (Path(__file__).with_name("lessons"), Path(__file__).parents[2] / "lessons"):
        if (place / Language.EN).is_dir():
            return place
    raise CourseError("the texts of the lessons are not installed; use a checkout of the project")


def numbers(language: Language = Language.EN) -> dict[int, Path]:
    """Return the lessons' files by number, in order."""
    found: dict[int, Path] = {}
    for path in sorted((home() / language).glob("[0-9][0-9]-*.md")):
        number = int(path.name[:2])
        if number in found:
            raise LessonTextError(f"{path}: there is a lesson {number} already, {found[number].name}")
        found[number] = path
    return found


@cache
def lesson(number: int, language: Language = Language.EN) -> Lesson:
    """Return a lesson.

    Raises
    ------
    CourseError
        There is none of this number.
    """
    known = numbers(language)
    if number not in known:
        raise CourseError(f"there is no lesson {number}; there are {', '.join(map(str, known))}")
    return parse(known[number], language)


def lessons(language: Language = Language.EN) -> list[Lesson]:
    """Return all lessons in one language, in order."""
    return [lesson(number, language) for number in numbers(language)]


def glossary(language: Language = Language.EN) -> list[Term]:
    """Return the glossary's terms.

    Raises
    ------
    LessonTextError
        A line is not of the form agreed on.
    """
    path = home() / language / "glossary.md"
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.startswith("- "):
            continue
        term = _TERM.fullmatch(line)
        if term is None:
            raise LessonTextError(f"{path}:{number}: a term is `- **term** ([`module`](link)): meaning`, in one line")
        found.append(Term(**term.groupdict()))
    return found
