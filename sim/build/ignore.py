"""`.dockerignore`: which paths of a context are left out.

Decided here and only here: the patterns (Go's `filepath.Match`, `**` for any number of directories, `!` for what stays
all the same, comments), as moby's `patternmatcher` reads them; a path is left out as well when a directory above it is,
and the last pattern that matches decides. Also the wildcards of COPY and ADD, which are Go's alone. Pure values.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from sim.build.errors import DockerfileError

__all__ = ["IgnoreList", "has_wildcards", "wildcard"]


def has_wildcards(path: str) -> bool:
    r"""Tell whether a source has wildcards that are not escaped.

    >>> has_wildcards("a*"), has_wildcards(r"a\\*"[:2] + "*"), has_wildcards("a")
    (True, False, False)
    """
    at = 0
    while at < len(path):
        if path[at] == "\\":
            at += 1
        elif path[at] in "*?[":
            return True
        at += 1
    return False


def _class(pattern: str, at: int) -> tuple[str, int]:
    """Translate a character class from behind its `[`; return it and where it ends."""
    out = "["
    if at < len(pattern) and pattern[at] in "^":
        out += "^/"
        at += 1
    first = True
    while True:
        if at >= len(pattern):
            raise ValueError("syntax error in pattern")
        character = pattern[at]
        if character == "]" and not first:
            return out + "]", at + 1
        first = False
        low, at = _class_character(pattern, at)
        out += re.escape(low)
        if at < len(pattern) and pattern[at] == "-":
            high, at = _class_character(pattern, at + 1)
            if high < low:
                raise ValueError("syntax error in pattern")
            out += "-" + re.escape(high)


def _class_character(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern) or pattern[at] in "-]":
        raise ValueError("syntax error in pattern")
    if pattern[at] == "\\":
        at += 1
        if at >= len(pattern):
            raise ValueError("syntax error in pattern")
    return pattern[at], at + 1


def _translate(pattern: str, *, any_depth: bool) -> str:
    out = ""
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if any_depth and pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                at += 1
            # At the end: everything below; else any number of directories, also none.
            out += ".*" if at >= len(pattern) else "(?:.*/)?"
            continue
        at += 1
        if character == "*":
            out += "[^/]*"
        elif character == "?":
            out += "[^/]"
        elif character == "[":
            part, at = _class(pattern, at)
            out += part
        elif character == "\\":
            if at >= len(pattern):
                raise ValueError("syntax error in pattern")
            out += re.escape(pattern[at])
            at += 1
        else:
            out += re.escape(character)
    return out


def wildcard(pattern: str) -> re.Pattern[str] | None:
    """Return a source's wildcard as an expression for whole paths; None for one that is none (it matches nothing).

    >>> bool(wildcard("d?r/*.txt").fullmatch("dir/a.txt")), bool(wildcard("*").fullmatch("a/b"))
    (True, False)
    """
    try:
        return re.compile(_translate(pattern, any_depth=False), re.DOTALL)
    except ValueError:
        return None


class IgnoreList:
    """The patterns of a `.dockerignore`.

    Parameters
    ----------
    lines
        Its lines.

    Raises
    ------
    DockerfileError
        A pattern is none.

    Examples
    --------
    >>> ignored = IgnoreList(["*.md", "!README.md", "**/tmp"])
    >>> ignored.excludes("notes.md"), ignored.excludes("README.md"), ignored.excludes("a/b/tmp/x")
    (True, False, True)
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._patterns: list[tuple[bool, re.Pattern[str]]] = []
        self._saved: list[str] = []
        for line in lines:
            text = line.lstrip("\ufeff")
            if text.startswith("#"):
                continue
            text = text.strip()
            if not text:
                continue
            negated = text.startswith("!")
            if negated:
                text = text[1:].strip()
                if not text:
                    raise DockerfileError('Illegal exclusion pattern: "!"')
            text = posixpath.normpath(text)
            if len(text) > 1:
                text = text.lstrip("/")
            try:
                compiled = re.compile(_translate(text, any_depth=True), re.DOTALL)
            except ValueError as error:
                raise DockerfileError(f"{error}: {text}") from None
            self._patterns.append((negated, compiled))
            if negated:
                self._saved.append(f"{text}/")

    def enters(self, directory: str) -> bool:
        """Tell whether what is in a directory has to be looked at.

        In one that is left out only if a pattern with `!` begins with its path, as the docker command does it:
        `!**/x` saves nothing that lies in one.
        """
        return not self.excludes(directory) or any(text.startswith(f"{directory}/") for text in self._saved)

    def excludes(self, path: str) -> bool:
        """Tell whether a path, from the context's root, is left out."""
        parts = path.split("/")
        candidates = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
        found = False
        for negated, pattern in self._patterns:
            if negated != found:
                continue  # it would change nothing
            if any(pattern.fullmatch(candidate) for candidate in candidates):
                found = not negated
        return found
