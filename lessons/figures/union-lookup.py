"""The figure of lesson 3: how /etc/hosts is looked up in the shop's stack."""

import sys
import tempfile
from pathlib import Path

from sim import figures, graph
from sim.course.exercises import lay_out

with tempfile.TemporaryDirectory() as place:
    home = Path(place)
    lay_out(3)(home)
    stack = graph.directories_graph([home / "app", home / "base"], home / "changes", name="the shop").stack()
    figures.save(
        figures.lookup_walk(graph.lookup_walk(stack, "/etc/hosts")), sys.argv[1] if sys.argv[1:] else "union-lookup.png"
    )
