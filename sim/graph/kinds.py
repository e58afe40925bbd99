"""The kinds of nodes and edges of the layer graph, and what each of their attributes means.

Decided here and only here: the words and units of the graph. Building, export and its schema follow these tables; a
test holds every graph against them. All values are constants.

Node keys are text: `layer:KEY`, `image:KEY`, `tag:NAME`, `container:NAME` and `file:LAYERKEY:PATH`. Edge keys are the
edge's kind, so two nodes have at most one edge of a kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

__all__ = ["EDGE_ATTRIBUTES", "NODE_ATTRIBUTES", "EdgeKind", "NodeKind", "file_key"]


class NodeKind(StrEnum):
    """What a node stands for."""

    LAYER = "layer"  #: a read-only layer, once however many images share it
    RW_LAYER = "rw layer"  #: the one layer of a container that is written to
    IMAGE = "image"  #: an ordered list of read-only layers
    TAG = "tag"  #: a name that people give to an image
    CONTAINER = "container"  #: something that runs on a stack, or any mount that has a journal
    FILE = "file"  #: what one layer has at one path, whiteouts among them


class EdgeKind(StrEnum):
    """What an edge says. The arrow is read from the source to the target."""

    PARENT = "parent"  #: layer → the layer below it in some stack
    TOP = "top"  #: image → its topmost layer; container → the topmost read-only layer, where no image is known
    NAMES = "names"  #: tag → image
    RUNS = "runs"  #: container → image
    WRITES_TO = "writes to"  #: container → its RW layer
    CONTAINS = "contains"  #: layer → file
    SHADOWS = "shadows"  #: file → the file of a layer below that it hides
    WHITEOUT = "whiteout"  #: whiteout → the file of a layer below that it hides
    OPAQUE = "opaque"  #: opaque directory → a file of a layer below that it hides
    COPIED_UP = "copied up"  #: file of the RW layer → the file of a read-only layer that it is a copy of
    RENAMED = "renamed"  #: file of the RW layer → what is now at the name that it had before
    CREATED = "created"  #: container → file that it made in its RW layer
    READ = "read"  #: container → file that served it, in whichever layer


_Table = Mapping[str, Mapping[str, tuple[str, str]]]

#: By node kind, by attribute: its JSON type and its meaning with the unit. Every node also has `kind` and `label`.
NODE_ATTRIBUTES: _Table = MappingProxyType(
    {
        NodeKind.LAYER: {
            "name": ("string", "digest, or the directory's name"),
            "bytes": ("integer", "bytes of file data, each hard-linked file once; -1 while the layer was not read"),
        },
        NodeKind.RW_LAYER: {
            "name": ("string", "name of the container, or of the directory"),
            "bytes": ("integer", "bytes of file data at this moment, each hard-linked file once"),
        },
        NodeKind.IMAGE: {
            "name": ("string", "its first tag, or its digest"),
            "bytes": ("integer", "virtual size: bytes of all its layers; -1 while one of them was not read"),
            "layers": ("integer", "number of layers"),
        },
        NodeKind.TAG: {"name": ("string", "repository:tag")},
        NodeKind.CONTAINER: {
            "name": ("string", "name of the container or mount"),
            "operations": ("integer", "operations so far"),
            "failed": ("integer", "operations that ended with an error"),
            "copied": ("integer", "bytes moved by copy-up"),
            "written": ("integer", "bytes written by processes"),
            "read": ("integer", "bytes read by processes"),
        },
        NodeKind.FILE: {
            "path": ("string", "path of the merged view"),
            "layer": ("string", "key of the layer's node"),
            "type": ("string", "file, directory, symlink, whiteout or other"),
            "bytes": ("integer", "bytes of file data or of a symlink's text (st_size); 0 for all else"),
            "state": ("string", "visible, merged, whiteout or shadowed, in the stack that was asked last"),
            "opaque": ("boolean", "whether this directory hides what is below"),
        },
    }
)

#: By edge kind, by attribute: its JSON type and its meaning with the unit. Every edge also has `kind`.
EDGE_ATTRIBUTES: _Table = MappingProxyType(
    {
        EdgeKind.PARENT: {},
        EdgeKind.TOP: {},
        EdgeKind.NAMES: {},
        EdgeKind.RUNS: {},
        EdgeKind.WRITES_TO: {},
        EdgeKind.CONTAINS: {},
        EdgeKind.SHADOWS: {},
        EdgeKind.WHITEOUT: {"operation": ("integer", "number of the operation that made the whiteout; 0 if unknown")},
        EdgeKind.OPAQUE: {"operation": ("integer", "number of the operation that made it opaque; 0 if unknown")},
        EdgeKind.COPIED_UP: {
            "operation": ("integer", "number of the operation"),
            "bytes": ("integer", "bytes copied"),
        },
        EdgeKind.RENAMED: {"operation": ("integer", "number of the operation")},
        EdgeKind.CREATED: {"operation": ("integer", "number of the operation")},
        EdgeKind.READ: {
            "operations": ("integer", "operations answered by this file without a change"),
            "reads": ("integer", "calls of read among them"),
            "bytes": ("integer", "bytes read"),
            "first": ("integer", "number of the first of these operations"),
            "last": ("integer", "number of the last"),
        },
    }
)


def file_key(layer: str, path: str) -> str:
    """Return the key of the node for what the layer with key `layer` has at `path`.

    >>> file_key("sha256:ab", "/etc/passwd")
    'file:sha256:ab:/etc/passwd'
    """
    return f"file:{layer}:{path}"
