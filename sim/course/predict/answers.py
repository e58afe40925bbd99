"""Judging an answer: forgiving in form, strict in content.

Decided here and only here: how an answer is understood (the letter of a choice; a state, a command or a number of bytes
in one's own words, English or Chinese), and when it is right. A command is right when the engine, taking it from the
shown state, ends in the other shown state, whatever the problem's own command was. What cannot be understood is not
wrong: it is asked for again. One thread a call.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sim.course.errors import ToldError
from sim.course.predict.engine import Copy, Thing, play
from sim.course.predict.problems import Form, Problem, copies_text, shown, state_text
from sim.course.predict.steps import StepError, clean_path, parse_step
from sim.course.texts import Text

__all__ = ["Judgement", "UnclearError", "judge"]


class UnclearError(ToldError):
    """An answer cannot be understood; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an answer is worth.

    Attributes
    ----------
    right
        Whether it is.
    text
        What is wrong with it, or that nothing is.
    """

    right: bool
    text: Text


_NOTHING = {
    "",
    "0",
    "0b",
    "nothing",
    "none",
    "empty",
    "no",
    "空",
    "无",
    "没有",
    "没有复制",
    "什么都没有",
    "0字节",
    "0bytes",
}
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("opaque", ("opaque", "不透明")),
    (
        "whiteout",
        ("whiteout", "white-out", "wh", "c 0/0", "0/0", "chardev", "character device", "字符设备", "白障", "删除标记"),
    ),
    ("directory", ("directory", "dir", "folder", "目录")),
    ("file", ("file", "copy", "copied up", "copied", "new", "文件", "副本", "复制", "新建")),
)
_ITEM = re.compile(r"[;；\n]|,(?!\d{3}\b)|[，、]| and (?=\S*/)")
_SIZE = re.compile(
    r"(?<![\w/.-])(\d[\d,_ ]*\d|\d)(?:\.(\d+))?\s*(k(?:i?b)?|m(?:i?b)?|b|bytes?|字节)?(?![\w/])", re.IGNORECASE
)
_UNITS = {"k": 1024, "m": 1 << 20}


def judge(problem: Problem, answer: str) -> Judgement:
    """Judge an answer.

    Raises
    ------
    UnclearError
        It cannot be understood.
    """
    answer = answer.strip()
    letter = answer.strip(" .()（）").lower()
    if len(letter) == 1 and letter in "abcd"[: len(problem.choices)]:
        index = ord(letter) - ord("a")
        return _verdict(index == problem.right, problem, None)
    match problem.form:
        case Form.STATE:
            return _state(problem, answer)
        case Form.OPERATION:
            return _operation(problem, answer)
        case Form.BYTES:
            return _bytes(problem, answer)


def _verdict(right: bool, problem: Problem, why: Text | None) -> Judgement:
    if right:
        return Judgement(True, Text("right", "正确"))
    truth = problem.choices[problem.right].text
    said = why or Text("that is another one", "不是这个")
    return Judgement(False, Text(f"no: {said.en}. It is: {truth}", f"不对：{said.zh}。答案是：{truth}"))


def _is_nothing(answer: str) -> bool:
    return answer.strip(" .。").lower().replace(" ", "") in _NOTHING


def _items(answer: str) -> list[str]:
    return [item.strip() for item in _ITEM.split(answer) if item.strip()]


def _path_in(item: str) -> str | None:
    for word in re.split(r"[\s:：=()（）]+", item):
        if "/" in word and word != "0/0":
            return clean_path(word)
    return None


def _without_path(item: str) -> str:
    return " ".join(word for word in re.split(r"[\s:：=()（）]+", item) if "/" not in word or word == "0/0").lower()


def _state(problem: Problem, answer: str) -> Judgement:
    truth = shown(problem.played.state, problem.form)
    said: dict[str, str] = {}
    if not _is_nothing(answer):
        for item in _items(answer):
            path, rest = _path_in(item), _without_path(item)
            kind = next((kind for kind, words in _KINDS if any(_has(rest, word) for word in words)), None)
            if path is None or kind is None:
                raise UnclearError(
                    f"{item!r}: say a path and what the RW layer has there: file, directory, opaque directory, whiteout; or "
                    "`nothing`",
                    f"{item!r}：请写出路径以及 RW 层在那里有什么：文件、目录、opaque 目录、whiteout；或写“空”",
                )
            said[path] = kind
    return _verdict(_complete(said, truth), problem, _state_difference(said, truth))


def _has(text: str, word: str) -> bool:
    return re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", text) is not None


def _complete(said: Mapping[str, str], truth: Mapping[str, Thing]) -> bool:
    return _state_difference(said, truth) is None


def _state_difference(said: Mapping[str, str], truth: Mapping[str, Thing]) -> Text | None:
    """Return the first thing that is said wrongly. Directories that only lead to something need not be named."""
    for path, kind in said.items():
        there = truth.get(path)
        if there is None:
            return Text(f"the RW layer has nothing at {path}", f"RW 层在 {path} 处什么都没有")
        if there.kind != kind:
            return Text(f"{path} is no {kind} there", f"{path} 在那里不是 {kind}")
    for path, thing in truth.items():
        leads = thing.kind == "directory" and any(other.startswith(f"{path}/") for other in truth)
        if path not in said and not leads:
            return Text(f"{path} is missing in your answer", f"你的答案里缺少 {path}")
    return None


def _operation(problem: Problem, answer: str) -> Judgement:
    try:
        step = parse_step(answer)
    except StepError as error:
        raise UnclearError(str(error), f"看不懂这个命令：{error}") from None
    played = play(problem.world, [*problem.before, step])
    if played.failed is not None:
        reason = os.strerror(played.failed[0])
        return _verdict(False, problem, Text(f"`{step}` fails: {reason}", f"`{step}` 会失败：{reason}"))
    wanted = shown(problem.played.state, problem.form)
    got = shown(played.state, problem.form)
    return _verdict(
        got == wanted,
        problem,
        Text(f"`{step}` would leave: {state_text(got)}", f"`{step}` 的结果会是：{state_text(got)}"),
    )


def _number(found: re.Match[str]) -> int:
    whole = re.sub(r"[,_ ]", "", found[1])
    factor = _UNITS.get((found[3] or "b")[0].lower(), 1)
    return round(float(f"{whole}.{found[2] or 0}") * factor)


def _bytes(problem: Problem, answer: str) -> Judgement:
    truth = problem.copies
    if _is_nothing(answer):
        return _verdict(not truth, problem, Text("something was copied", "有内容被复制了"))
    names = [layer.name for layer in problem.world.layers]
    said: list[tuple[str, int, str]] = []
    for item in _items(answer):
        path = _path_in(item)
        rest = " ".join(word for word in item.split() if "/" not in word)
        size = _SIZE.search(rest)
        layer = next((name for name in names if _has(rest.lower(), name)), "")
        if path is None and len(truth) == 1 and size is not None and _number(size) != truth[0].size:
            return _verdict(False, problem, Text("that is another number", "数目不对"))
        if path is None or size is None:
            raise UnclearError(
                f"{item!r}: say for each file that is copied up its path and how many bytes, such as `/etc/motd 1200`; or "
                "`nothing`",
                f"{item!r}：请对每个被 copy-up 的文件写出路径和字节数，例如 `/etc/motd 1200`；或写“空”",
            )
        said.append((path, _number(size), layer))
    return _verdict(_same_copies(said, truth), problem, Text("the copies are others", "复制的内容不是这些"))


def _same_copies(said: list[tuple[str, int, str]], truth: tuple[Copy, ...]) -> bool:
    waiting = list(truth)
    for path, size, layer in said:
        found = next(
            (one for one in waiting if one.path == path and one.size == size and layer in ("", one.layer)), None
        )
        if found is None:
            return False
        waiting.remove(found)
    return not waiting


def truth_text(problem: Problem) -> str:
    """Return the right answer in the words of a choice."""
    if problem.form is Form.BYTES:
        return copies_text(problem.copies)
    return problem.choices[problem.right].text
