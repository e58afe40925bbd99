"""What an author of lessons runs: check a lesson's text, run its commands, write their real output into it.

    python -m sim.course.author check lessons/en/03-union-lookup.md
    python -m sim.course.author write lessons/en/03-union-lookup.md

Decided here: `check` parses the lesson and its other language, compares them part by part, runs every command and every
solution. `write` runs the commands and writes what they print into the English text and the same blocks into the
Chinese one; what shows the same already, up to numbers that mean nothing, stays as it is. Tests use the same functions.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sim.course import engine, exercises
from sim.course.console import Command, Session, commands_in, same, shown
from sim.course.errors import CourseError, LessonTextError
from sim.course.lesson import Lesson, parse
from sim.course.place import find
from sim.course.texts import Language

__all__ = ["differences", "main", "run_commands", "run_solutions"]

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```(console|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def differences(one: Lesson, other: Lesson) -> list[str]:
    """Return where two languages of a lesson do not match, part by part; nothing where they do."""
    found: list[str] = []

    def same_in_both(what: str, first: object, second: object) -> None:
        if first != second:
            found.append(f"{one.path.name}: {what}: {one.language}: {first!r}; {other.language}: {second!r}")

    for name in ("number", "name", "minutes", "needs", "figure"):
        same_in_both(name, getattr(one, name), getattr(other, name))
    for key, part in one.parts.items():
        twin = other.parts[key]
        same_in_both(f"steps in {part.title!r}", len(part.steps), len(twin.steps))
        same_in_both(f"list items in {part.title!r}", len(part.bullets), len(twin.bullets))
        same_in_both(f"blocks in {part.title!r}", [f.kind for f in part.fences], [f.kind for f in twin.fences])
        for mine, its in zip(part.fences, twin.fences, strict=False):
            if mine.kind != "text":  # a drawing in text may have words in it
                same_in_both(f"a block in {part.title!r}", mine.code, its.code)
    same_in_both("exercises", len(one.exercises), len(other.exercises))
    for mine_, its_ in zip(one.exercises, other.exercises, strict=False):
        same_in_both(f"hints of {mine_.number}", len(mine_.hints), len(its_.hints))
        same_in_both(f"solution of {mine_.number}", mine_.script, its_.script)
    return found


def run_commands(lesson: Lesson, place: Path) -> list[tuple[Command, tuple[str, ...], bool]]:
    """Run a lesson's commands; return each with what it printed and whether the text shows that.

    Parameters
    ----------
    lesson
        In any language: the commands are the same.
    place
        An empty directory.
    """
    commands = lesson.commands
    printed = Session(place).run([command.text for command in commands])
    return [
        (command, tuple(lines), same(command.output, lines))
        for command, (lines, _) in zip(commands, printed, strict=True)
    ]


def run_solutions(lesson: Lesson, place: Path) -> list[str]:
    """Run each solution after the lesson's steps, as a student does; return what went otherwise than it should.

    No exercise may pass before its solution has run, and all have to when all have (looked at where it costs little).

    Parameters
    ----------
    lesson
        In any language.
    place
        The directory in which `run_commands` ran.
    """
    session = Session(place)
    home = session.home / f"layerlab-lesson-{lesson.number}"
    wrong = []
    for exercise in lesson.exercises:
        found = exercises.check(find(lesson.number, home), exercise.number)
        wrong += [f"{one.number} passes before its solution: {one.text.en}" for one in found if one.passed]
        ((output, status),) = session.run([f"bash -eu <<'END_OF_SOLUTION'\n{exercise.script}END_OF_SOLUTION"], cwd=home)
        found = exercises.check(find(lesson.number, home), exercise.number)
        if status != 0 or not all(one.passed for one in found):
            wrong.append(f"{exercise.number}: {[one.text.en for one in found]}; status {status}, printed {output}")
    for one in () if exercises.track(lesson.number).costly else exercises.check(find(lesson.number, home)):
        if not one.passed:
            wrong.append(f"{one.number} passes no more when all are solved: {one.text.en}")
    return wrong


def _written(text: str, found: Sequence[tuple[Command, tuple[str, ...], bool]]) -> str:
    """Return a lesson's text with the output of its commands as it was."""
    waiting = list(found)

    def block(match: re.Match[str]) -> str:
        lines = []
        for command in commands_in(match[1].rstrip("\n")):
            ran, printed, fits = waiting.pop(0)
            if ran.text != command.text:
                raise LessonTextError(f"the commands are not those that ran: {command.text!r}, {ran.text!r}")
            lines.append("$ " + command.text.replace("\n", "\n> "))
            lines += ran.output if fits else map(shown, printed)
        return "```console\n" + "\n".join(lines) + "\n```"

    return _BLOCK.sub(block, text)


def _copied(source: str, target: str) -> str:
    """Return a lesson's text with its blocks of code as another language has them; they may be empty in it."""
    blocks = [match[0] for match in _CODE.finditer(source)]
    kinds = [match[1] for match in _CODE.finditer(source)], [match[1] for match in _CODE.finditer(target)]
    if kinds[0] != kinds[1]:
        raise LessonTextError(f"the languages have other blocks of code, make them the same first: {kinds}")
    waiting = iter(blocks)
    return _CODE.sub(lambda _: next(waiting), target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the module's text says; return 0 where all is well."""
    parser = argparse.ArgumentParser(prog="python -m sim.course.author", description="Check and complete a lesson.")
    parser.add_argument("what", choices=("check", "write"))
    parser.add_argument("files", nargs="+", type=Path, metavar="lessons/en/NN-NAME.md")
    parsed = parser.parse_args(arguments)
    wrong = 0
    for file in parsed.files:
        try:
            for line in _check(file, write=parsed.what == "write"):
                print(f"{file}: {line}")
                wrong += 1
        except CourseError as error:
            print(error)
            wrong += 1
    return 1 if wrong else 0


def _check(file: Path, *, write: bool) -> list[str]:
    lesson = parse(file, Language.EN)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="layerlab-author-") as place, contextlib.ExitStack() as stack:
        stack.callback(engine.stop, Path(place) / "home" / f"layerlab-lesson-{lesson.number}")
        found = run_commands(lesson, Path(place))
        if write:
            text = _written(file.read_text(), found)
            file.write_text(text)
        else:
            wrong += [
                f"line {command.line}: {command.text!r} prints\n    " + "\n    ".join(printed)
                for command, printed, fits in found
                if not fits
            ]
        twin = file.parents[1] / Language.ZH / file.name
        if twin.exists():
            if write:
                twin.write_text(_copied(text, twin.read_text()))
            wrong += differences(parse(file, Language.EN), parse(twin, Language.ZH))
        else:
            wrong.append("there is no Chinese text yet")
        picture = (file.parent / lesson.figure).resolve()
        if not picture.exists() or not picture.with_suffix(".py").exists():
            wrong.append(f"{picture}: the figure, or the script beside it that draws it, is not there")
        wrong += run_solutions(lesson, Path(place))
    return wrong


if __name__ == "__main__":
    sys.exit(main())
