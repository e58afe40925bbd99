"""What is shown of a problem, before and after the answer: the stack, the question, the reasons, a figure.

Decided here: the words. The reasons are what the engine recorded, effect by effect. Functions, no state: any thread
but for the figure, which matplotlib draws in one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs import Effect, EffectKind
from sim.course.predict.engine import stack_of
from sim.course.predict.problems import Form, Problem, state_text
from sim.course.texts import Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "options", "question", "reasons"]

_ASK = {
    Form.STATE: Text(
        "What does the RW layer have afterwards, and of which kind (file, directory, opaque directory, whiteout)?",
        "之后 RW 层里有什么？分别是哪一种（文件、目录、opaque 目录、whiteout）？",
    ),
    Form.OPERATION: Text("Which one command did that?", "是哪一条命令做到的？"),
    Form.BYTES: Text(
        "How many bytes does copy-up copy, of which files, from which layers?",
        "copy-up 复制了多少字节？复制的是哪些文件？来自哪一层？",
    ),
}


def question(problem: Problem) -> Text:
    """Return all that is given, and what is asked."""
    lines = []
    for number, layer in enumerate(problem.world.layers, 1):
        parts = [f"{path} {size} B" for path, size in layer.files]
        parts += [f"{path} whiteout" for path in layer.whiteouts] + [f"{path} opaque" for path in layer.opaque]
        lines.append((number, layer.name, parts))
    width = max(len(name) for _, name, _ in lines)
    en = ["The stack, from the top:"]
    zh = ["栈（从上往下）："]
    given = state_text(problem.given)
    if problem.form is Form.OPERATION:
        en.append(f"  layer 0  RW  {'RW':<{width}}  {given}")
        zh.append(f"  第 0 层  RW  {'RW':<{width}}  {given}")
    else:
        en.append(f"  layer 0  RW  {'RW':<{width}}  nothing yet")
        zh.append(f"  第 0 层  RW  {'RW':<{width}}  还是空的")
    for number, name, parts in lines:
        text = f"\n{' ' * (width + 17)}".join(parts)
        en.append(f"  layer {number}  RO  {name:<{width}}  {text}")
        zh.append(f"  第 {number} 层  RO  {name:<{width}}  {text}")
    if problem.form is Form.OPERATION:
        after = state_text(problem.played.state)
        en += ["Afterwards the RW layer has:", f"  {after}"]
        zh += ["之后 RW 层里有：", f"  {after}"]
    else:
        en += ["A process does:", *(f"  {step}" for step in problem.steps)]
        zh += ["一个进程执行：", *(f"  {step}" for step in problem.steps)]
    ask = _ASK[problem.form]
    return Text("\n".join([*en, ask.en]), "\n".join([*zh, ask.zh]))


def options(problem: Problem) -> list[str]:
    """Return the choices with their letters."""
    return [f"{letter})  {choice.text}" for letter, choice in zip("abcd", problem.choices, strict=False)]


def reasons(problem: Problem) -> Text:
    """Return what the union recorded for each step, in words."""
    names = {0: "RW", **{number: layer.name for number, layer in enumerate(problem.world.layers, 1)}}
    en: list[str] = []
    zh: list[str] = []
    for step, effects in zip(problem.steps, problem.played.effects[len(problem.before) :], strict=True):
        told = [_words(effect, names) for effect in effects]
        en.append(f"{step}: {'; '.join(text.en for text in told) or 'nothing changes in the RW layer'}")
        zh.append(f"{step}：{'；'.join(text.zh for text in told) or 'RW 层没有任何变化'}")
    return Text("\n".join(en), "\n".join(zh))


def _words(effect: Effect, names: dict[int, str]) -> Text:
    path, origin = effect.path, names.get(effect.origin or 0, "")
    match effect.kind:
        case EffectKind.COPIED_UP:
            size = (f", {effect.size} bytes", f"，{effect.size} 字节") if effect.size else ("", "")
            return Text(f"{path} copied up from {origin}{size[0]}", f"{path} 从 {origin} copy-up{size[1]}")
        case EffectKind.CREATED:
            return Text(f"{path} is new", f"{path} 是新建的")
        case EffectKind.REMOVED:
            return Text(f"{path} goes away from the RW layer", f"{path} 从 RW 层消失")
        case EffectKind.WHITEOUT:
            return Text(
                f"a whiteout hides {path} of {origin or 'a layer below'}",
                f"whiteout 隐藏了 {origin or '下层'} 的 {path}",
            )
        case EffectKind.OPAQUE:
            return Text(f"{path} is opaque: it hides all below", f"{path} 是 opaque 的：隐藏下面的一切")
        case EffectKind.REVEALED:
            return Text(f"the whiteout of {path} is taken away", f"{path} 的 whiteout 被拿走")
        case EffectKind.RENAMED:
            return Text(f"{path} becomes {effect.target}", f"{path} 变成 {effect.target}")
        case EffectKind.LINKED:
            return Text(f"{path} is one more name of {effect.target}", f"{path} 是 {effect.target} 的又一个名字")
        case EffectKind.WRITTEN:
            return Text(f"{effect.size} bytes written to {path}", f"向 {path} 写入 {effect.size} 字节")
        case EffectKind.METADATA:
            return Text(f"metadata of {path} set", f"设置了 {path} 的元数据")
        case EffectKind.REDIRECT:
            return Text(f"{path} says where its lower part lies", f"{path} 记下其下层部分的位置")


def figure(problem: Problem) -> Figure:
    """Draw the stack after the steps, cut open."""
    from sim.figures import cross_section
    from sim.graph import cross_section as view

    with tempfile.TemporaryDirectory(prefix="layerlab-predict-") as place:
        stack = stack_of(problem.world, [*problem.before, *problem.steps], Path(place))
        return cross_section(view(stack))
