"""Which layers share a row, when a stack has more layers than a figure has rows.

Decided here: neighbours share a row, those that matter least first; the topmost layer keeps its own. Functions only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sim.graph.entry import Role
from sim.graph.stack import LayerStack, layer_title, short_name

__all__ = ["group_alike", "group_least", "row_label", "row_name"]


def group_least(weights: Sequence[int], limit: int) -> list[list[int]]:
    """Put neighbours together until there are `limit` groups at most, always the two that weigh least together.

    >>> group_least([9, 1, 0, 5], 3)
    [[0], [1, 2], [3]]
    """
    groups = [[index] for index in range(len(weights))]
    sums = list(weights)
    while len(groups) > max(limit, 2):
        index = min(range(2, len(groups)), key=lambda i: (sums[i] + sums[i - 1], len(groups[i]) + len(groups[i - 1])))
        groups[index - 1 : index + 1] = [groups[index - 1] + groups[index]]
        sums[index - 1 : index + 1] = [sums[index - 1] + sums[index]]
    return groups


def group_alike(count: int, pattern: Callable[[int], object], limit: int) -> list[list[int]]:
    """Put neighbours together that have the same pattern, if there are more than `limit`.

    >>> group_alike(4, "abbc".__getitem__, 3)
    [[0], [1, 2], [3]]
    """
    if count <= limit:
        return [[index] for index in range(count)]
    groups: list[list[int]] = []
    for index in range(count):
        if index > 1 and pattern(index) == pattern(index - 1):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def row_label(stack: LayerStack, group: Sequence[int]) -> str:
    """Return the number of the layer in a row, or the first and the last; "RW" for the RW layer."""
    if stack.layers[group[0]].role is Role.RW:
        return "RW"
    first, last = stack.number(group[0]), stack.number(group[-1])
    return str(first) if first == last else f"{first}\u2013{last}"


def row_name(stack: LayerStack, group: Sequence[int]) -> str:
    """Return the name of the layer in a row, or how many there are."""
    return short_name(layer_title(stack.layers[group[0]])) if len(group) == 1 else f"{len(group)} layers"
