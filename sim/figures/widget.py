"""The stepper for notebooks: a slider through operations, the stack and the tree, and a path's history at a click.

Decided here: how the data of `sim.graph.steps` become widgets, and what is shown where widgets are not (a web page that
shows notebooks, a kernel without a front end): a figure of the last step. Belongs to the kernel's thread.
"""

from __future__ import annotations

import html
import io
from typing import TYPE_CHECKING, Any

from sim.figures.cross_section import cross_section
from sim.figures.style import LIGHT, Theme, save
from sim.figures.text import bytes_text, plural, safe
from sim.graph.views import Box, OperationStep, Steps

if TYPE_CHECKING:
    from ipywidgets import VBox

__all__ = ["step_widget"]

_HOW = {"copied up": "↑", "created": "+", "linked": "+", "renamed": "→"}
_NOTE = (
    "filled: a process sees it · hatched: hidden by a layer above · ✕ whiteout · ⊖ opaque · ↑ copied up · + new · "
    "→ renamed"
)


def step_widget(data: Steps, *, theme: Theme = LIGHT) -> VBox:
    """Return widgets to step through the operations of a stack.

    Parameters
    ----------
    data
        From `sim.graph.steps`.
    theme
        Light or dark.
    """
    import ipywidgets

    class Stepper(ipywidgets.VBox):  # type: ignore[misc]
        """The widgets, and a picture for where there are none."""

        def _repr_mimebundle_(self, **keywords: Any) -> dict[str, Any]:
            bundle: dict[str, Any] = super()._repr_mimebundle_(**keywords) or {}
            picture = io.BytesIO()
            save(cross_section(data.steps[-1].section, theme=theme), picture, form="png")
            return {"image/png": picture.getvalue(), **bundle}

    slider = ipywidgets.IntSlider(
        len(data.steps) - 1, 0, len(data.steps) - 1, description="step", layout={"width": "60%"}
    )
    play = ipywidgets.Play(value=len(data.steps) - 1, min=0, max=len(data.steps) - 1, interval=1200)
    ipywidgets.jslink((play, "value"), (slider, "value"))
    paths = data.steps[0].section.paths
    choice = ipywidgets.Select(
        options=[("(choose a path)", ""), *((safe(path), path) for path in paths)],
        value="",
        rows=min(max(len(paths) + 1, 4), 14),
        layout={"width": "40%"},
    )
    words, section, history = (ipywidgets.HTML() for _ in range(3))
    tree = ipywidgets.HTML(layout={"width": "50%"})

    def show(_: object = None) -> None:
        step = data.steps[slider.value]
        words.value = _words(step, slider.value, data, theme)
        section.value = _section(step, choice.value, theme)
        tree.value = _tree(step, theme)
        history.value = _history(step, choice.value, data, theme)

    slider.observe(show, "value")
    choice.observe(show, "value")
    show()
    below = ipywidgets.HBox([ipywidgets.VBox([choice, history], layout={"width": "50%"}), tree])
    return Stepper([ipywidgets.HBox([slider, play]), words, section, below])


def _text(text: str) -> str:
    return html.escape(safe(text))


def _words(step: OperationStep, index: int, data: Steps, theme: Theme) -> str:
    number = f"{step.number}: " if step.number else ""
    left = f"; {plural(data.left_out, 'later change')} not shown" if data.left_out else ""
    return (
        f'<b style="color:{theme.ink};background:{theme.paper}">{number}{_text(step.words)}</b> '
        f'<span style="color:{theme.muted}">({index} of {len(data.steps) - 1}{left})</span>'
    )


