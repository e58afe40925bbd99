"""`layerlab predict`: problems about stacks, without end.

Decided here: how a problem is asked and answered on a terminal, and in one call by a script. What problems are is
decided in `sim.course.predict`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.course.predict import Judgement, Problem
    from sim.course.texts import Language

__all__ = ["command"]


@click.command("predict")
@click.option("--form", type=click.Choice(["state", "operation", "bytes", "any"]), default="any", help="What is asked.")
@click.option("--level", type=click.IntRange(1, 3), default=1, help="How hard it is.")
@click.option("--seed", type=click.IntRange(min=0), help="Which problem; the same seed gives the same one.")
@click.option("--answer", metavar="TEXT", help="Judge this answer and end: with 0 if it is right, with 1 if it is not.")
@click.option("--json", "as_json", is_flag=True, help="Print the problem as JSON, with --answer also what it is worth.")
@click.option(
    "--figure", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Draw the stack that comes of it."
)
@click.option("--score", "only_score", is_flag=True, help="Print the score and end.")
@click.option("--lang", type=click.Choice(["en", "zh"]), help="English or Chinese; by default as the environment says.")
def command(
    form: str,
    level: int,
    seed: int | None,
    answer: str | None,
    as_json: bool,
    figure: Path | None,
    only_score: bool,
    lang: str | None,
) -> int:
    """Predict what a stack becomes, then see what the real union did.

    An answer is a letter, or in your own words: `/etc/motd whiteout`, `rm /etc/motd`, `/etc/motd 1200`.

    \b
    layerlab predict
    layerlab predict --form bytes --level 2
    layerlab predict --form state --seed 7 --answer "/etc/motd file"
    """
    from sim.course.predict import Form, make, score
    from sim.course.texts import Language

    language = Language(lang) if lang else Language.of()
    if only_score:
        for one, value in score.load().items():
            click.echo(score.words(one, value).in_(language))
        return 0
    number = SystemRandom().randrange(1_000_000) if seed is None else seed
    forms = list(Form) if form == "any" else [Form(form)]
    if answer is not None or as_json:
        return _once(make(forms[number % len(forms)], level, number), answer, as_json, figure, language)
    while _asked(make(forms[number % len(forms)], level, number), figure, language):
        number += 1
    return 0


def _once(problem: Problem, answer: str | None, as_json: bool, figure: Path | None, language: Language) -> int:
    from sim.course.predict import UnclearError, judge, reveal, score

    judged: Judgement | None = None
    if answer is not None:
        try:
            judged = judge(problem, answer)
        except UnclearError as error:
            raise click.BadParameter(error.text.in_(language), param_hint="'--answer'") from None
        score.record(problem.form, judged.right)
        if figure is not None:
            _draw(problem, figure)
    if as_json:
        click.echo(json.dumps(_as_json(problem, judged), ensure_ascii=False, indent=2))
    elif judged is not None:
        click.echo(judged.text.in_(language))
        click.echo(reveal.reasons(problem).in_(language))
    return 0 if judged is None or judged.right else 1


def _as_json(problem: Problem, judged: Judgement | None) -> dict[str, object]:
    from sim.course.predict import reveal

    asked = reveal.question(problem)
    found: dict[str, object] = {
        "form": problem.form,
        "level": problem.level,
        "seed": problem.seed,
        "question": {"en": asked.en, "zh": asked.zh},
        "steps": [] if problem.form == "operation" else [str(step) for step in problem.steps],
        "choices": [choice.text for choice in problem.choices],
    }
    if judged is not None:
        why = reveal.reasons(problem)
        found["right"] = judged.right
        found["answer"] = problem.choices[problem.right].text
        found["said"] = {"en": judged.text.en, "zh": judged.text.zh}
        found["reasons"] = {"en": why.en, "zh": why.zh}
    return found


def _draw(problem: Problem, file: Path) -> None:
    from sim.course.predict import reveal
    from sim.figures import save

    if file.suffix not in (".png", ".svg", ".pdf"):
        raise click.BadParameter(f"{file}: the name has to end in .png, .svg or .pdf.", param_hint="'--figure'")
    save(reveal.figure(problem), file, form=file.suffix[1:])


def _asked(problem: Problem, figure: Path | None, language: Language) -> bool:
    """Ask one problem on the terminal; return whether there is to be another one."""
    from sim.course.predict import UnclearError, judge, reveal, score
    from sim.course.texts import Text

    click.secho(f"\n{problem.name}", bold=True)
    click.echo(reveal.question(problem).in_(language))
    for line in reveal.options(problem):
        click.echo(f"  {line}")
    while True:
        click.echo(Text("Your answer (q to end): ", "你的答案（q 结束）：").in_(language), nl=False)
        line = sys.stdin.readline()
        if not line or line.strip().lower() in ("q", "quit", "exit"):
            click.echo()
            return False
        try:
            judged = judge(problem, line)
            break
        except UnclearError as error:
            click.echo(error.text.in_(language))
    click.secho(judged.text.in_(language), fg="green" if judged.right else "red")
    click.echo(reveal.reasons(problem).in_(language))
    if figure is not None:
        _draw(problem, figure)
        click.echo(figure)
    click.echo(score.words(problem.form, score.record(problem.form, judged.right)).in_(language))
    return True
