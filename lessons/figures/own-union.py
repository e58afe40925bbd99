"""The figure of lesson 12: the stack on which a test of the grader fails, when a file in the middle does not end the search."""

import sys
import tempfile
from pathlib import Path

from sim import figures, graph

with tempfile.TemporaryDirectory() as place:
    home = Path(place)
    for path, text in {"1/e/a": "1", "2/e": "a file", "3/e/z": "not seen"}.items():
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (home / "upper").mkdir()
    stack = graph.directories_graph([home / n for n in "123"], home / "upper", name="submission").stack()
    figures.save(figures.cross_section(graph.cross_section(stack)), sys.argv[1] if sys.argv[1:] else "own-union.png")
