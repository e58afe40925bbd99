"""The plan of the course and the answer key, as Markdown made from the lessons' source.

Decided here: what stands in them. Functions without state: any thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.course.lesson import Lesson
from sim.course.texts import Language, Text

__all__ = ["key", "plan"]


def plan(lessons: Sequence[Lesson]) -> str:
    """Return the plan: what each lesson takes and needs, its questions and objectives, and its notes."""
    language = lessons[0].language if lessons else Language.EN

    def say(en: str, zh: str) -> str:
        return Text(en, zh).in_(language)

    total = sum(lesson.minutes for lesson in lessons)
    lines = [
        f"# {say('Lesson plan', '教学计划')}",
        "",
        say(
            f"{len(lessons)} lessons, {total} minutes. Lessons 1 and 2 and 7 to 10 use an engine, 3 to 6, 11 and 12 a mount.",
            f"共 {len(lessons)} 课，{total} 分钟。第 1、2 课和第 7 至 10 课使用引擎，第 3 至 6 课和第 11、12 课使用挂载。",
        ),
        "",
        f"| | {say('lesson', '课')} | {say('minutes', '分钟')} | {say('exercises', '练习')} | {say('needs', '需要')} |",
        "|---|---|---|---|---|",
    ]
    for one in lessons:
        lines.append(f"| {one.number} | {one.title} | {one.minutes} | {len(one.exercises)} | {one.needs} |")
    for one in lessons:
        lines += ["", f"## {one.number}. {one.title}", ""]
        for part in ("questions", "objectives"):
            lines += [f"**{one.parts[part].title}**", "", *(f"- {item}" for item in one.parts[part].bullets), ""]
        lines += [f"**{one.parts['notes'].title}**", "", one.parts["notes"].text.strip()]
    return "\n".join(lines) + "\n"


def key(lessons: Sequence[Lesson]) -> str:
    """Return the answer key: each exercise with its hints and its solution."""
    language = lessons[0].language if lessons else Language.EN
    lines = [f"# {Text('Answer key', '参考答案').in_(language)}"]
    for one in lessons:
        lines += ["", f"## {one.number}. {one.title}"]
        for exercise in one.exercises:
            lines += ["", f"### {exercise.number} {exercise.title}", "", exercise.task, ""]
            lines += [f"{index}. {' '.join(hint.split())}" for index, hint in enumerate(exercise.hints, 1)]
            lines += ["", exercise.solution]
    return "\n".join(lines) + "\n"
