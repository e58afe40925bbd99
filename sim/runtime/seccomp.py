"""placeholder."""

from __future__ import annotations

from sim.runtime.spec import ProcessSpec


def compiled_filter(spec: ProcessSpec) -> bytes:
    """Return the filter."""
    return b""
