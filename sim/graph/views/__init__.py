"""Plain data for each figure, and the functions that prepare it from a stack or a graph.

Decided here: what a figure shows, chooses, groups and leaves out. How it looks is `sim.figures`' matter. All values
are frozen and made of plain Python values, so they can be made by hand, kept and compared.
"""

from sim.graph.views.changes import Change, ChangeTree, TreeLine, change_tree, difference
from sim.graph.views.copyup import CopyUp, copy_up
from sim.graph.views.cross_section import Box, CrossSection, SectionRow, cross_section
from sim.graph.views.dag import Dag, DagNode, image_dag
from sim.graph.views.exploration import Exploration, LayerChange, LayerView, exploration, layer_changes
from sim.graph.views.heat import Heat, HeatLine, heat
from sim.graph.views.icicle import Icicle, Slab, icicle
from sim.graph.views.latency import Latency, Point, latency
from sim.graph.views.lookup import LookupWalk, Probe, lookup_walk
from sim.graph.views.savings import SavingsCurve, Step, Waterfall, savings_curve, waterfall
from sim.graph.views.sharing import Sharing, SharingLayer, SharingRow, sharing
from sim.graph.views.steps import Step as OperationStep
from sim.graph.views.steps import Steps, steps
from sim.graph.views.timeline import Arrow, Event, Lane, Note, Timeline, timeline

__all__ = [
    "Arrow",
    "Box",
    "Change",
    "ChangeTree",
    "CopyUp",
    "CrossSection",
    "Dag",
    "DagNode",
    "Event",
    "Exploration",
    "Heat",
    "HeatLine",
    "Icicle",
    "Lane",
    "Latency",
    "LayerChange",
    "LayerView",
    "LookupWalk",
    "Note",
    "OperationStep",
    "Point",
    "Probe",
    "SavingsCurve",
    "SectionRow",
    "Sharing",
    "SharingLayer",
    "SharingRow",
    "Slab",
    "Step",
    "Steps",
    "Timeline",
    "TreeLine",
    "Waterfall",
    "change_tree",
    "copy_up",
    "cross_section",
    "difference",
    "exploration",
    "heat",
    "icicle",
    "image_dag",
    "latency",
    "layer_changes",
    "lookup_walk",
    "savings_curve",
    "sharing",
    "steps",
    "timeline",
    "waterfall",
]
