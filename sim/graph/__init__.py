"""The layer graph: what is in which layer, who hides what, who copied what up, and what it costs.

Sources become one graph; stacks are asked from it; views are plain data for `sim.figures`:

>>> import tempfile
>>> from pathlib import Path
>>> from sim.graph import cross_section, directories_graph
>>> home = Path(tempfile.mkdtemp())
>>> for file in ("base/motd", "base/hosts", "app/motd"):
...     (home / file).parent.mkdir(exist_ok=True)
...     _ = (home / file).write_text(file)
>>> graph = directories_graph([home / "app", home / "base"], name="web")
>>> graph
LayerGraph(0 images, 1 containers, 2 layers, 3 nodes, 2 edges)
>>> graph.add_files(graph.stack("web"))
>>> sorted(key for *_, key in graph.nx.edges(keys=True) if key not in ("contains", "parent"))
['shadows', 'top']
>>> view = cross_section(graph.stack("web"))
>>> [(path, view.rows[row].name) for path, row in zip(view.paths, view.served)]
[('/hosts', 'base'), ('/motd', 'app')]

The pieces:

- `journal_graph(journal, name=..., at=N)`, `directories_graph(lower, upper)`: a graph of one stack.
  `add_journal(graph, ...)`, `add_directories(graph, ...)`: the same into a graph that is there already.
- `LayerGraph`: `nx` (the `networkx.MultiDiGraph`), `stack(name)`, `add_paths(stack, paths)`, `add_files(stack)`.
- `cross_section(stack)`, `timeline(stack)`, `sharing(graph)`: data for the figures of the same names.
- `column(layers, path)`, `merged(layers)`: which layer serves a path, and why the others do not.
"""

from sim.graph.entry import Entry, EntryType, Layer, Role
from sim.graph.errors import GraphError, NameUnknown, SourceError
from sim.graph.graph import Image, LayerGraph
from sim.graph.history import Event, history
from sim.graph.kinds import EDGE_ATTRIBUTES, NODE_ATTRIBUTES, EdgeKind, NodeKind
from sim.graph.merge import Cell, Column, State, column, columns, merged
from sim.graph.sources import add_directories, add_journal, directories_graph, journal_graph
from sim.graph.stack import LayerStack
from sim.graph.views import (
    CrossSection,
    Sharing,
    Timeline,
    change_tree,
    copy_up,
    cross_section,
    difference,
    heat,
    icicle,
    image_dag,
    latency,
    lookup_walk,
    savings_curve,
    sharing,
    timeline,
    waterfall,
)

__all__ = [
    "EDGE_ATTRIBUTES",
    "NODE_ATTRIBUTES",
    "Cell",
    "Column",
    "CrossSection",
    "EdgeKind",
    "Entry",
    "EntryType",
    "Event",
    "GraphError",
    "Image",
    "Layer",
    "LayerGraph",
    "LayerStack",
    "NameUnknown",
    "NodeKind",
    "Role",
    "Sharing",
    "SourceError",
    "State",
    "Timeline",
    "add_directories",
    "add_journal",
    "change_tree",
    "column",
    "columns",
    "copy_up",
    "cross_section",
    "difference",
    "directories_graph",
    "heat",
    "history",
    "icicle",
    "image_dag",
    "journal_graph",
    "latency",
    "lookup_walk",
    "merged",
    "savings_curve",
    "sharing",
    "timeline",
    "waterfall",
]
