r"""Variables and quotes in the words of a Dockerfile: `$x`, `${x:-y}`, `'…'`, `"…"` and the escape character.

Decided here and only here: what a word stands for, as BuildKit's `shell.Lex` (which the classic builder uses) has it.
It is like a shell's and not the same: `"` keeps an escape before what it does not escape, an unset variable is empty,
and no other expansion exists. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping

from sim.build.errors import DockerfileError

__all__ = ["process_word", "process_words"]

_SPECIAL = "@*#?-$!0"


def process_word(word: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    r"""Return what one word stands for.

    Raises
    ------
    DockerfileError
        A quote or a brace is not closed, or a `${x:?text}` is not set.

    Examples
    --------
    >>> process_word(r'''a$x"${y:-b c}"'$x'\$x''', {"x": "1"})
    'a1b c$x$x'
    """
    return _Lexer(word, variables, escape).run()[0]


def process_words(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """Return the words that a word becomes once its variables are replaced.

    >>> process_words("$ports 8080", {"ports": "80 443"})
    ['80', '443', '8080']
    """
    return _Lexer(text, variables, escape).run()[1]


class _Words:
    """Collects the words of an expansion: blanks that no quote protects part them."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._word = ""

    def add_character(self, character: str) -> None:
        if character.isspace():
            self._end()
        else:
            self._word += character

    def add_protected(self, text: str) -> None:
        self._word += text

    def add_text(self, text: str) -> None:
        for character in text:
            self.add_character(character)

    def _end(self) -> None:
        if self._word:
            self.found.append(self._word)
        self._word = ""

    def finish(self) -> list[str]:
        self._end()
        return self.found


class _Lexer:
    def __init__(self, text: str, variables: Mapping[str, str], escape: str) -> None:
        self._text = text
        self._variables = variables
        self._escape = escape
        self._at = 0

    def run(self) -> tuple[str, list[str]]:
        try:
            return self._until("")
        except ValueError as error:
            from sim.build.quoting import quote

            raise DockerfileError(f"failed to process {quote(self._text)}: {error}") from None

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _until(self, stop: str) -> tuple[str, list[str]]:
        """Read up to an unquoted character, or to the end."""
        out: list[str] = []
        words = _Words()
        while self._at < len(self._text):
            character = self._peek()
            if stop and character == stop:
                self._at += 1
                return "".join(out), words.finish()
            if character == "'":
                part = self._single()
                out.append(part)
                words.add_protected(part)
            elif character == '"':
                part = self._double()
                out.append(part)
                words.add_protected(part)
            elif character == "$":
                part = self._dollar()
                out.append(part)
                words.add_text(part)
            else:
                self._at += 1
                if character == self._escape:
                    character = self._next()
                    if not character:
                        break
                    words.add_protected(character)
                else:
                    words.add_character(character)
                out.append(character)
        if stop:
            raise ValueError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(out), words.finish()

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise ValueError("unexpected end of statement while looking for matching single-quote")
        found = self._text[self._at + 1 : end]
        self._at = end + 1
        return found

    def _double(self) -> str:
        self._at += 1
        out = ""
        while True:
            character = self._peek()
            if not character:
                raise ValueError("unexpected end of statement while looking for matching double-quote")
            if character == '"':
                self._at += 1
                return out
            if character == "$":
                out += self._dollar()
                continue
            self._at += 1
            if character == self._escape:
                after = self._peek()
                if not after:
                    continue
                if after in ('"', "$", self._escape):
                    character = after
                    self._at += 1
            out += character

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._value(name) if name else "$"
        self._at += 1
        character = self._peek()
        if not character:
            raise ValueError("syntax error: missing '}'")
        if character in "{}:":
            raise ValueError("syntax error: bad substitution")
        name = self._name()
        character = self._next()
        if character == "}":
            return self._value(name)
        with_colon = character == ":"
        if with_colon:
            character = self._next()
            if not character or character not in "+-?":
                raise ValueError(f"unsupported modifier ({character}) in substitution")
        if not character or character not in "+-?":
            raise ValueError("missing ':' in substitution")
        try:
            word, _ = self._until("}")
        except ValueError:
            if self._at >= len(self._text):
                raise ValueError("syntax error: missing '}'") from None
            raise
        value = self._variables.get(name)
        counts = value is not None and (value != "" or not with_colon)
        if character == "+":
            return word if counts else ""
        if counts:
            return value or ""
        if character == "-":
            return word
        raise ValueError(f"{name}: {word or 'not allowed to be ' + ('unset or empty' if with_colon else 'unset')}")

    def _name(self) -> str:
        start = self._at
        character = self._peek()
        if character.isdigit():
            while self._peek().isdigit():
                self._at += 1
        elif character and character in _SPECIAL:
            self._at += 1
        else:
            while (character := self._peek()) and (character.isalpha() or character == "_" or character.isdigit()):
                self._at += 1
        return self._text[start : self._at]

    def _value(self, name: str) -> str:
        return self._variables.get(name, "")
