"""`layerlab lesson`: start a lesson, have its exercises checked, get hints.

Decided here: the words on the command line and how results are shown. What a lesson's directory is, is decided in
`sim.course.place`; what is checked, in `sim.course.exercises`; what is told, in the lessons' texts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.course.lesson import ExerciseText
    from sim.course.texts import Language

__all__ = ["command"]

_DIR = click.option(
    "--dir",
    "home",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The lesson's directory; by default the one you are in, else ./layerlab-lesson-N.",
)


@click.group(
    "lesson", epilog="Start with `layerlab lesson list`. Which language is spoken says --lang, or LAYERLAB_LANG."
)
@click.option("--lang", type=click.Choice(["en", "zh"]), help="English or Chinese; by default as the environment says.")
@click.pass_context
def command(ctx: click.Context, lang: str | None) -> None:
    """Lessons with exercises that check themselves."""
    from sim.course.texts import Language

    ctx.obj = Language(lang) if lang else Language.of()


@command.command("list")
@click.pass_obj
def list_(language: Language) -> None:
    """List the lessons."""
    from sim.course import shelf
    from sim.course.texts import Text

    needs = {
        "fuse": Text("needs FUSE", "需要 FUSE"),
        "engine": Text("needs the engine", "需要引擎"),
        "registry": Text("needs the engine and docker-registry", "需要引擎和 docker-registry"),
        "root": Text("needs root", "需要 root"),
    }
    for one in shelf.lessons(language):
        minutes = Text(f"{one.minutes} min", f"{one.minutes} 分钟").in_(language)
        exercises = Text(f"{len(one.exercises)} exercises", f"{len(one.exercises)} 个练习").in_(language)
        said = "  ".join([minutes, exercises, *([needs[one.needs].in_(language)] if one.needs in needs else [])])
        click.echo(f"{one.number:3}  {click.style(one.title, bold=True)}\n     {said}")


@command.command("read")
@click.argument("number", type=int)
@click.pass_obj
def read(language: Language, number: int) -> None:
    """Print the text of lesson NUMBER."""
    from rich.console import Console
    from rich.markdown import Markdown

    from sim.course import shelf

    text = shelf.lesson(number, language).path.read_text().split("---\n", 2)[2]
    Console().print(Markdown(text.replace("<details><summary>", "**").replace("</summary>", "**")))


@command.command("start")
@click.argument("number", type=int)
@_DIR
@click.pass_obj
def start(language: Language, number: int, home: Path | None) -> None:
    """Lay out the directory of lesson NUMBER."""
    from sim.course import exercises, place, shelf
    from sim.course.texts import Text

    lesson = shelf.lesson(number, language)
    made = place.start(number, home or place.default_home(number), exercises.lay_out(number))
    click.echo(
        Text(f"{made.home}: lesson {number}, {lesson.title}", f"{made.home}：第 {number} 课，{lesson.title}").in_(
            language
        )
    )
    for one in lesson.exercises:
        click.echo(f"  {one.number}  {one.title}")
    if lesson.needs == "fuse":
        _say_without_fuse(language, number)


def _say_without_fuse(language: Language, number: int) -> None:
    """Say what to do instead where nothing can be mounted: a check takes what the union did in Python as well."""
    from fusefs.errors import MountError
    from fusefs.mount import choose_driver
    from sim.course.texts import Text

    try:
        choose_driver()
    except MountError:
        other = Text(
            "`UnionFS` in Python with a `Recorder` on journal.db",
            "Python 里的 `UnionFS`，并用 `Recorder` 写 journal.db",
        )
        if number == 12:  # what is written there is a mount
            other = Text(
                "notebook 10, which writes a union without mounting it", "笔记本 10：写一个联合文件系统而不挂载它"
            )
        said = Text(
            f"nothing can be mounted here (layerlab doctor says why): instead of the mount use {other.en}",
            f"这里不能挂载（原因见 layerlab doctor）：请改用{other.zh}",
        )
        click.echo(said.in_(language), err=True)


@command.command("check")
@click.argument("number", default="")
@_DIR
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.pass_obj
def check(language: Language, number: str, home: Path | None, as_json: bool) -> int:
    """Check the exercises of lesson NUMBER (3), or one of them (3.2). Ends with 1 if one is not solved."""
    from sim.course import exercises, place

    lesson, only = _number(number)
    results = exercises.check(place.find(lesson, home), only)
    if as_json:
        click.echo(
            json.dumps(
                [{"exercise": r.number, "passed": r.passed, "en": r.text.en, "zh": r.text.zh} for r in results],
                ensure_ascii=False,
            )
        )
    else:
        for one in results:
            mark = click.style("✓", fg="green") if one.passed else click.style("✗", fg="red")
            click.echo(f"{mark} {one.number}  {one.text.in_(language)}")
    return 0 if all(one.passed for one in results) else 1


@command.command("hint")
@click.argument("number")
@_DIR
@click.option("--all", "all_", is_flag=True, help="All hints at once.")
@click.pass_obj
def hint(language: Language, number: str, home: Path | None, all_: bool) -> None:
    """Give the next hint for exercise NUMBER (3.2)."""
    from sim.course import place

    lesson, only = _number(number)
    hints = _exercise(language, lesson, only).hints
    if all_:
        chosen = list(enumerate(hints, 1))
    else:
        given = place.find(lesson, home).give_hint(only, len(hints))
        chosen = [(given, hints[given - 1])]
    for count, text in chosen:
        click.echo(f"{count}/{len(hints)}  {text}")


@command.command("solution")
@click.argument("number")
@click.pass_obj
def solution(language: Language, number: str) -> None:
    """Show the solution of exercise NUMBER (3.2)."""
    click.echo(_exercise(language, *_number(number)).solution)


@command.command("reset")
@click.argument("number", type=int, required=False)
@_DIR
@click.pass_obj
def reset(language: Language, number: int | None, home: Path | None) -> None:
    """Make the directory of lesson NUMBER as it was at its start. Everything in it goes; nothing else is touched."""
    from sim.course import exercises, place
    from sim.course.texts import Text

    found = place.find(number, home, checked=False)
    place.reset(found, exercises.lay_out(found.marker.lesson))
    click.echo(
        Text(
            f"{found.home}: lesson {found.marker.lesson} as it was at its start",
            f"{found.home}：第 {found.marker.lesson} 课已恢复到开始时的样子",
        ).in_(language)
    )


@command.command("teach")
@click.argument("what", type=click.Choice(["slides", "plan", "key", "otter"]))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR", help="Where to.")
@click.option("--lesson", "numbers", type=int, multiple=True, metavar="N", help="This lesson only; may be repeated.")
@click.pass_obj
def teach(language: Language, what: str, out: Path, numbers: tuple[int, ...]) -> None:
    """Make what a teacher needs: slides, the plan, the answer key, notebooks for otter-grader.

    \b
    layerlab lesson teach slides --out slides
    layerlab lesson --lang zh teach key --out handouts
    """
    from sim.course import shelf

    lessons = [shelf.lesson(number, language) for number in numbers] or shelf.lessons(language)
    out.mkdir(parents=True, exist_ok=True)
    if what == "slides":
        from sim.course.teaching.slides import slides

        for one in lessons:
            file = out / f"{one.number:02}-{one.name}.html"
            file.write_text(slides(one))
            click.echo(file)
    elif what == "otter":
        from sim.course.teaching import otter

        for file in otter.write(lessons, out):
            click.echo(file)
    else:
        from sim.course.teaching import handout

        file = out / f"{what}.md"
        file.write_text(handout.plan(lessons) if what == "plan" else handout.key(lessons))
        click.echo(file)


@command.command("python")
def python() -> None:
    """Print the Python that has fuse-python: for programs of your own."""
    import sys

    click.echo(sys.executable)


@command.command("engine")
@click.option("--stop", is_flag=True, help="Stop it, with its containers.")
@_DIR
def engine_(stop: bool, home: Path | None) -> None:
    """Start the engine of the lesson that you are in, and say how the commands find it.

    \b
    eval "$(layerlab lesson engine)"
    """
    from sim.course import engine, place

    found = place.find(None, home).home
    if stop:
        engine.stop(found)
    else:
        click.echo(f"export LAYERLAB_HOST={engine.start(found).host}")


def _number(text: str) -> tuple[int | None, str]:
    """Return lesson and exercise of `3`, `3.2` or nothing."""
    lesson, dot, exercise = text.partition(".")
    if text and not (lesson.isdecimal() and (exercise.isdecimal() if dot else True)):
        raise click.BadParameter(f"{text!r} is neither a lesson, such as 3, nor an exercise, such as 3.2.")
    return (int(lesson) if lesson else None), (text if dot else "")


def _exercise(language: Language, lesson: int | None, number: str) -> ExerciseText:
    from sim.course import shelf

    found = shelf.lesson(lesson, language).exercise(number) if lesson is not None and number else None
    if found is None:
        raise click.BadParameter(f"{number or lesson} is no exercise; name one, such as 3.2.")
    return found
