"""Slides: one self-contained page of HTML a lesson, made from its source.

Decided here and only here: what of a lesson is a slide, and how slides look and are moved through. Nothing is loaded from
anywhere: the figure is in the page, the script is short. Letters grow with the window, and a slide with too much on it is set
smaller until it fits. Keys: arrows, space, Home, End; n for the notes, p for one
long page. Without a script, and on paper, all slides stand below each other. Functions without state: any thread.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator

from markdown_it import MarkdownIt

from sim.course.lesson import Lesson, Part
from sim.course.texts import Language, Text

__all__ = ["slides"]

#: Lines of text that fit on a slide; more is split at a paragraph.
_ROOM = 16
_WIDTH = {Language.EN: 78, Language.ZH: 40}

_STYLE = """
:root { --ink: #1b1f23; --muted: #5b6670; --paper: #fff; --accent: #0072b2; --glass: #eff3f6 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ecef; --muted: #9aa7b1; --paper: #14181c; --accent: #56b4e9; --glass: #20272d }
}
* { box-sizing: border-box }
body { margin: 0; color: var(--ink); background: var(--paper); font-size: 26px; font-size: max(14px, min(2.03vw, 3.6vh));
  line-height: 1.45; font-family: "DejaVu Sans", "Noto Sans", "Segoe UI", "Helvetica Neue", Arial, sans-serif }
