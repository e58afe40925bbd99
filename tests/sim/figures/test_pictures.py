"""Each figure, compared with a picture of it that was looked at and found good.

The pictures are small and in grey; a difference is the mean over the blocks of a coarse grid, so that another version
of a font renderer passes and a label that moved does not. `LAYERLAB_DRAW=1 pytest tests/sim/figures` draws them anew.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sim.figures import DARK, LIGHT, Theme, save
from tests.sim.figures.scenes import random_scene, small_scene

PICTURES = Path(__file__).with_name("pictures")
BLOCK = 12
TOLERANCE = 14.0  # of 255, in the worst block; another hinting of the same text gives up to about 8
NAMES = sorted(small_scene().figures())


def picture(figure: Figure) -> Image.Image:
    stream = io.BytesIO()
    figure.savefig(stream, dpi=64)
    return Image.open(stream).convert("L")


def stored(name: str) -> Image.Image:
    with Image.open(PICTURES / f"{name}.png") as image:
        return image.convert("L")


def blocks(image: Image.Image) -> numpy.ndarray:
    return numpy.asarray(image.reduce(BLOCK), dtype=float)


def difference(one: Image.Image, other: Image.Image) -> float:
    if one.size != other.size:
        return 255.0
    return float(numpy.abs(blocks(one) - blocks(other)).max())


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
@pytest.mark.parametrize("name", NAMES)
def test_a_figure_looks_as_it_did(name: str, theme: Theme) -> None:
    drawn = picture(small_scene().draw(name, theme))
    file = PICTURES / f"{name}-{theme.name}.png"
    if os.environ.get("LAYERLAB_DRAW"):
        PICTURES.mkdir(exist_ok=True)
        drawn.save(file, optimize=True)
    assert difference(drawn, stored(file.stem)) < TOLERANCE


def test_a_difference_is_seen() -> None:
    good = stored("cross_section-light")
    moved = good.copy()
    label = good.crop((60, 130, 130, 160))
    moved.paste(255, (60, 130, 130, 160))
    moved.paste(label, (60, 145))
    assert difference(good, moved) > TOLERANCE
    others = [stored(f"{name}-light") for name in NAMES]
    assert all(difference(good, other) > TOLERANCE for other in others if other.size != good.size)


def test_the_same_data_give_the_same_svg() -> None:
    texts = []
    for _ in range(2):
        stream = io.BytesIO()
        save(random_scene(3, 20, 60).draw("timeline"), stream, form="svg")
        texts.append(stream.getvalue())
    assert texts[0] == texts[1]
