"""Random worlds and random operations, for hypothesis. Few names, so that operations meet."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import strategies as st

from fusefs.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE
from tests.fusefs.worlds import Thing, World

NAMES = ("a", "b", "c")
PATHS = (*NAMES, *(f"{one}/{two}" for one in NAMES for two in NAMES), "a/b/c", "b/a/a", "a/a/a", "c/b/a")

_CONTENT = st.sampled_from(["", "x", "lower text", "y" * 50])


def _things() -> st.SearchStrategy[Thing]:
    return st.one_of(
        st.builds(Thing, st.just("file"), _CONTENT, st.sampled_from([0o644, 0o600, 0o4755, 0o755])),
        st.just(Thing("dir")),
        st.just(Thing("dir")),
        st.just(Thing("dir")),
        st.just(Thing("opaque")),
        st.just(Thing("whiteout")),
        st.just(Thing("fifo")),
        st.builds(Thing, st.just("symlink"), st.sampled_from(["a", "b", "b/c", "missing"])),
        st.builds(Thing, st.just("link"), st.sampled_from(NAMES)),
        st.just(Thing("file", "with attributes", 0o644, {"user.colour": "red", "trusted.secret": "1"})),
    )


@st.composite
def layers(draw: st.DrawFn) -> dict[str, Thing]:
    """Return one layer: objects only below directories."""
    wanted = draw(st.dictionaries(st.sampled_from(PATHS), _things(), max_size=10))
    layer: dict[str, Thing] = {}
    for path in sorted(wanted):
        above = path.rsplit("/", 1)[0] if "/" in path else ""
        if above and above not in layer:
            grand = above.rsplit("/", 1)[0] if "/" in above else ""
            if grand and layer.setdefault(grand, Thing("dir")).kind not in ("dir", "opaque"):
                continue
            layer[above] = Thing("dir")
        if not above or layer[above].kind in ("dir", "opaque"):
            layer[path] = wanted[path]
    return layer


worlds: st.SearchStrategy[World] = st.lists(layers(), min_size=1, max_size=3)

_path = st.sampled_from(PATHS)
_bytes = st.sampled_from([b"", b"z", b"new text", b"w" * 900])
_flags = st.sampled_from(
    [
        os.O_WRONLY,
        os.O_WRONLY | os.O_CREAT,
        os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
        os.O_RDWR | os.O_CREAT | os.O_EXCL,
        os.O_WRONLY | os.O_TRUNC,
        os.O_RDWR,
    ]
)
_names = st.sampled_from(["user.colour", "user.other", "trusted.secret", "trusted.overlay.opaque", "trusted.overlay.x"])

operations: st.SearchStrategy[tuple[Any, ...]] = st.one_of(
    st.tuples(st.just("mkdir"), _path, st.sampled_from([0o755, 0o700, 0o2775])),
    st.tuples(st.just("rmdir"), _path),
    st.tuples(st.just("unlink"), _path),
    st.tuples(st.just("unlink"), _path),
    st.tuples(st.just("rename"), _path, _path, st.sampled_from([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE])),
    st.tuples(st.just("rename"), _path, _path, st.just(0)),
    st.tuples(st.just("link"), _path, _path),
    st.tuples(st.just("symlink"), st.sampled_from(["a", "b/a", "missing"]), _path),
    st.tuples(st.just("mkfifo"), _path),
    st.tuples(st.just("mkwhiteout"), _path),
    st.tuples(st.just("write"), _path, _flags, _bytes, st.sampled_from([0, 3, 10_000])),
    st.tuples(st.just("read"), _path),
    st.tuples(st.just("truncate"), _path, st.sampled_from([0, 2, 6000])),
    st.tuples(st.just("chmod"), _path, st.sampled_from([0o600, 0o777, 0o4711, 0o2750, 0o1777])),
    st.tuples(st.just("chown"), _path, st.sampled_from([-1, 0, 1000]), st.sampled_from([-1, 0, 1000])),
    st.tuples(st.just("utimens"), _path, st.sampled_from([0, 1_000_000_001, 1_600_000_000_000_000_007])),
    st.tuples(st.just("setxattr"), _path, _names, st.sampled_from([b"", b"y", b"value"]), st.sampled_from([0, 1, 2])),
    st.tuples(st.just("getxattr"), _path, _names),
    st.tuples(st.just("removexattr"), _path, _names),
    st.tuples(st.just("listxattr"), _path),
    st.tuples(st.just("listdir"), st.sampled_from(["", *PATHS])),
    st.tuples(st.just("readlink"), _path),
    st.tuples(st.just("stat"), _path),
)
