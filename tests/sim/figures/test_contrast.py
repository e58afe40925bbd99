"""Text on pages can be read: the contrast of each with what is behind it, as a browser lays both out, in both themes.

The measure and its bounds are those of WCAG 2.1, criterion 1.4.3, level AA: 4.5, and 3 for large text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sim import graph
from sim.course import shelf
from sim.course.teaching.slides import slides
from sim.course.texts import Language
from sim.figures import explorer, stepper
from tests.sim.figures.browser import shown
from tests.sim.figures.scenes import random_scene, small_scene

#: Measures each piece of text; leaves the least contrast of each kind of element, and those that have too little.
MEASURE = r"""
{
  document.body.classList.replace("one", "notes");  // slides: all of them, with what the teacher sees
  const style = document.createElement("style");
  style.textContent = "* { pointer-events: auto !important; transition: none !important }";
  document.head.append(style);
  const color = (text) => (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (front, back) => {
    const alpha = front[3] ?? 1;
    return [0, 1, 2].map((at) => front[at] * alpha + back[at] * (1 - alpha));
  };
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const svg = (one) => one instanceof SVGElement && !(one instanceof SVGSVGElement);
  const opacity = (one) => {
    let found = 1;
    for (; one instanceof Element; one = one.parentElement) found *= getComputedStyle(one).opacity;
    return found;
  };
  const faded = (one, text, more = 1) => {
    const found = color(text);
    return [...found.slice(0, 3), (found[3] ?? 1) * opacity(one) * more];
  };
  const own = (one) => {
    const looks = getComputedStyle(one);
    if (!svg(one)) return faded(one, looks.backgroundColor);
    const shape = /^(rect|circle|path|ellipse|polygon)$/.test(one.tagName) && looks.fill !== "none";
    return shape ? faded(one, looks.fill, looks.fillOpacity) : [0, 0, 0, 0];
  };
  const bad = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || /^(SCRIPT|STYLE|TITLE|OPTION)$/i.test(parent.tagName)) continue;
    if (parent.closest("[disabled]")) continue;  // of which the criterion asks nothing
    const range = document.createRange();
    range.selectNodeContents(node);
    if (!range.getClientRects().length) continue;
    parent.scrollIntoView({ block: "center", inline: "center" });
    const box = range.getClientRects()[0];
    const stack = document.elementsFromPoint(box.x + Math.min(4, box.width / 2), box.y + box.height / 2);
    const at = stack.indexOf(parent);
    if (at < 0) continue;
    let back = [255, 255, 255];
    const canvas = getComputedStyle(document.documentElement).colorScheme.includes("dark")
      && matchMedia("(prefers-color-scheme: dark)").matches;
    if (canvas) back = [18, 18, 18];
    for (const one of stack.slice(svg(parent) ? at + 1 : at).reverse()) back = over(own(one), back);
    const looks = getComputedStyle(parent);
    const front = over(faded(parent, svg(parent) ? looks.fill : looks.color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    const size = parseFloat(looks.fontSize), large = size >= 24 || (size >= 18.66 && looks.fontWeight >= 700);
    const contrast = (high + 0.05) / (low + 0.05);
    seen += 1;
    if (contrast < (large ? 3 : 4.5))
      bad.push(`${parent.tagName.toLowerCase()}.${parent.className.baseVal ?? parent.className}: `
        + `${contrast.toFixed(2)} "${node.data.trim().slice(0, 30)}" `
        + `${front.map(Math.round)} on ${back.map(Math.round)}`);
  }
  const told = document.createElement("output");
  told.id = "contrast";
  told.textContent = JSON.stringify({ dark: matchMedia("(prefers-color-scheme: dark)").matches, seen, bad });
  document.body.append(told);
}
"""

PAGES: dict[str, Callable[[], str]] = {
    "slides": lambda: slides(shelf.lesson(4)),
    "slides in Chinese": lambda: slides(shelf.lesson(7, Language.ZH)),
    "stepper": lambda: stepper(graph.steps(small_scene().stack)),
    "explorer": lambda: explorer(graph.exploration(random_scene(6, 30, 100).stack)),
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_has_contrast_enough(name: str, dark: bool, tmp_path: Path) -> None:
    page = shown(tmp_path, PAGES[name](), script=MEASURE, dark=dark)
    found = re.search(r'<output id="contrast">(.*?)</output>', page, re.S)
    assert found is not None
    told = json.loads(found[1])
    assert told["dark"] is dark
    assert told["seen"] > 20
    assert told["bad"] == []


def test_too_little_contrast_is_found(tmp_path: Path) -> None:
    text = '<p style="color: #8a8a8a">pale</p><p style="opacity: 0.5">faded</p><p style="color: #767676">enough</p>'
    page = shown(tmp_path, f"<body style='background: white'>{text}</body>", script=MEASURE)
    found = re.search(r'<output id="contrast">(.*?)</output>', page, re.S)
    assert found is not None
    told = json.loads(found[1])
    assert [line.split('"')[1] for line in told["bad"]] == ["pale", "faded"]
