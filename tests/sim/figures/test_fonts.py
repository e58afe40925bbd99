"""Chinese names on figures: drawn where the machine has a font for them, escapes where it has none, never boxes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

import pytest

from sim import figures, graph
from sim.figures import style
from sim.figures.text import clean
from sim.graph import Entry, EntryType, LayerStack
from tests.sim.figures.scenes import layer

CACHES = (style._further, style._parameters, style._font, style.characters, style.text_width)


@pytest.fixture
def no_further_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(style, "_CHINESE", ())
    for cached in CACHES:
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in CACHES:
        cached.cache_clear()


@pytest.mark.usefixtures("no_further_fonts")
def test_without_a_font_chinese_is_written_as_escapes() -> None:
    assert style.families() == ["DejaVu Sans"]
    assert clean("/商店/é") == "/\\u5546\\u5e97/é"


def test_with_a_font_chinese_is_drawn_and_measured() -> None:
    if len(style.families()) == 1:
        pytest.skip("no font for Chinese is installed (Debian's packages: fonts-noto-cjk, fonts-wqy-zenhei)")
    assert clean("/商店") == "/商店"
    assert style.text_width("商店", 10) == pytest.approx(2 * 10 / 72, rel=0.15)  # a character is as wide as it is high


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_a_name_in_any_script_is_drawn_without_a_warning(form: str) -> None:
    paths = ("/数据库/配置.txt", "/日本語/ひらがな", "/العربية")
    stack = LayerStack("商店", (layer("底层", [Entry(path, EntryType.FILE, size=100) for path in paths]),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = io.BytesIO()
        figures.save(figures.cross_section(graph.cross_section(stack)), drawn, form=form)
    assert len(drawn.getvalue()) > 5000
