r"""The graph for other programs: JSON, GraphML and DOT; the files of a layer.

Decided here and only here: the form of an export. JSON is `{"schema": 1, "nodes": [...], "edges": [...]}`; a node has
`key` and `kind`, an edge `source`, `target` and `kind`, and each has the attributes that `sim.graph.kinds` lists for
its kind, no others. `SCHEMA` says the same as a JSON Schema. Undecodable bytes of paths stay lone surrogates in JSON
(`\udcff`), and become `\xff` in GraphML and DOT, which cannot hold them.

Functions only; they belong to the thread of the graph.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sim.graph.entry import Layer
from sim.graph.graph import LayerGraph
from sim.graph.kinds import EDGE_ATTRIBUTES, NODE_ATTRIBUTES

__all__ = ["SCHEMA", "file_list", "to_dot", "to_graphml", "to_json"]

_VERSION = 1


def _items(table: Mapping[str, Mapping[str, tuple[str, str]]], fixed: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON Schema of a list of nodes or edges."""
    forms = []
    for kind, attributes in table.items():
        properties: dict[str, Any] = {name: {"type": "string", "description": text} for name, text in fixed.items()}
        properties["kind"] = {"const": str(kind)}
        properties.update({name: {"type": form, "description": text} for name, (form, text) in attributes.items()})
        forms.append(
            {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
        )
    return {"type": "array", "items": {"oneOf": forms}}


#: JSON Schema (2020-12) of what `to_json` writes.
SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "layer graph",
    "type": "object",
    "properties": {
        "schema": {"const": _VERSION},
        "nodes": _items(NODE_ATTRIBUTES, {"key": "unique key of the node", "label": "short name for people"}),
        "edges": _items(EDGE_ATTRIBUTES, {"source": "key of a node", "target": "key of a node"}),
    },
    "required": ["schema", "nodes", "edges"],
    "additionalProperties": False,
}


def to_json(graph: LayerGraph, *, indent: int | None = None) -> str:
    """Return the graph as JSON; nodes and edges in the order in which they came into it."""
    document = {
        "schema": _VERSION,
        "nodes": [{"key": key, **attributes} for key, attributes in graph.nx.nodes(data=True)],
        "edges": [
            {"source": source, "target": target, **attributes}
            for source, target, attributes in graph.nx.edges(data=True)
        ],
    }
    return json.dumps(document, indent=indent)


def to_graphml(graph: LayerGraph) -> str:
    """Return the graph as GraphML, as `networkx.read_graphml` and Gephi read it."""
    import networkx

    plain = networkx.MultiDiGraph()
    for key, attributes in graph.nx.nodes(data=True):
        plain.add_node(_escape(key), **_escaped(attributes))
    for source, target, key, attributes in graph.nx.edges(keys=True, data=True):
        plain.add_edge(_escape(source), _escape(target), key=key, **_escaped(attributes))
    return "\n".join(networkx.generate_graphml(plain))


def to_dot(graph: LayerGraph) -> str:
    """Return the graph in Graphviz's DOT language."""
    lines = ["digraph layers {", "  rankdir=TB;", "  node [shape=box];"]
    for key, attributes in graph.nx.nodes(data=True):
        lines.append(f"  {_quote(key)} [label={_quote(attributes['label'])}, kind={_quote(attributes['kind'])}];")
    for source, target, kind in graph.nx.edges(keys=True):
        lines.append(f"  {_quote(source)} -> {_quote(target)} [label={_quote(kind)}];")
    return "\n".join([*lines, "}", ""])


def file_list(layer: Layer) -> Iterator[dict[str, Any]]:
    """Yield every entry of a layer in order of path, with all that is known of it; units as in `Entry`."""
    for path, entry in sorted(layer.entries.items()):
        yield {
            "path": path,
            "type": entry.type.value,
            "bytes": entry.size,
            "mode": entry.mode,
            "uid": entry.uid,
            "gid": entry.gid,
            "mtime": entry.mtime,
            "target": entry.target,
            "opaque": entry.opaque,
        }


def _escaped(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _escape(value) if isinstance(value, str) else value for name, value in attributes.items()}


def _escape(text: str) -> str:
    """Return text that XML and UTF-8 can hold: control characters and undecodable bytes as backslash escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape_one(ord(character)) for character in text)


def _escape_one(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 32 or code == 127:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if 0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF) else chr(code)


def _quote(text: str) -> str:
    return '"' + _escape(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