body:lang(zh-Hans) { line-height: 1.6; font-family: "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC",
  "PingFang SC", "Microsoft YaHei", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", sans-serif; text-autospace: normal; line-break: strict }
section { min-height: 100vh; padding: 3vh 6vw 8vh; display: flex; flex-direction: column; justify-content: center; break-after: page }
h1 { font-size: 2.1em; line-height: 1.2; margin: 0 0 .4em } h2 { font-size: 1.35em; margin: 0 0 .6em; color: var(--accent) }
h3 { font-size: 1.05em; margin: .2em 0 .4em }
p, li { margin: .25em 0 } ul { margin: .2em 0; padding-left: 1.2em }
pre { background: var(--glass); border-left: 4px solid var(--accent); padding: .5em .8em; font-size: .62em; line-height: 1.4;
  overflow-x: auto; margin: .4em 0; white-space: pre-wrap; overflow-wrap: anywhere }
code { font-family: "DejaVu Sans Mono", "Cascadia Mono", Menlo, "Noto Sans Mono CJK SC", "Noto Sans CJK SC", "PingFang SC",
    "Microsoft YaHei", "WenQuanYi Zen Hei Mono", monospace; background: var(--glass); padding: 0 .15em } pre code { padding: 0 }
img { max-width: 100%; max-height: 62vh; object-fit: contain; background: #fff; align-self: center }
small, aside { color: var(--muted); font-size: .62em } aside { display: none; border-top: 1px solid var(--muted); margin-top: 1em }
body.notes aside { display: block }
footer { position: fixed; right: 1.5vw; bottom: 1vh; color: var(--muted); font-size: .55em }
body.one section { display: none } body.one section.now { display: flex }
@media print { :root { --ink: #1b1f23; --muted: #5b6670; --paper: #fff; --accent: #0072b2; --glass: #eff3f6 }
  body { font-size: 16px } body.one section { display: flex } footer { display: none } }
"""

_SCRIPT = """
const all = [...document.querySelectorAll("section")];
const count = document.querySelector("footer");
let at = Math.min(Math.max(parseInt(location.hash.slice(1)) || 1, 1), all.length) - 1;
function show(to) {
  at = Math.min(Math.max(to, 0), all.length - 1);
  all.forEach((one, index) => one.classList.toggle("now", index === at));
  count.textContent = `${at + 1} / ${all.length}`;
  history.replaceState(null, "", `#${at + 1}`);
  if (document.body.classList.contains("one")) fit(all[at]);
}
function fit(slide) {
  slide.style.fontSize = "";
  const from = parseFloat(getComputedStyle(slide).fontSize);
  for (let part = 0.95; part > 0.5 && slide.scrollHeight > innerHeight + 1; part -= 0.05) slide.style.fontSize = `${from * part}px`;
}
document.body.classList.add("one");
addEventListener("resize", () => show(at));
addEventListener("hashchange", () => show((parseInt(location.hash.slice(1)) || 1) - 1));
addEventListener("keydown", (event) => {
  const keys = { ArrowRight: at + 1, PageDown: at + 1, " ": at + 1, ArrowLeft: at - 1, PageUp: at - 1, Home: 0, End: all.length };
  if (event.key in keys) { show(keys[event.key]); event.preventDefault(); }
  if (event.key === "n") { document.body.classList.toggle("notes"); show(at); }
  if (event.key === "p") { document.body.classList.toggle("one"); all.forEach((one) => (one.style.fontSize = "")); show(at); }
});
addEventListener("click", (event) => { if (!event.target.closest("a, pre")) show(at + 1); });
show(at);
"""


def slides(lesson: Lesson) -> str:
    """Return the page of a lesson's slides."""
    render = MarkdownIt("commonmark")
    pages = [f"<section>{page}</section>" for page in _pages(lesson, render)]
    return (
        f'<!DOCTYPE html>\n<html lang="{"zh-Hans" if lesson.language is Language.ZH else "en"}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(f'{lesson.number}. {lesson.title}')}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(pages)
        + f"\n<footer></footer>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _pages(lesson: Lesson, render: MarkdownIt) -> Iterator[str]:
    language = lesson.language
    minutes = Text(f"{lesson.minutes} minutes", f"{lesson.minutes} 分钟").in_(language)
    notes = f"<aside>{render.render(lesson.parts['notes'].text)}</aside>"
    yield f"<h1>{lesson.number}. {html.escape(lesson.title)}</h1><p><small>layerlab · {minutes}</small></p>{notes}"
    for key in ("questions", "objectives"):
        yield _heading(lesson.parts[key]) + render.render(lesson.parts[key].text)
    yield from _idea(lesson, render)
    example = lesson.parts["example"]
    for piece in _split(example.text, language):
        yield _heading(example) + render.render(piece)
    for step in lesson.parts["steps"].steps:
        for piece in _split(step.text, language):
            yield f"<h2>{html.escape(lesson.parts['steps'].title)}</h2><h3>{html.escape(step.title)}</h3>{render.render(piece)}"
    for exercise in lesson.exercises:
        folded = "".join(f"<p>{render.render(hint)}</p>" for hint in exercise.hints)
        yield (
            f"<h2>{html.escape(lesson.parts['exercises'].title)}</h2><h3>{exercise.number} {html.escape(exercise.title)}</h3>"
            f"{render.render(exercise.task)}<aside>{folded}</aside>"
        )
    for key in ("key-points", "misconceptions"):
        yield _heading(lesson.parts[key]) + render.render(lesson.parts[key].text)


def _heading(part: Part) -> str:
    return f"<h2>{html.escape(part.title)}</h2>"


def _idea(lesson: Lesson, render: MarkdownIt) -> Iterator[str]:
    """Yield the idea: its text in pieces, and the figure on a slide of its own, where it stands in the text."""
    part = lesson.parts["idea"]
    picture = f"![{lesson.caption}]({lesson.figure})"
    before, _, after = part.text.partition(picture)
    for piece in _split(before, lesson.language):
        yield _heading(part) + render.render(piece)
    data = base64.b64encode((lesson.path.parent / lesson.figure).read_bytes()).decode()
    caption = html.escape(lesson.caption)
    yield f'{_heading(part)}<img alt="{caption}" src="data:image/png;base64,{data}"><p><small>{caption}</small></p>'
    for piece in _split(after, lesson.language):
        yield _heading(part) + render.render(piece)


def _split(text: str, language: Language) -> list[str]:
    """Cut a text at its paragraphs into pieces that fit on a slide; a block of code is one paragraph.

    >>> _split("one\\n\\ntwo", Language.EN)
    ['one\\n\\ntwo']
    """
    pieces: list[str] = []
    room = 0.0
    for block in _blocks(text):
        need = _lines(block, language)
        if not pieces or room + need > _ROOM:
            pieces.append(block)
            room = need
        else:
            pieces[-1] += f"\n\n{block}"
            room += need
    return pieces


def _blocks(text: str) -> list[str]:
    """Return the paragraphs of a text; a block of code is one, whatever is in it."""
    blocks: list[list[str]] = [[]]
    inside = False
    for line in text.strip().splitlines():
        if line.startswith("```"):
            inside = not inside
        if not line.strip() and not inside:
            if blocks[-1]:
                blocks.append([])
        else:
            blocks[-1].append(line)
    return ["\n".join(block) for block in blocks if block]


def _lines(block: str, language: Language) -> float:
    """Return about how many lines of a slide a block takes; code is set smaller."""
    if block.startswith("```"):
        return len(block.splitlines()) * 0.62
    return sum(-(-len(line) // _WIDTH[language]) for line in block.splitlines()) + 0.5
