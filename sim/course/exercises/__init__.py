"""The exercises: for each lesson how its directory is laid out, how it is when all is solved, and a check a task.

Decided here: which lesson follows which. A lesson that follows another starts from that one's solved state. What an
exercise wants and which mistakes it knows is decided in the lesson's module here; what students read is in `lessons/`.
One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from sim.course import engine
from sim.course.bench import Bench
from sim.course.errors import CourseError, MessError, NotYetError
from sim.course.place import Place
from sim.course.texts import Text

__all__ = ["Check", "Result", "Track", "check", "lay_out", "solved", "track", "tracks"]

#: Looks at a student's stack; returns what it found where the exercise is solved, raises `NotYetError` where it is not.
Check = Callable[[Bench], Text]

#: Lesson -> module of its exercises.
_MODULES = {
    1: "sim.course.exercises.machines",
    2: "sim.course.exercises.images",
    3: "sim.course.exercises.lookup",
    4: "sim.course.exercises.whiteouts",
    5: "sim.course.exercises.copyup",
    6: "sim.course.exercises.renames",
    7: "sim.course.exercises.containers",
    8: "sim.course.exercises.builds",
    9: "sim.course.exercises.tags",
    10: "sim.course.exercises.registries",
    11: "sim.course.exercises.measuring",
    12: "sim.course.exercises.own",
}


@dataclass(frozen=True, slots=True)
class Track:
    """The exercises of one lesson.

    Attributes
    ----------
    lesson
        Its number.
    after
        The lesson from whose solved state it starts; None for an empty directory.
    prepare
        Adds to that state what this lesson needs; returns the names of the read-only layers.
    solve
        Does what the solutions do, in this process: no mount, no privilege.
    checks
        By the exercises' numbers, in order.
    costly
        Whether its state or its checks take seconds; tests then go through it once only.
    """

    lesson: int
    after: int | None
    prepare: Callable[[Path], tuple[str, ...]]
    solve: Callable[[Path], None]
    checks: Mapping[str, Check]
    costly: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What came of checking one exercise.

    Attributes
    ----------
    number
        The exercise's.
    passed
        Whether it is solved.
    text
        What was found, and if it is not solved, what to look at.
    """

    number: str
    passed: bool
    text: Text


def track(lesson: int) -> Track:
    """Return a lesson's exercises.

    Raises
    ------
    CourseError
        The lesson has none.
    """
    if lesson not in _MODULES:
        raise CourseError(f"lesson {lesson} has no exercises; there are some for {', '.join(map(str, _MODULES))}")
    found = import_module(_MODULES[lesson]).TRACK
    assert isinstance(found, Track)
    return found


def tracks() -> list[int]:
    """Return the numbers of the lessons that have exercises."""
    return list(_MODULES)


def lay_out(lesson: int) -> Callable[[Path], tuple[str, ...]]:
    """Return the function that fills a lesson's directory: the solved state of the one before, and what is new."""
    found = track(lesson)

    def fill(home: Path) -> tuple[str, ...]:
        if found.after is not None:
            solved(found.after, home)
        return found.prepare(home)

    return fill


def solved(lesson: int, home: Path) -> None:
    """Make the state in which a lesson's exercises are solved, in an empty directory."""
    lay_out(lesson)(home)
    track(lesson).solve(home)


def check(place: Place, only: str = "") -> list[Result]:
    """Check the exercises of a lesson, or one of them.

    Whatever state the directory is in, each exercise gets a sentence.

    Raises
    ------
    CourseError
        There is no such exercise.
    """
    checks = track(place.marker.lesson).checks
    ran = engine.running(place.home) is not None
    if only and only not in checks:
        raise CourseError(f"there is no exercise {only}; lesson {place.marker.lesson} has {', '.join(checks)}")
    results = []
    for number, ask in checks.items():
        if not only or number == only:
            results.append(_one(place, number, ask))
    if not ran:
        engine.stop(place.home)
    return results


def _one(place: Place, number: str, ask: Check) -> Result:
    bench = Bench(place)
    try:
        bench.examine()
        return Result(number, True, ask(bench))
    except (MessError, NotYetError) as error:
        return Result(number, False, error.text)
    except CourseError as error:  # the lesson's engine does not start, or does not answer
        return Result(number, False, Text(str(error), f"本课的引擎出了问题：{error}"))
    except OSError as error:  # the state changed under the check, or is in nobody's power
        name = error.filename or place.home
        return Result(
            number,
            False,
            Text(
                f"{name}: {error.strerror}; if you cannot mend it, `layerlab lesson reset {place.marker.lesson}` gives a "
                "clean start",
                f"{name}：{error.strerror}；如果无法修复，用 `layerlab lesson reset {place.marker.lesson}` 重新开始",
            ),
        )