def _section(step: OperationStep, chosen: str, theme: Theme) -> str:
    section = step.section
    tilt = "writing-mode:vertical-rl;transform:rotate(180deg);max-height:16em;overflow:hidden;white-space:nowrap"
    head = []
    for index, path in enumerate(section.paths):
        weight = "bold" if index in step.touched else "normal"
        colour = theme.mark if index in step.touched else theme.ink
        line = "underline" if path == chosen else "none"
        head.append(
            f'<th title="{_text(path)}" style="vertical-align:bottom;padding:0;color:{colour};font-weight:{weight}">'
            f'<span style="{tilt};text-decoration:{line}">{_text(_brief(path))}</span></th>'
        )
    rows = [f"<tr><th></th>{''.join(head)}</tr>"]
    seen = []
    for row in section.served:
        if row is None:
            seen.append(_cell("\u2013", theme.paper, theme.muted, f"1px dashed {theme.hidden}"))
        else:
            rw = section.rows[row].rw
            seen.append(
                _cell(section.rows[row].label, theme.rw if rw else theme.ro, theme.on_rw if rw else theme.on_ro)
            )
    rows.append(f'<tr><th style="text-align:left">merged view</th>{"".join(seen)}</tr>')
    for one in section.rows:
        cells = "".join(_box(box, one.rw, theme) for box in one.boxes)
        rows.append(
            f'<tr><th style="text-align:left;white-space:nowrap">{one.label} {_text(one.name)}</th>{cells}</tr>'
        )
    style = f"background:{theme.paper};color:{theme.ink};border-collapse:separate;border-spacing:3px;font-size:90%"
    return (
        f'<div style="overflow-x:auto;background:{theme.paper}"><table style="{style}">{"".join(rows)}</table></div>'
        f'<span style="color:{theme.muted};font-size:85%">{_NOTE}</span>'
    )


def _brief(path: str) -> str:
    text = safe(path)
    return text if len(text) <= 22 else f"{text[:6]}…{text[-15:]}"


def _box(box: Box | None, rw: bool, theme: Theme) -> str:
    ground = theme.glass_rw if rw else theme.glass
    if box is None:
        return _cell("", ground, theme.ink)
    if box.state == "whiteout":
        return _cell("✕", theme.paper, theme.mark, f"2px solid {theme.mark}")
    sign = "⊖" if box.opaque else _HOW.get(box.how, "") if box.state == "visible" else ""
    if box.state == "visible":
        return _cell(sign, theme.rw if rw else theme.ro, theme.on_rw if rw else theme.on_ro)
    if box.state == "merged":
        return _cell(sign, theme.paper, theme.ink, f"2px solid {theme.ro}")
    hatch = f"repeating-linear-gradient(135deg,{ground} 0 4px,{theme.hidden} 4px 5px)"
    return _cell(sign, hatch, theme.ink, f"1px solid {theme.hidden}")


def _cell(text: str, ground: str, colour: str, border: str = "0") -> str:
    return (
        f'<td style="width:2.1em;min-width:2.1em;height:1.7em;text-align:center;font-weight:bold;background:{ground};'
        f'color:{colour};border:{border}">{text}</td>'
    )


def _tree(step: OperationStep, theme: Theme) -> str:
    lines = []
    for path, (row, size, directory) in step.tree.items():
        if path == "/":
            continue
        depth = path.count("/") - 1
        name = path.rpartition("/")[2] + ("/" if directory else "")
        rw = step.section.rows[row].rw
        ground = f"background:{theme.glass_rw};border-left:3px solid {theme.rw}" if rw else "padding-left:3px"
        weight = "" if directory else f"  {bytes_text(size)}"
        lines.append(f'<div style="{ground}">{"  " * depth}{_text(name)}{weight}</div>')
    style = "white-space:pre;font-family:monospace;line-height:1.4;max-height:20em;overflow:auto;"
    style += f"background:{theme.glass};color:{theme.ink}"
    return f'<b>what a process sees</b><div style="{style}">{"".join(lines)}</div>'


def _history(step: OperationStep, path: str, data: Steps, theme: Theme) -> str:
    events = [words for number, words in data.histories.get(path, ()) if number <= step.number]
    if not path:
        return f'<span style="color:{theme.muted}">a click on a path: its history</span>'
    lines = "".join(f"<li>{_text(words)}</li>" for words in events)
    return f'<b>history of {_text(path)}</b><ol style="line-height:1.4;margin:0.3em 0">{lines}</ol>'
