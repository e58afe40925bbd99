"""Colours, type sizes and the page: what all figures have in common.

Decided here and only here: which colour means what, in light and in dark, and the margins of a page. Colours are those
of Okabe and Ito, told apart with any colour vision; whatever a colour says is also said by a hatch, a mark or a word.

Drawing functions run inside `styled`, which sets matplotlib's parameters for its time and puts them back: like
matplotlib itself, one thread at a time.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from matplotlib import RcParams
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DARK", "LIGHT", "Theme", "characters", "chart", "families", "page", "save", "styled", "text_width"]

_SHEET = Path(__file__).with_name("layerlab.mplstyle")
_P = ParamSpec("_P")
#: What draws Chinese, the best first. Of Noto's collection matplotlib sees the first face only, named for Japanese.
_CHINESE = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    *("Noto Sans CJK JP", "PingFang SC", "Microsoft YaHei", "SimHei", "Droid Sans Fallback"),
)
#: Where distributions have such fonts: matplotlib keeps a list, and misses what was installed after it was made.
_FONT_FILES = (
    *("opentype/noto/NotoSansCJK-Regular.ttc", "opentype/noto/NotoSansCJK-Bold.ttc"),
    *("truetype/wqy/wqy-microhei.ttc", "truetype/wqy/wqy-zenhei.ttc", "truetype/droid/DroidSansFallbackFull.ttf"),
)
_DPI = 120  # of a PNG: twelve inches fill a projector


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by meaning.

    Attributes
    ----------
    paper, ink, muted, faint
        Background, text, secondary text, and lines that only guide the eye.
    ro, on_ro
        Read-only layers, and text on their colour.
    rw, on_rw
        The RW layer, and text on its colour.
    hidden
        Edge and hatch of what is hidden.
    mark
        Whiteouts and opaque marks.
    good
        What is saved.
    glass
        The rows themselves, where a layer has nothing.
    scale
        Name of the colour map for ordered values.
    """

    name: str
    paper: str
    ink: str
    muted: str
    faint: str
    ro: str
    on_ro: str
    rw: str
    on_rw: str
    hidden: str
    mark: str
    good: str
    glass: str
    glass_rw: str
    scale: str


LIGHT = Theme(
    "light",
    paper="#ffffff",
    ink="#1a1a1a",
    muted="#5c5c5c",
    faint="#c9c9c9",
    ro="#0072b2",
    on_ro="#ffffff",
    rw="#e69f00",
    on_rw="#1a1a1a",
    hidden="#7a7a7a",
    mark="#b23c00",
    good="#009e73",
    glass="#f1f4f7",
    glass_rw="#fdf3dd",
    scale="cividis",
)
DARK = Theme(
    "dark",
    paper="#16181c",
    ink="#f2f2f2",
    muted="#b0b4ba",
    faint="#4c5058",
    ro="#56b4e9",
    on_ro="#10131a",
    rw="#f0ad1a",
    on_rw="#10131a",
    hidden="#9a9ea6",
    mark="#ff8a4c",
    good="#2fc79a",
    glass="#20242a",
    glass_rw="#2e2818",
    scale="cividis",
)


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Run a drawing function with the style sheet in force, and only for its time."""

    @functools.wraps(draw)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        import matplotlib

        with matplotlib.rc_context(_parameters()):
            return draw(*args, **kwargs)

    return wrapper


@functools.cache
def _parameters() -> RcParams:
    from matplotlib import rc_params_from_file

    parameters = rc_params_from_file(_SHEET, use_default_template=False)
    parameters["font.family"] = families()
    return parameters


@functools.cache
def _further() -> tuple[str, ...]:
    """Return the first of the families for what DejaVu lacks that this machine has, if it has one."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    if not any(font.name in _CHINESE for font in manager.ttflist):
        for name in _FONT_FILES:
            with contextlib.suppress(OSError, RuntimeError):
                manager.addfont(f"/usr/share/fonts/{name}")
    have = {font.name for font in manager.ttflist}
    return tuple(name for name in _CHINESE if name in have)[:1]


def families(*, mono: bool = False) -> list[str]:
    """Return the families of a text: DejaVu, which matplotlib brings, and one for Chinese where there is one.

    Only what is installed is named: matplotlib warns of each family that it does not find.
    """
    return ["DejaVu Sans Mono" if mono else "DejaVu Sans", *_further()]


@functools.cache
def _picture() -> type[Figure]:
    """Return the kind of figure that a notebook shows by itself."""
    from matplotlib.figure import Figure

    class Picture(Figure):
        """A figure of this package."""

        def _repr_png_(self) -> bytes:
            """Return what a notebook shows."""
            stream = io.BytesIO()
            save(self, stream)
            return stream.getvalue()

    return Picture


def page(width: float, height: float, theme: Theme) -> tuple[Figure, Axes]:
    """Return a figure of `width` by `height` inches and axes over all of it whose unit is the inch, y upwards."""
    figure = _picture()(figsize=(width, height), facecolor=theme.paper)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_axis_off()
    return figure, axes


@functools.lru_cache(maxsize=20_000)
def text_width(text: str, size: float, *, mono: bool = False, bold: bool = False) -> float:
    """Return the width of one line of text in inches.

    Parameters
    ----------
    text
        The line.
    size
        Type size in points.
    mono, bold
        Which cut.
    """
    font = _font(mono, bold)
    font.set_size(100, 72)
    font.set_text(text, 0.0)
    width, _ = font.get_width_height()
    return float(width) / 64 / 100 * size / 72


@functools.cache
def _font(mono: bool, bold: bool):  # type: ignore[no-untyped-def]
    from matplotlib import font_manager

    weight = "bold" if bold else "normal"
    files = [
        font_manager.findfont(font_manager.FontProperties(family=family, weight=weight))
        for family in families(mono=mono)
    ]
    return font_manager.get_font(files)


@functools.cache
def characters(*, mono: bool = False) -> frozenset[int]:
    """Return the characters that can be drawn, as numbers."""
    from matplotlib import font_manager

    found: set[int] = set()
    for family in families(mono=mono):
        file = font_manager.findfont(font_manager.FontProperties(family=family))
        found |= font_manager.get_font(file).get_charmap().keys()
    return frozenset(found)


def chart(
    width: float, height: float, theme: Theme, *, left: float = 0.95, right: float = 0.4
) -> tuple[Figure, Axes, Axes]:
    """Return a figure, axes over all of it in inches for titles, and axes for a chart inside margins.

    Parameters
    ----------
    width, height
        Of the page, inches.
    theme
        Light or dark.
    left, right
        Margins beside the chart, inches.
    """
    figure, words = page(width, height, theme)
    box = (left / width, 0.75 / height, (width - left - right) / width, (height - 0.75 - 0.95) / height)
    axes = figure.add_axes(box, facecolor="none")
    for spine in axes.spines.values():
        spine.set_color(theme.muted)
    axes.tick_params(which="both", colors=theme.ink)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    return figure, words, axes


def save(figure: Figure, file: str | os.PathLike[str] | IO[bytes], *, form: str | None = None) -> None:
    """Write a figure so that the same figure gives the same bytes.

    Parameters
    ----------
    figure
        From any function of this package.
    file
        Where; a name's ending says the form.
    form
        `png`, `svg` or `pdf`, if the name does not say it.
    """
    import matplotlib

    kind = form or (os.fspath(file).rpartition(".")[2].lower() if isinstance(file, (str, os.PathLike)) else "png")
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context(_parameters()):
        figure.savefig(file, format=kind, metadata=dates.get(kind), dpi=_DPI if kind == "png" else "figure")
