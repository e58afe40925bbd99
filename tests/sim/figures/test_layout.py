"""No word of any figure is cut off or covered by another, from one layer to 127 and from 5 paths to 5,000."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import cache

import numpy
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from sim import figures, graph
from sim.figures import DARK, LIGHT
from sim.graph import Entry, EntryType, Layer, LayerGraph, LayerStack, NameUnknown, Role
from tests.sim.figures.scenes import Scene, layer, random_scene, small_scene

SIZES = [(1, 5, 20), (3, 5, 30), (10, 50, 300), (60, 5000, 6000), (127, 50, 200)]
NAMES = sorted(small_scene().figures())
#: In a stack of one layer nothing is copied up.
CASES = [(name, size) for size in SIZES for name in NAMES if size[0] > 1 or name != "copy_up"]
Box = numpy.ndarray


@cache
def scene(size: tuple[int, int, int]) -> Scene:
    return random_scene(*size)


def words(figure: Figure) -> Iterator[tuple[str, Box]]:
    """Yield each text that is seen with the four corners of its box, in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    hidden = _kept_back(figure)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if not text.get_text().strip() or not text.get_visible() or id(text) in hidden:
            continue
        angle = math.radians(text.get_rotation())
        text.set_rotation(0)
        box = text.get_window_extent(renderer)
        text.set_rotation(math.degrees(angle))
        corners = numpy.array([(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)])
        anchor = text.get_transform().transform(text.get_unitless_position())
        turn = numpy.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
        yield text.get_text(), (corners - anchor) @ turn.T + anchor if angle else corners


def _kept_back(figure: Figure) -> set[int]:
    """Return the identities of the tick labels that matplotlib keeps without drawing them."""
    found = set()
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                found.add(id(tick.label2))
                if not axes.axison or not low <= tick.get_loc() <= high:
                    found.add(id(tick.label1))
    return found


def overlap(one: Box, other: Box) -> float:
    """Return by how many pixels two boxes overlap; 0 if they do not (separating axes)."""
    least = math.inf
    for corners in (one, other):
        for index in (0, 1):
            side = corners[index + 1] - corners[index]
            length = math.hypot(*side)
            if not length:
                return 0.0
            normal = numpy.array((-side[1], side[0])) / length
            a, b = one @ normal, other @ normal
            least = min(least, min(a.max(), b.max()) - max(a.min(), b.min()))
            if least <= 0:
                return 0.0
    return float(least)


def near(boxes: list[Box]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of boxes whose upright outlines overlap: only those can overlap themselves."""
    if not boxes:
        return
    low, high = numpy.array([box.min(axis=0) for box in boxes]), numpy.array([box.max(axis=0) for box in boxes])
    touch = (low[:, None] < high[None]).all(axis=2) & (low[None] < high[:, None]).all(axis=2)
    yield from zip(*numpy.nonzero(numpy.triu(touch, 1)), strict=True)


def check(figure: Figure) -> None:
    found = list(words(figure))
    width, height = figure.canvas.get_width_height()
    for text, corners in found:
        assert corners.min() >= -1, f"{text!r} is cut off"
        assert corners[:, 0].max() <= width + 1, f"{text!r} is cut off at the right"
        assert corners[:, 1].max() <= height + 1, f"{text!r} is cut off at the top"
    for first, second in near([corners for _, corners in found]):
        (one, a), (other, b) = found[first], found[second]
        # Boxes are taller than letters: what lies on one another by less than this does not touch.
        assert overlap(a, b) < 4.5, f"{one!r} and {other!r} overlap by {overlap(a, b):.1f} pixels"


@pytest.mark.parametrize(
    ("name", "size"), CASES, ids=lambda value: value if isinstance(value, str) else f"{value[0]}x{value[1]}"
)
def test_words_neither_collide_nor_end_outside(name: str, size: tuple[int, int, int]) -> None:
    check(scene(size).draw(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_small_scene_has_room_in_both_themes(name: str) -> None:
    for theme in (LIGHT, DARK):
        check(small_scene().draw(name, theme))


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_takes_less_than_a_second(name: str) -> None:
    drawn = scene((60, 5000, 6000))
    drawn.draw(name)
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        drawn.draw(name)
        best = min(best, time.process_time() - start)
    assert best < 1.0


def odd_scene() -> Scene:
    names = [
        "/" + "x" * 1000,
        "/" + "/".join(["deep"] * 200),
        "/a$b$c/\\frac{1}{2}",
        "/new\nline\ttab\udcff\x1b",
        "/\u4e2d\u6587/\U0001f433",
        "/ ",
    ]
    base = layer("b" * 300, [Entry(name, EntryType.FILE, 10 ** (2 * index)) for index, name in enumerate(names)])
    top = layer("t$x$", [Entry(names[0], EntryType.WHITEOUT), Entry(names[2], EntryType.FILE, 5)], Role.RW)
    from fusefs import Effect, EffectKind, Kind, Operation
    from sim.graph import Replay

    done = [
        Operation(
            Kind.OPEN, name, 0, (Effect(EffectKind.COPIED_UP, name, 1, 5),), start=10**18 + n, duration=5, number=n
        )
        for n, name in enumerate(names, 1)
    ]
    stack = LayerStack("n" * 200 + "$", (top, base), Replay().take_all(done), lambda: iter(done))
    whole = LayerGraph()
    whole.add_image("sha256:" + "0" * 64, ["r" * 200 + ":1"], [base])
    whole.add_stack(stack)
    return Scene(stack, whole, names)


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_drawn(name: str) -> None:
    check(odd_scene().draw(name))


@pytest.mark.parametrize("path", odd_scene().paths, ids=range(6))
def test_odd_paths_are_looked_up(path: str) -> None:
    check(figures.lookup_walk(graph.lookup_walk(odd_scene().stack, path)))


def test_nothing_at_all_is_a_figure_too() -> None:
    empty = LayerStack("", ())
    hollow = LayerStack("hollow", (Layer("l", "l", Role.RO, lambda: {"/": Entry("/", EntryType.DIRECTORY)}),))
    for stack in (empty, hollow):
        check(figures.cross_section(graph.cross_section(stack)))
        check(figures.timeline(graph.timeline(stack)))
        check(figures.heat(graph.heat(stack)))
        check(figures.latency(graph.latency(stack)))
        check(figures.change_tree(graph.change_tree(stack, stack)))
        check(figures.lookup_walk(graph.lookup_walk(stack, "/etc/passwd")))
        check(figures.lookup_walk(graph.lookup_walk(stack, "/")))
        with pytest.raises(NameUnknown, match="nothing was copied up"):
            graph.copy_up(stack)
    for whole in (LayerGraph(),):
        check(figures.sharing(graph.sharing(whole)))
        check(figures.waterfall(graph.waterfall(whole)))
        check(figures.image_dag(graph.image_dag(whole)))
    check(figures.icicle(graph.icicle(hollow.layers[0])))
    check(figures.savings_curve(graph.savings_curve("", 0, [])))
    check(figures.savings_curve(graph.savings_curve("one", 100, [1])))
