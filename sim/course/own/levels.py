"""The levels of "write your own", their points, and the skeleton of each, cut from one complete program.

Decided here and only here: which levels there are, in which order, and how a skeleton comes about. In `complete.py` a
region between `# begin LEVEL: words` and `# end LEVEL` is what a student writes at that level. In a skeleton for a
level, the regions of earlier levels are there, those of this and later ones are not: one that begins with `# begin!`
is the whole body of a function, which then raises ENOSYS; another leaves its words as a comment. So the solution of a
level is the skeleton of the next by construction.
"""

from __future__ import annotations

import re
from pathlib import Path

from sim.course.errors import CourseError
from sim.course.texts import Text

__all__ = ["LEVELS", "POINTS", "WORDS", "skeleton", "solution"]

LEVELS = ("lookup", "readdir", "whiteout", "copyup", "rename", "opaque")

#: What each level is worth; a hundred together.
POINTS = {"lookup": 20, "readdir": 15, "whiteout": 20, "copyup": 20, "rename": 15, "opaque": 10}

WORDS = {
    "lookup": Text("find a file in the layers", "在各层中查找文件"),
    "readdir": Text("list a merged directory", "列出合并后的目录"),
    "whiteout": Text("delete, and hide what is below", "删除，并隐藏下层的内容"),
    "copyup": Text("change: copy up first", "修改：先 copy-up"),
    "rename": Text("give another name", "重命名"),
    "opaque": Text("directories that hide all below", "隐藏下面一切的目录"),
}

_BEGIN = re.compile(r"^( *)# begin(!?) (\w+)(?:: (.*))?$")
_END = re.compile(r"^ *# end (\w+)$")


def _source() -> list[str]:
    return Path(__file__).with_name("complete.py").read_text().splitlines()


def skeleton(level: str) -> str:
    """Return the program in which a level, and all after it, are still to be written.

    >>> "level lookup" in skeleton("lookup"), "level lookup" in skeleton("readdir")
    (True, False)
    """
    if level not in LEVELS:
        raise CourseError(f"there is no level {level!r}; there are {', '.join(LEVELS)}")
    return _cut(LEVELS.index(level))


def solution(level: str) -> str:
    """Return the program in which a level is solved: the skeleton of the next one."""
    if level not in LEVELS:
        raise CourseError(f"there is no level {level!r}; there are {', '.join(LEVELS)}")
    return _cut(LEVELS.index(level) + 1)


def _cut(done: int) -> str:
    """Return the program with the regions of the first `done` levels."""
    kept: list[str] = []
    missing = ""  # the level whose region is being left out
    for line in _source():
        if begin := _BEGIN.match(line):
            space, whole, level, words = begin.groups()
            if missing or LEVELS.index(level) < done:
                continue
            missing = level
            if whole:
                kept.append(f'{space}raise OSError(errno.ENOSYS, "level {level}: yours to write")')
            else:
                kept.append(f"{space}# level {level}: {words}")
        elif end := _END.match(line):
            if end[1] == missing:
                missing = ""
        elif not missing:
            kept.append(line)
    return "\n".join(kept) + "\n"
