"""Figures and pages of results: nothing cut off, nothing over another, nothing loaded from anywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sim.bench import report
from sim.bench.result import Case
from sim.figures import DARK, Bar, Bars, Curve, Curves, Dot, bars, curves
from tests.sim.bench.results import DRIVERS, NOISY, result, series, whole
from tests.sim.figures.test_layout import check


def test_each_figure_of_a_whole_result() -> None:
    drawn = dict(report.figures(whole()))
    assert set(drawn) == {
        "size-append-ext4",
        "size-append-xfs-reflink",
        "depth-append-4-KiB-ext4",
        "amplification-append-ext4",
        "amplification-append-xfs-reflink",
        "drivers-copy-up",
        "drivers-metadata",
        "drivers-data",
        "drivers-jobs",
    }
    for figure in drawn.values():
        check(figure)


def test_the_knee_is_explained_by_its_numbers() -> None:
    texts = [text.get_text() for text in dict(report.figures(whole()))["size-append-ext4"].axes[1].texts]
    (note,) = (text for text in texts if "At the knee" in text)
    assert re.search(r"overlayfs: 10\d µs fixed \+ 1\.\d+ GiB/s; knee at (19|20)\d KiB", note), note


@pytest.mark.parametrize("count", [0, 1, 2, 18])
def test_curves_of_few_and_many(count: int) -> None:
    made = tuple(
        Curve(f"driver-{number}-" + "x" * (number * 4), tuple(Dot(4**n, 1e-4 * 2**n, 9e-5 * 2**n, 2e-4 * 2**n)
              for n in range(2, 12)), 5000.0 if number == 1 else None)
        for number in range(count)
    )  # fmt: skip
    data = Curves("A title", "How it was measured.", made, note="one line\nanother line" if count else "")
    check(curves(data))
    check(curves(data, theme=DARK))


def test_curves_that_lie_on_one_another() -> None:
    dots = tuple(Dot(float(depth), 1e-4, 1e-4, 1e-4) for depth in (1, 8, 32, 127))
    check(curves(Curves("t", "s", tuple(Curve(name, dots) for name in DRIVERS), x="layers", x_unit="count")))


@pytest.mark.parametrize("spread", [1.0, 1.5, 1e5])
def test_bars_of_any_spread(spread: float) -> None:
    group = tuple(
        Bar(f"a-driver-with-a-name-{number}", 1e-6 * spread**number, 0.8e-6 * spread**number, 1.3e-6 * spread**number,
            "\u00d7 12.3 ?", number == 1)
        for number in range(3)
    )  # fmt: skip
    check(
        bars(Bars("A title", "How it was measured.", (("a case", group), ("another " * 20, group), ("third", group))))
    )


def test_bars_of_nothing() -> None:
    check(bars(Bars("t", "s", ())))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_all_and_loads_nothing() -> None:
    text = report.page(whole(noise=NOISY))
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "url(" not in text
    assert "<script" not in text
    for words in ("Abacus", "Linux 7.0", "too noisy to tell", "server cannot be reached", "layerlab bench copy-up",
                  "The cost model"):  # fmt: skip
        assert words in text


def test_what_others_named_is_only_text() -> None:
    made = result([series(Case("stat"), "<script>alert(1)</script>", 1.0)], machine={"processor": "<b>"})
    text = report.page(made)
    assert "<script>" not in text
    assert "<b>" not in text


def test_everything_is_written(tmp_path: Path) -> None:
    written = report.write(whole(("overlayfs", "devfuse")), tmp_path / "out", name="mine")
    assert {path.suffix for path in written} == {".json", ".csv", ".png", ".html"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in written)
