"""Tokens as nodes.

Decided here and only here: the grammar of Go's text/template, and what is said about a template that breaks it. One
`Reader` reads one template; one thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container

from sim.cli.template.errors import SyntaxProblem
from sim.cli.template.lex import KEYWORDS, Token, tokens
from sim.cli.template.nodes import (
    Action,
    Block,
    Chain,
    Command,
    Constant,
    Control,
    Field,
    Jump,
    Node,
    Pipe,
    Text,
    Use,
)

__all__ = ["Reader"]

_END = "EOF"


class Reader:
    """Reads a template into its blocks; the template itself is the block with its own name.

    Parameters
    ----------
    source
        The template.
    name
        What errors call it.
    functions
        The names of functions that there are.

    Raises
    ------
    SyntaxProblem
        It cannot be read.
    """

    def __init__(self, source: str, name: str, functions: Container[str]) -> None:
        self._name = name
        self._functions = functions
        self._tokens = tokens(source, name)
        self._last = Token(_END, _END, len(source), 1 + source.count("\n"))
        self._next = 0
        self._variables = ["$"]
        self._loops = 0
        self.blocks: dict[str, Block] = {}
        body, end = self._body(("",))
        assert end == ""
        self.blocks[name] = Block(body)

    # -- tokens

    def _peek(self) -> Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else self._last

    def _take(self) -> Token:
        token = self._peek()
        self._next += 1
        return token

    def _peek_word(self) -> Token:
        """Return the next token that is no space."""
        while self._peek().kind == "space":
            self._next += 1
        return self._peek()

    def _take_word(self) -> Token:
        token = self._peek_word()
        self._next += 1
        return token

    def _problem(self, text: str, token: Token | None = None) -> SyntaxProblem:
        return SyntaxProblem(f"template: {self._name}:{(token or self._peek()).line}: {text}")

    def _unexpected(self, token: Token, where: str) -> SyntaxProblem:
        if token.kind == _END:
            return self._problem("unexpected EOF", token)
        shown = f"<{token.text}>" if token.text in KEYWORDS else _quoted(token.text)
        return self._problem(f"unexpected {shown} in {where}", token)

    # -- bodies

    def _body(self, ends: tuple[str, ...]) -> tuple[tuple[Node, ...], str]:
        """Read up to one of the words that end this body, which is taken; empty: up to the end of the template."""
        found: list[Node] = []
        while True:
            token = self._take()
            if token.kind == _END:
                if "" in ends:
                    return tuple(found), ""
                raise self._problem("unexpected EOF", token)
            if token.kind == "text":
                found.append(Text(token.at, token.text))
                continue
            word = self._peek_word()
            if word.kind == "word" and word.text in ("end", "else"):
                self._take()
                if word.text not in ends:
                    raise self._problem(f"unexpected {{{{{word.text}}}}}", word)
                return tuple(found), word.text
            if word.kind == "word" and word.text in KEYWORDS and word.text != "nil":
                self._take()
                found.extend(self._keyword(word))
            else:
                pipe = self._pipe("command", "close")
                found.append(Action(token.at, pipe))

    def _keyword(self, word: Token) -> list[Node]:
        match word.text:
            case "if" | "with" | "range":
                return [self._control(word)]
            case "break" | "continue":
                token = self._take_word()
                if token.kind != "close":
                    raise self._unexpected(token, f"{{{{{word.text}}}}}")
                if not self._loops:
                    raise self._problem(f"{{{{{word.text}}}}} outside {{{{range}}}}", word)
                return [Jump(word.at, word.text)]
            case "template":
                name = self._string(word)
                if self._peek_word().kind == "close":
                    self._take()
                    return [Use(name[1], name[0], None)]
                return [Use(name[1], name[0], self._pipe("template clause", "close"))]
            case _:
                return self._definition(word)

    def _definition(self, word: Token) -> list[Node]:
        name, at = self._string(word)
        pipe = None
        if word.text == "block":
            pipe = self._pipe("block clause", "close")
        elif (token := self._take_word()).kind != "close":
            raise self._unexpected(token, "define clause")
        kept, self._variables = self._variables, ["$"]
        body, _ = self._body(("end",))
        self._close("end")
        self._variables = kept
        self.blocks[name] = Block(body)
        return [Use(at, name, pipe)] if word.text == "block" else []

    def _close(self, word: str) -> None:
        token = self._take_word()
        if token.kind != "close":
            raise self._unexpected(token, word)

    def _string(self, word: Token) -> tuple[str, int]:
        token = self._take_word()
        if token.kind not in ("string", "raw"):
            raise self._unexpected(token, f"{word.text} clause")
        return _unquoted(token, self), token.at

    def _control(self, word: Token) -> Control:
        kept = len(self._variables)
        pipe = self._pipe(word.text, "close")
        self._loops += word.text == "range"
        body, end = self._body(("end", "else"))
        self._loops -= word.text == "range"
        otherwise: tuple[Node, ...] = ()
        if end == "else":
            following = self._peek_word()
            if following.kind == "word" and following.text == word.text and word.text in ("if", "with"):
                self._take()
                otherwise = (self._control(following),)
                del self._variables[kept:]
                return Control(word.at, word.text, pipe, body, otherwise)
            self._close("else")
            otherwise, end = self._body(("end", "else"))
            if end == "else":
                raise self._problem("expected end; found {{else}}")
        self._close("end")
        del self._variables[kept:]
        return Control(word.at, word.text, pipe, body, otherwise)

    # -- pipelines

    def _pipe(self, where: str, end: str) -> Pipe:
        start = self._peek_word()
        names, assigns = self._declarations(where)
        commands: list[Command] = []
        while True:
            token = self._peek_word()
            if token.kind == end:
                self._take()
                if not commands:
                    raise self._problem(f"missing value for {where}", token)
                for command in commands[1:]:
                    if isinstance(command.words[0], Constant) and command.words[0].kind not in ("function",):
                        raise self._problem(f"non executable command in pipeline stage {commands.index(command) + 1}")
                self._variables.extend(names if not assigns else ())
                return Pipe(start.at, names, assigns, tuple(commands))
            if token.kind in ("close", _END, "right", "comma", "assign", "declare", "pipe"):
                raise (
                    self._unexpected(token, where)
                    if token.kind != "pipe"
                    else self._problem(f"missing value for {where}", token)
                )
            commands.append(self._command())

    def _declarations(self, where: str) -> tuple[tuple[str, ...], bool]:
        """Take `$x :=`, `$i, $e :=` or `$x =` where a pipeline begins with one."""
        kept = self._next
        names: list[str] = []
        while self._peek_word().kind == "variable":
            names.append(self._take().text)
            token = self._peek_word()
            if token.kind in ("declare", "assign"):
                self._take()
                if len(names) > 2 or (len(names) == 2 and where != "range"):
                    raise self._problem(f"too many declarations in {where}", token)
                return tuple(names), token.kind == "assign"
            if token.kind != "comma" or where != "range":
                break
            self._take()
        self._next = kept
        return (), False

    def _command(self) -> Command:
        start = self._peek_word()
        words: list[Node] = []
        while True:
            self._peek_word()
            word = self._operand()
            if word is not None:
                words.append(word)
            token = self._peek()
            if token.kind == "space":
                if self._peek_word().kind in ("close", "right", "pipe"):
                    continue
                if word is None:
                    raise self._unexpected(self._peek(), "operand")
                continue
            if token.kind == "pipe":
                self._take()
                if self._peek_word().kind in ("close", "right"):
                    raise self._problem("missing value for command", self._peek())
            elif token.kind not in ("close", "right"):
                raise self._unexpected(token, "operand")
            if not words:
                raise self._problem("empty command", token)
            return Command(start.at, tuple(words))

    def _operand(self) -> Node | None:
        node = self._term()
        if node is None or self._peek().kind != "field":
            return node
        at = self._peek().at
        names: list[str] = []
        while self._peek().kind == "field":
            names.append(self._take().text[1:])
        if isinstance(node, Field):
            return Field(at, node.variable, (*node.names, *names))
        if isinstance(node, Constant) and node.kind != "dot" and node.kind != "function":
            raise self._problem(f"unexpected . after term {_quoted(str(node))}")
        return Chain(at, node, tuple(names))

    def _term(self) -> Node | None:
        token = self._peek_word()
        kind, text, at = token.kind, token.text, token.at
        if kind in ("close", "right", "pipe", "comma", "assign", "declare", _END, "text", "open"):
            return None
        self._take()
        match kind:
            case "word":
                if text in ("true", "false"):
                    return Constant(at, "bool", text == "true", text)
                if text == "nil":
                    return Constant(at, "nil", None, text)
                if text in KEYWORDS:
                    raise self._unexpected(token, "operand")
                if text not in self._functions:
                    raise self._problem(f"function {_quoted(text)} not defined", token)
                return Constant(at, "function", text, text)
            case "dot":
                return Constant(at, "dot", None, ".")
            case "field":
                return Field(at, "", (text[1:],))
            case "variable":
                self._known(text, token)
                return Field(at, text, ())
            case "left":
                return self._pipe("parenthesized pipeline", "right")
            case "string" | "raw":
                return Constant(at, "string", _unquoted(token, self), text)
            case "char":
                return Constant(at, "char", ord(_unescaped(text[1:-1])), text)
        return Constant(at, "number", _number(text), text)

    def _known(self, name: str, token: Token) -> None:
        if name not in self._variables:
            raise self._problem(f"undefined variable {_quoted(name)}", token)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _unquoted(token: Token, reader: Reader) -> str:
    if token.kind == "raw":
        return token.text[1:-1]
    return _unescaped(token.text[1:-1])


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _unescaped(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        found = match.group(1)
        if found[0] in "xuU" and len(found) > 1:
            return chr(int(found[1:], 16))
        if len(found) == 3:
            return chr(int(found, 8))
        return _LETTERS.get(found, found)

    return _ESCAPE.sub(plain, text) if "\\" in text else text


def _number(text: str) -> int | float:
    plain = text.replace("_", "")
    try:
        octal = re.fullmatch(r"([+-]?)0([0-7]+)", plain)
        return int(f"{octal[1]}{octal[2]}", 8) if octal else int(plain, 0)
    except ValueError:
        return float(plain)
