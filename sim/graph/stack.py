"""A stack: the layers that one image or container sees, from the top, with what its journal says.

Decided here: how a stack is numbered and how its layers are labelled. A `LayerStack` is made by `LayerGraph` and is
what the views, measures and histories take. It belongs to one thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fusefs.operation import Operation
from sim.graph.entry import Layer, Role
from sim.graph.past import Past
from sim.graph.replay import Replay

__all__ = ["LayerStack", "layer_title", "short_name"]


def _nothing() -> Iterator[Operation]:
    return iter(())


@dataclass(frozen=True, slots=True)
class LayerStack:
    """The layers that one image, container or mount sees.

    Attributes
    ----------
    name
        Of the image, container or mount.
    layers
        From the top; the RW layer, if there is one, is the first.
    replay
        What the journal says up to the moment that is looked at; None without a journal.
    operations
        Gives the operations up to that moment, from the first. They may be asked for again.
    """

    name: str
    layers: tuple[Layer, ...]
    replay: Replay | None = None
    operations: Callable[[], Iterator[Operation]] = _nothing

    @property
    def past(self) -> Past:
        """What happened on it, to be asked more than one operation at a time."""
        return self.operations if isinstance(self.operations, Past) else Past(self.operations)

    @property
    def first_number(self) -> int:
        """Layer number of the topmost layer: 0 with an RW layer, 1 without."""
        return 0 if self.layers and self.layers[0].role is Role.RW else 1

    def number(self, position: int) -> int:
        """Return the layer number (as in `Operation.layer`) of a position from the top."""
        return position + self.first_number

    def position(self, number: int) -> int | None:
        """Return the position of a layer number; None if the stack has no such layer."""
        position = number - self.first_number
        return position if 0 <= position < len(self.layers) else None


def short_name(name: str, width: int = 24) -> str:
    """Shorten a layer's or image's name to `width` characters: a digest to twelve digits, all else in the middle.

    >>> short_name("sha256:0123456789abcdef0123456789abcdef"), short_name("base")
    ('0123456789ab', 'base')
    >>> short_name("a-very-long-name-of-a-layer", 13)
    'a-very…-layer'
    """
    head, _, tail = name.partition(":")
    if head in ("sha256", "sha512") and len(tail) >= 12:
        return tail[:12]
    if len(name) <= width:
        return name
    left = (width - 1) // 2
    return f"{name[:left]}…{name[len(name) - (width - 1 - left) :]}"


_SHELL = re.compile(r"(\|\d+ .*?)?/bin/sh -c ", re.S)
_SUM = re.compile(r"(file|dir|multi):[0-9a-f]{64} in ")


def layer_title(layer: Layer) -> str:
    """Return what people call a layer: the instruction that made it, where an image's history tells it; else its name.

    >>> from sim.graph.entry import Layer, Role
    >>> made = "/bin/sh -c #(nop) COPY file:" + "0" * 64 + " in /srv/ "
    >>> layer_title(Layer("k", "web:1 step 3", Role.RO, dict, command=made))
    'COPY /srv/'
    >>> layer_title(Layer("k", "web:1 step 4", Role.RO, dict, command="/bin/sh -c rm -rf /var/cache"))
    'RUN rm -rf /var/cache'
    """
    command = layer.command.removesuffix("# buildkit").strip()
    shell = _SHELL.match(command)
    if shell is not None:
        rest = command[shell.end() :].strip()
        command = rest.removeprefix("#(nop)").strip() if rest.startswith("#(nop)") else f"RUN {rest}"
    elif not command.startswith(("RUN ", "COPY ", "ADD ", "WORKDIR ")):
        return layer.name
    return _SUM.sub("", command.removeprefix("RUN RUN ")) or layer.name
