"""How a graph is drawn: one figure, one function, one module. Plain data in, a matplotlib `Figure` out.

    from sim import figures, graph

    web = graph.journal_graph("journal.db", name="web")           # or at=12: as it was after operation 12
    stack = web.stack("web")
    figures.save(figures.cross_section(graph.cross_section(stack)), "cross-section.png")
    figures.save(figures.timeline(graph.timeline(stack)), "timeline.svg")
    figures.save(figures.sharing(graph.sharing(web)), "sharing.png")

`stepper(graph.steps(stack))` returns an HTML page to step through the operations, `explorer(graph.exploration(stack))`
one to look around in the layers; they load nothing from anywhere. `step_widget(graph.steps(stack))` is the stepper of a
notebook.
`draw(name, graph, stack)` draws any of `FIGURES` by its name, for a command line. Every function takes
`theme=figures.DARK` for a dark page. What is shown, grouped and left out is decided where the data is prepared, in
`sim.graph`; how it looks is decided here. Importing this package does not import matplotlib.
"""

from sim.figures.bars import Bar, Bars, bars
from sim.figures.catalogue import FIGURES, draw
from sim.figures.copy_up import copy_up
from sim.figures.cross_section import cross_section
from sim.figures.curves import Curve, Curves, Dot, curves
from sim.figures.explorer import explorer
from sim.figures.icicle import icicle
from sim.figures.image_dag import image_dag
from sim.figures.latency import latency
from sim.figures.lookup_walk import lookup_walk
from sim.figures.savings import savings_curve, waterfall
from sim.figures.sharing import sharing
from sim.figures.stepper import stepper
from sim.figures.style import DARK, LIGHT, Theme, save
from sim.figures.timeline import timeline
from sim.figures.trees import change_tree, heat
from sim.figures.widget import step_widget

__all__ = [
    "DARK",
    "FIGURES",
    "LIGHT",
    "Bar",
    "Bars",
    "Curve",
    "Curves",
    "Dot",
    "Theme",
    "bars",
    "change_tree",
    "copy_up",
    "cross_section",
    "curves",
    "draw",
    "explorer",
    "heat",
    "icicle",
    "image_dag",
    "latency",
    "lookup_walk",
    "save",
    "savings_curve",
    "sharing",
    "step_widget",
    "stepper",
    "timeline",
    "waterfall",
]
