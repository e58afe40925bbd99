"""What a template is made of, once it is read.

Decided here and only here: the nodes, and how each is written in an error message. Frozen values; any thread.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Action", "Block", "Chain", "Command", "Constant", "Control", "Field", "Jump", "Node", "Pipe", "Text", "Use"]


@dataclass(frozen=True)
class Node:
    """Something at a place of the template; `str` gives it as an error names it."""

    at: int


@dataclass(frozen=True)
class Text(Node):
    """What is printed as it is."""

    text: str


@dataclass(frozen=True)
class Constant(Node):
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

    kind: str
    value: object
    written: str

    def __str__(self) -> str:
        """Return it as errors show it."""
        return self.written


@dataclass(frozen=True)
class Field(Node):
    """Fields of the dot, or a variable and fields of it: `.A.B`, `$x.A`.

    Attributes
    ----------
    variable
        With its dollar; empty for the dot.
    names
        The fields.
    """

    variable: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as errors show it."""
        return self.variable + "".join(f".{name}" for name in self.names)


@dataclass(frozen=True)
class Chain(Node):
    """Fields of what is in parentheses: `(index . 0).A`."""

    of: Node
    names: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as errors show it."""
        shown = f"({self.of})" if isinstance(self.of, Pipe) else str(self.of)
        return shown + "".join(f".{name}" for name in self.names)


@dataclass(frozen=True)
class Command(Node):
    """A function or value, and its arguments."""

    words: tuple[Node, ...]

    def __str__(self) -> str:
        """Return it as errors show it."""
        return " ".join(f"({word})" if isinstance(word, Pipe) else str(word) for word in self.words)


@dataclass(frozen=True)
class Pipe(Node):
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

    names: tuple[str, ...]
    assigns: bool
    commands: tuple[Command, ...]

    def __str__(self) -> str:
        """Return it as errors show it."""
        names = f"{', '.join(self.names)} {'=' if self.assigns else ':='} " if self.names else ""
        return names + " | ".join(str(command) for command in self.commands)


@dataclass(frozen=True)
class Action(Node):
    """A pipeline whose result is printed, unless it goes to a variable."""

    pipe: Pipe

    def __str__(self) -> str:
        """Return it as errors show it."""
        return f"{{{{{self.pipe}}}}}"


@dataclass(frozen=True)
class Control(Node):
    """`if`, `with` or `range`."""

    word: str
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True)
class Jump(Node):
    """`break` or `continue`."""

    word: str


@dataclass(frozen=True)
class Use(Node):
    """`template "name" pipe`."""

    name: str
    pipe: Pipe | None

    def __str__(self) -> str:
        """Return it as errors show it."""
        return f'{{{{template "{self.name}"{f" {self.pipe}" if self.pipe else ""}}}}}'


@dataclass(frozen=True)
class Block:
    """What `define` and `block` name, and the whole template."""

    body: tuple[Node, ...]
