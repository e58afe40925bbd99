"""The figure of lesson 5: one row appended to a database of a read-only layer."""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from sim import figures, graph
from sim.course.exercises import lay_out
from sim.course.exercises.stacks import opened

with tempfile.TemporaryDirectory() as place:
    home = Path(place)
    lay_out(5)(home)
    with opened(home, ("hotfix", "app", "base")) as fs:
        fs.append_bytes("/var/lib/data.db", b"row\n")
    stack = graph.journal_graph(home / "journal.db", name="the shop").stack()
    view = replace(graph.copy_up(stack), seconds=0.0021)  # as on a laptop; else the picture would differ each time
    figures.save(figures.copy_up(view), sys.argv[1] if sys.argv[1:] else "copy-up.png")
