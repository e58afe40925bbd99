"""Plain data for each figure, and the functions that prepare it from a stack or a graph.

Decided here: what a figure shows, chooses, groups and leaves out. How it looks is `sim.figures`' matter. All values
are frozen and made of plain Python values, so they can be made by hand, kept and compared.
"""

from sim.graph.views.cross_section import Box, CrossSection, SectionRow, cross_section
from sim.graph.views.sharing import Sharing, SharingLayer, SharingRow, sharing
from sim.graph.views.timeline import Arrow, Event, Lane, Note, Timeline, timeline

__all__ = [
    "Arrow",
    "Box",
    "CrossSection",
    "Event",
    "Lane",
    "Note",
    "SectionRow",
    "Sharing",
    "SharingLayer",
    "SharingRow",
    "Timeline",
    "cross_section",
    "sharing",
    "timeline",
]
