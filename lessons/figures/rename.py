"""The figure of lesson 6: a file and a directory renamed."""

import sys
import tempfile
from pathlib import Path

from sim import figures, graph
from sim.course.exercises import solved

with tempfile.TemporaryDirectory() as place:
    home = Path(place)
    solved(6, home)
    lower = [home / name for name in ("tools", "hotfix", "app", "base")]
    stack = graph.directories_graph(lower, home / "changes", name="the shop").stack()
    figures.save(
        figures.cross_section(graph.cross_section(stack, under="/srv")), sys.argv[1] if sys.argv[1:] else "rename.png"
    )
