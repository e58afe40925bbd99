"""Templates rendered.

Decided here and only here: how fields, variables and pipelines become values, and what is said where they do not, after
Go's text/template. A `Template` may be shared between threads; each rendering is a `_Run` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.cli.template.errors import CallError, RunError
from sim.cli.template.functions import FUNCTIONS, Function
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
from sim.cli.template.parse import Reader
from sim.cli.template.values import NO_VALUE, Nil, Record, Struct, optional, to_text, truth, type_name

__all__ = ["Template"]

_DEEPEST = 200


class _Break(Exception):  # noqa: N818 - a jump, no error
    pass


class _Continue(Exception):  # noqa: N818 - a jump, no error
    pass


class Template:
    """A template.

    Parameters
    ----------
    source
        Its text.
    name
        What errors call it; Docker's mostly have none.
    functions
        The functions that it may call.

    Raises
    ------
    SyntaxProblem
        It cannot be read.
    """

    def __init__(self, source: str, name: str = "", functions: Mapping[str, Function] = FUNCTIONS) -> None:
        self.source = source
        self.name = name
        self.functions = functions
        self.blocks: Mapping[str, Block] = Reader(source, name, functions).blocks

    def render(self, value: object) -> str:
        """Return the text for a value.

        Raises
        ------
        RunError
            It does not fit the value.
        """
        run = _Run(self, value)
        run.walk(self.blocks[self.name].body, value)
        return "".join(run.out)


class _Run:
    def __init__(self, template: Template, value: object) -> None:
        self.template = template
        self.out: list[str] = []
        self.variables: list[tuple[str, object]] = [("$", value)]
        self.depth = 0

    def error(self, node: Node, text: str) -> RunError:
        template = self.template
        before = template.source[: node.at]
        column = len(before.encode()) - (len(before[: before.rfind("\n") + 1].encode()))
        place = f"{template.name}:{1 + before.count(chr(10))}:{column}"
        return RunError(f'template: {place}: executing "{template.name}" at <{node}>: {text}')

    # -- bodies

    def walk(self, body: tuple[Node, ...], dot: object) -> None:
        for node in body:
            match node:
                case Text():
                    self.out.append(node.text)
                case Action():
                    value = self.pipe(node.pipe, dot)
                    if not node.pipe.names:
                        self.out.append(to_text(value))
                case Control():
                    self.control(node, dot)
                case Jump():
                    raise _Break if node.word == "break" else _Continue
                case Use():
                    self.use(node, dot)

    def control(self, node: Control, dot: object) -> None:
        kept = len(self.variables)
        try:
            if node.word == "range":
                self.range(node, dot)
                return
            value = self.pipe(node.pipe, dot)
            if truth(value):
                self.walk(node.body, value if node.word == "with" else dot)
            else:
                self.walk(node.otherwise, dot)
        finally:
            del self.variables[kept:]

    def range(self, node: Control, dot: object) -> None:
        value = self.pipe(node.pipe, dot, declare=False)
        pairs: list[tuple[object, object]]
        if isinstance(value, list):
            pairs = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            pairs = [(number, number) for number in range(value)]
        elif isinstance(value, dict) and not isinstance(value, Struct):
            pairs = [(key, value[key]) for key in sorted(value)]
        elif isinstance(value, Nil) or value is NO_VALUE:
            pairs = []
        else:
            raise self.error(node.pipe, f"range can't iterate over {to_text(value)}")
        names = node.pipe.names
        for key, item in pairs:
            kept = len(self.variables)
            for name, given in zip(names, (item,) if len(names) == 1 else (key, item), strict=False):
                self.set(name, given, node.pipe.assigns, node.pipe)
            try:
                self.walk(node.body, item)
            except _Continue:
                pass
            except _Break:
                break
            finally:
                del self.variables[kept:]
        if not pairs:
            self.walk(node.otherwise, dot)

    def use(self, node: Use, dot: object) -> None:
        block = self.template.blocks.get(node.name)
        if block is None:
            raise self.error(node, f'template "{node.name}" not defined')
        if self.depth == _DEEPEST:
            raise self.error(node, f"exceeded maximum template depth ({_DEEPEST})")
        value = self.pipe(node.pipe, dot) if node.pipe else NO_VALUE
        kept, self.variables = self.variables, [("$", value)]
        self.depth += 1
        self.walk(block.body, value)
        self.depth -= 1
        self.variables = kept

    def set(self, name: str, value: object, assigns: bool, node: Pipe) -> None:
        if assigns:
            for place in range(len(self.variables) - 1, -1, -1):
                if self.variables[place][0] == name:
                    self.variables[place] = (name, value)
                    return
            raise self.error(node.commands[-1].words[0], f"undefined variable: {name}")
        self.variables.append((name, value))

    # -- values

    def pipe(self, node: Pipe, dot: object, *, declare: bool = True) -> Any:
        value: object = NO_VALUE
        for number, command in enumerate(node.commands):
            value = self.command(command, dot, (value,) if number else ())
        if declare:
            for name in node.names:
                self.set(name, value, node.assigns, node)
        return value

    def command(self, node: Command, dot: object, final: tuple[object, ...]) -> object:
        first, arguments = node.words[0], node.words[1:]
        if isinstance(first, Constant) and first.kind == "function":
            return self.function(first, node, arguments, dot, final)
        if isinstance(first, Field | Chain):
            return self.fields(first, dot, arguments, final)
        if arguments or final:
            raise self.error(first, f"can't give argument to non-function {first}")
        if isinstance(first, Constant) and first.kind == "nil":
            raise self.error(first, "nil is not a command")
        return self.value(first, dot)

    def value(self, node: Node, dot: object) -> object:
        match node:
            case Constant(kind="dot"):
                return dot
            case Constant(kind="function"):
                return self.function(node, Command(node.at, (node,)), (), dot, ())
            case Constant():
                return node.value
            case Field() | Chain():
                return self.fields(node, dot, (), ())
            case Pipe():
                return self.pipe(node, dot)
        raise AssertionError(node)

    def fields(
        self, node: Field | Chain, dot: object, arguments: tuple[Node, ...], final: tuple[object, ...]
    ) -> object:
        if isinstance(node, Chain):
            value = self.value(node.of, dot)
        elif node.variable:
            value = next(item for name, item in reversed(self.variables) if name == node.variable)
            if not node.names and (arguments or final):
                raise self.error(node, f"can't give argument to non-function {node}")
        else:
            value = dot
        for number, name in enumerate(node.names):
            last = number == len(node.names) - 1
            value = self.field(node, value, name, dot, arguments if last else (), final if last else ())
        return value

    def field(
        self,
        node: Node,
        value: object,
        name: str,
        dot: object,
        arguments: tuple[Node, ...],
        final: tuple[object, ...],
    ) -> object:
        if isinstance(value, Record):
            return self.of_record(node, value, name, dot, arguments, final)
        if arguments or final:
            raise self.error(node, f"{name} is not a method but has arguments")
        if isinstance(value, dict):
            if name in value:
                return value[name]
            if not isinstance(value, Struct):
                return NO_VALUE
            found = optional(value, name)
            if found is None:
                raise self.error(node, f'map has no entry for key "{name}"')
            return found
        if value is NO_VALUE:
            return NO_VALUE
        if isinstance(value, Nil):
            if value.key:
                raise self.error(node, f'map has no entry for key "{value.key}"')
            if value.text == "map[]":
                return NO_VALUE
            raise self.error(node, f"nil pointer evaluating interface {{}}.{name}")
        raise self.error(node, f"can't evaluate field {name} in type interface {{}}")

    def of_record(
        self,
        node: Node,
        value: Record,
        name: str,
        dot: object,
        arguments: tuple[Node, ...],
        final: tuple[object, ...],
    ) -> object:
        given = len(arguments) + len(final)
        wanted = 1 if name in value.methods else 0
        if name not in value.methods and name not in value.fields:
            raise self.error(node, f"can't evaluate field {name} in type {value.kind}")
        if given != wanted:
            raise self.error(node, f"wrong number of args for {name}: want {wanted} got {given}")
        if not wanted:
            return value.get(name)
        word = self.argument(arguments[0], "string", dot) if arguments else final[0]
        return value.methods[name](str(word))

    def argument(self, node: Node, kind: str, dot: object) -> object:
        if isinstance(node, Constant) and node.kind not in ("dot", "function"):
            wrong = (kind == "string" and node.kind != "string") or (
                kind == "int" and node.kind not in ("number", "char")
            )
            if wrong:
                raise self.error(node, f"expected {'integer' if kind == 'int' else kind}; found {node}")
            if kind == "list":
                raise self.error(node, f"can't handle {node} for arg of type []string")
            return node.value
        return self.fit(node, self.value(node, dot), kind)

    def fit(self, node: Node, value: object, kind: str) -> object:
        """Return a value for an argument of a type, or refuse it."""
        fits = {
            "any": True,
            "string": isinstance(value, str),
            "int": isinstance(value, int) and not isinstance(value, bool),
            "list": isinstance(value, list | Nil),
        }[kind]
        if not fits:
            wanted = "[]string" if kind == "list" else kind
            if value is NO_VALUE or isinstance(value, Nil) or value is None:
                raise self.error(node, f"invalid value; expected {wanted}")
            raise self.error(node, f"wrong type for value; expected {wanted}; got {type_name(value)}")
        return value

    def function(
        self, node: Constant, command: Command, words: tuple[Node, ...], dot: object, final: tuple[object, ...]
    ) -> object:
        name = node.written
        function = self.template.functions[name]
        takes = list(function.takes)
        many = takes.pop().removesuffix("...") if takes and takes[-1].endswith("...") else ""
        count = len(words) + len(final)
        if count < len(takes) or (count > len(takes) and not many):
            least = "at least " if many else ""
            raise self.error(node, f"wrong number of args for {name}: want {least}{len(takes)} got {count}")
        values: list[object] = []
        for word, kind in zip(words, [*takes, *[many] * count], strict=False):
            values.append(self.argument(word, kind, dot))
            # `and` and `or` ask no further once they know.
            if (name == "and" and not truth(values[-1])) or (name == "or" and truth(values[-1])):
                return values[-1]
        for value in final:
            values.append(self.fit(command, value, takes[-1] if len(values) < len(takes) else many or "any"))
        try:
            return function.call(*values)
        except CallError as error:
            raise self.error(command, f"error calling {name}: {error}") from None
