"""Templates as tokens.

Decided here and only here: where actions begin and end, which white space `{{-` and `-}}` take away, and what a token
is, after Go's text/template. Values only; any thread.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sim.cli.template.errors import SyntaxProblem

__all__ = ["KEYWORDS", "Token", "tokens"]

KEYWORDS = frozenset(("block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"))

_SPACE = " \t\r\n"

#: The kinds of tokens inside of an action; the first that matches counts.
_INSIDE = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<declare>:=)
    |(?P<assign>=)
    |(?P<pipe>\|)
    |(?P<comma>,)
    |(?P<string>"(?:\\[^\n]|[^"\\\n])*")
    |(?P<raw>`[^`]*`)
    |(?P<char>'(?:\\[^\n]|[^'\\\n])+')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:[0-9][0-9_]*)?\.[0-9]+(?:[eE][+-]?[0-9]+)?
        |[0-9][0-9_]*\.?(?:[eE][+-]?[0-9]+)?))
    |(?P<variable>\$\w*)
    |(?P<field>\.[^\W\d]\w*)
    |(?P<dot>\.(?![\w.]))
    |(?P<word>[^\W\d]\w*)
    |(?P<left>\()
    |(?P<right>\))
    """,
    re.VERBOSE,
)


class Token(NamedTuple):
    """A token.

    Attributes
    ----------
    kind
        `text`, `open`, `close`, or one of those inside of an action.
    text
        As it is written.
    at
        Where it begins.
    line
        On which line, from 1.
    """

    kind: str
    text: str
    at: int
    line: int


def tokens(source: str, name: str) -> list[Token]:
    """Return the tokens of a template.

    Raises
    ------
    SyntaxProblem
        An action has no end, or holds what is no token.

    Examples
    --------
    >>> [token.text for token in tokens("a {{- .Name | upper}}", "") if token.kind != "space"]
    ['a', '{{', '.Name', '|', 'upper', '}}']
    """
    found: list[Token] = []
    at, trim = 0, False
    while True:
        start = source.find("{{", at)
        text = source[at:] if start < 0 else source[at:start]
        offset = at
        if trim:
            offset += len(text) - len(text.lstrip(_SPACE))
            text = text.lstrip(_SPACE)
        trims = start >= 0 and source.startswith("{{-", start) and source[start + 3 : start + 4] in (*_SPACE,)
        if trims:
            text = text.rstrip(_SPACE)
        if text:
            found.append(Token("text", text, offset, 1 + source.count("\n", 0, offset)))
        if start < 0:
            return found
        inside = start + (3 if trims else 2)
        if source.startswith("/*", inside + (1 if trims else 0)):
            at, trim = _comment(source, inside, name)
            continue
        line = 1 + source.count("\n", 0, start)
        found.append(Token("open", "{{", start, line))
        at, trim = _action(source, inside, name, found)


def _problem(name: str, source: str, at: int, text: str) -> SyntaxProblem:
    return SyntaxProblem(f"template: {name}:{1 + source.count(chr(10), 0, at)}: {text}")


def _comment(source: str, at: int, name: str) -> tuple[int, bool]:
    end = source.find("*/", at)
    if end < 0:
        raise _problem(name, source, at, "unclosed comment")
    end += 2
    if source.startswith("}}", end):
        return end + 2, False
    if source[end : end + 1] in (*_SPACE,) and source.startswith("-}}", end + 1):
        return end + 4, True
    raise _problem(name, source, end, "comment ends before closing delimiter")


def _action(source: str, at: int, name: str, found: list[Token]) -> tuple[int, bool]:
    """Add the tokens of an action; return where the text goes on, and whether its white space is taken away."""
    depth = 0
    while True:
        if source.startswith("}}", at):
            trim = False
        elif source[at : at + 1] in (*_SPACE,) and source.startswith("-}}", at + 1):
            at, trim = at + 2, True
        else:
            at, depth = _inner(source, at, name, found, depth)
            continue
        if depth:
            raise _problem(name, source, at, "unclosed left paren")
        found.append(Token("close", "}}", at, 1 + source.count("\n", 0, at)))
        return at + 2, trim


def _inner(source: str, at: int, name: str, found: list[Token], depth: int) -> tuple[int, int]:
    match = _INSIDE.match(source, at)
    if match is None:
        if at >= len(source):
            raise _problem(name, source, at, "unclosed action")
        raise _problem(name, source, at, _unreadable(source, at))
    kind = str(match.lastgroup)
    if kind == "space" and source.startswith("-}}", match.end()):
        return match.end() - 1, depth
    text = match.group()
    after = source[match.end() : match.end() + 1]
    if kind in ("word", "field", "variable") and after and not re.match(r"[ \t\r\n.,|:)(}=]", after):
        raise _problem(name, source, at, f"bad character {_codepoint(after)}")
    if kind == "number" and re.match(r"\w", after):
        raise _problem(name, source, at, f"bad number syntax: {(text + after)!r}".replace("'", '"'))
    depth += (kind == "left") - (kind == "right")
    if depth < 0:
        raise _problem(name, source, at, "unexpected right paren")
    found.append(Token(kind, text, at, 1 + source.count("\n", 0, at)))
    return match.end(), depth


def _unreadable(source: str, at: int) -> str:
    one = source[at]
    for quote, text in (('"', "unterminated quoted string"), ("`", "unterminated raw quoted string")):
        if one == quote:
            return text
    if one == "'":
        return "unterminated character constant"
    if one == ":":
        return "expected :="
    if one == "{":
        return 'unexpected "{" in command'
    if one in "+-":
        return f'illegal number syntax: "{one}"'
    return f"unrecognized character in action: {_codepoint(one)}"


def _codepoint(one: str) -> str:
    return f"U+{ord(one):04X} '{one}'"
