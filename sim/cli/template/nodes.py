"""What a template is made of, once it is read.

Decided here and only here: the nodes, and how each is written in an error message. Values; any thread.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = ["Action", "Block", "Chain", "Command", "Constant", "Control", "Field", "Jump", "Node", "Pipe", "Text", "Use"]


class Text(NamedTuple):
    """What is printed as it is."""

    at: int
    text: str


class Constant(NamedTuple):
    """A number, string, `true`, `false`, `nil`, the dot, or a function by its name.

    Attributes
    ----------
    kind
        `number`, `char`, `string`, `bool`, `nil`, `dot` or `function`.
    value
        What it is; of a function its name.
    written
        As in the template.
    """

    at: int
    kind: str
    value: object
    written: str

    def __str__(self) -> str:
        """Return it as errors show it."""
        return self.written


class Field(NamedTuple):
    """Fields of the dot, or a variable and fields of it: `.A.B`, `$x.A`.

    Attributes
    ----------
    variable
        With its dollar; empty for the dot.
    names
        The fields.
    """

    at: int
    variable: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as errors show it."""
        return self.variable + "".join(f".{name}" for name in self.names)


class Chain(NamedTuple):
    """Fields of what is in parentheses: `(index . 0).A`."""

    at: int
    of: Node
    names: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as errors show it."""
        shown = f"({self.of})" if isinstance(self.of, Pipe) else str(self.of)
        return shown + "".join(f".{name}" for name in self.names)


class Command(NamedTuple):
    """A function or value, and its arguments."""

    at: int
    words: tuple[Node, ...]

    def __str__(self) -> str:
        """Return it as errors show it."""
        return " ".join(f"({word})" if isinstance(word, Pipe) else str(word) for word in self.words)


class Pipe(NamedTuple):
    """Commands, each with the result of the one before it as its last argument.

    Attributes
    ----------
    names
        The variables that get the result.
    assigns
        Whether they are there already: `=` instead of `:=`.
    commands
        At least one.
    """

    at: int
    names: tuple[str, ...]
    assigns: bool
    commands: tuple[Command, ...]

    def __str__(self) -> str:
        """Return it as errors show it."""
        names = f"{', '.join(self.names)} {'=' if self.assigns else ':='} " if self.names else ""
        return names + " | ".join(str(command) for command in self.commands)


class Action(NamedTuple):
    """A pipeline whose result is printed, unless it goes to a variable."""

    at: int
    pipe: Pipe

    def __str__(self) -> str:
        """Return it as errors show it."""
        return f"{{{{{self.pipe}}}}}"


class Control(NamedTuple):
    """`if`, `with` or `range`."""

    at: int
    word: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


class Jump(NamedTuple):
    """`break` or `continue`."""

    at: int
    word: str


class Use(NamedTuple):
    """`template "name" pipe`."""

    at: int
    name: str
    pipe: Pipe | None

    def __str__(self) -> str:
        """Return it as errors show it."""
        return f'{{{{template "{self.name}"{f" {self.pipe}" if self.pipe else ""}}}}}'


class Block(NamedTuple):
    """What `define` and `block` name, and the whole template."""

    body: tuple[Node, ...]


#: Something at a place of the template; `str` gives it as an error names it.
Node: TypeAlias = Text | Constant | Field | Chain | Command | Pipe | Action | Control | Jump | Use
