"""The figure of lesson 4: the shop's stack after a deletion and a directory made anew."""

import sys
import tempfile
from pathlib import Path

from sim import figures, graph
from sim.course.exercises import solved

with tempfile.TemporaryDirectory() as place:
    home = Path(place)
    solved(4, home)
    stack = graph.journal_graph(home / "journal.db", name="the shop").stack()
    figures.save(figures.cross_section(graph.cross_section(stack)), sys.argv[1] if sys.argv[1:] else "whiteouts.png")
