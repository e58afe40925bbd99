"""The layer graph: what is in which layer, who hides what, who copied what up, and what it costs.

Sources become one graph; stacks are asked from it; views are plain data for `sim.figures`:

>>> import tempfile
>>> from pathlib import Path
>>> from sim.graph import cross_section, directories_graph
>>> place = tempfile.TemporaryDirectory()
>>> home = Path(place.name)
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
>>> place.cleanup()

The pieces:

- `journal_graph(journal, name=..., at=N)`, `directories_graph(lower, upper)`: a graph of one stack.
  `add_journal(graph, ...)`, `add_directories(graph, ...)`: the same into a graph that is there already.
- `store_graph(store)`, `archive_graph(file)`: all images of a store, or of a docker-archive, OCI archive or OCI layout;
  `add_store`, `add_archive`. Add the store first: containers added after it are joined to their images.
- `engine_graph(data_root)`, `add_engine`: the images and containers of an engine; `find_container` finds one of them.
- `follow(journal)`: the graph as operations happen; `Follower` brings it up to date when it is asked.
- `LayerGraph`: `nx` (the `networkx.MultiDiGraph`), `stack(name)`, `add_paths(stack, paths)`, `add_files(stack)`.
- `Lab`: a bench for lessons: layers from a few words, a stack that is used and recorded, with a mount or without.
- `cross_section(stack)`, `timeline(stack)`, `lookup_walk(stack, path)`, `copy_up(stack)`, `change_tree(before, after)`,
  `heat(stack)`, `latency(stack)`, `icicle(layer)`, `sharing(graph)`, `waterfall(graph)`, `image_dag(graph)`,
  `savings_curve(name, image, rw)`: data for the figures of the same names.
- `sizes`, `waste`, `waste_by_path`, `efficiency`, `copy_up_cost`, `served_by`, `lookup_depth`, `savings`: measures,
  exact, in bytes.
- `history(stack, path)`: who added, changed, copied up, hid and restored a path.
- `to_json`, `to_graphml`, `to_dot`, `file_list(layer)`, `difference(before, after)`: for other programs.
- `column(layers, path)`, `merged(layers)`: which layer serves a path, and why the others do not.
"""

from sim.graph.archive import add_archive, archive_graph
from sim.graph.engine import ContainerPlace, add_container, add_engine, container_places, engine_graph, find_container
from sim.graph.entry import Entry, EntryType, Layer, Role
from sim.graph.errors import GraphError, NameUnknown, SourceError
from sim.graph.export import SCHEMA, file_list, to_dot, to_graphml, to_json
from sim.graph.follow import Follower, advance, follow
from sim.graph.graph import Image, LayerGraph
from sim.graph.history import Event, history
from sim.graph.kinds import EDGE_ATTRIBUTES, NODE_ATTRIBUTES, EdgeKind, NodeKind
from sim.graph.lab import Box, Lab
from sim.graph.measures import (
    Cost,
    PathWaste,
    Saving,
    Size,
    Waste,
    copy_up_cost,
    disk_bytes,
    efficiency,
    lookup_depth,
    savings,
    served_by,
    sizes,
    virtual_bytes,
    visible_bytes,
    waste,
    waste_by_path,
)
from sim.graph.merge import Cell, Column, State, column, columns, listing, merged
from sim.graph.replay import Replay
from sim.graph.sources import add_directories, add_journal, add_store, directories_graph, journal_graph, store_graph
from sim.graph.stack import LayerStack, layer_title
from sim.graph.views import (
    CrossSection,
    Exploration,
    Sharing,
    Timeline,
    change_tree,
    copy_up,
    cross_section,
    difference,
    exploration,
    heat,
    icicle,
    image_dag,
    latency,
    lookup_walk,
    savings_curve,
    sharing,
    steps,
    timeline,
    waterfall,
)

__all__ = [
    "EDGE_ATTRIBUTES",
    "NODE_ATTRIBUTES",
    "SCHEMA",
    "Box",
    "Cell",
    "Column",
    "ContainerPlace",
    "Cost",
    "CrossSection",
    "EdgeKind",
    "Entry",
    "EntryType",
    "Event",
    "Exploration",
    "Follower",
    "GraphError",
    "Image",
    "Lab",
    "Layer",
    "LayerGraph",
    "LayerStack",
    "NameUnknown",
    "NodeKind",
    "PathWaste",
    "Replay",
    "Role",
    "Saving",
    "Sharing",
    "Size",
    "SourceError",
    "State",
    "Timeline",
    "Waste",
    "add_archive",
    "add_container",
    "add_directories",
    "add_engine",
    "add_journal",
    "add_store",
    "advance",
    "archive_graph",
    "change_tree",
    "column",
    "columns",
    "container_places",
    "copy_up",
    "copy_up_cost",
    "cross_section",
    "difference",
    "directories_graph",
    "disk_bytes",
    "efficiency",
    "engine_graph",
    "exploration",
    "file_list",
    "find_container",
    "follow",
    "heat",
    "history",
    "icicle",
    "image_dag",
    "journal_graph",
    "latency",
    "layer_title",
    "listing",
    "lookup_depth",
    "lookup_walk",
    "merged",
    "savings",
    "savings_curve",
    "served_by",
    "sharing",
    "sizes",
    "steps",
    "store_graph",
    "timeline",
    "to_dot",
    "to_graphml",
    "to_json",
    "virtual_bytes",
    "visible_bytes",
    "waste",
    "waste_by_path",
    "waterfall",
]
