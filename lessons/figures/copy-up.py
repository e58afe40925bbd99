"""The figure of lesson 5: one row appended to a database of a read-only layer."""

import sys
import tempfile
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
    figures.save(figures.copy_up(graph.copy_up(stack)), sys.argv[1] if sys.argv[1:] else "copy-up.png")
