"""The kernel's overlayfs as a driver: what mount(2) has no room for is mounted all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusefs import Stack, mount


@pytest.mark.parametrize("count", [1, 40, 127])
@pytest.mark.usefixtures("overlayfs")
def test_many_layers_with_long_names(count: int, tmp_path: Path) -> None:
    """The names of 127 layers are several pages of options; the kernel cuts off what is more than one."""
    layers = []
    for number in range(count):
        layer = tmp_path / f"{'a-long-name-' * 15}{number}"
        layer.mkdir()
        (layer / f"file-{number}").write_text(str(number))
        layers.append(layer)
    places = [tmp_path / name for name in ("upper", "work", "merged")]
    for path in places:
        path.mkdir()
    with mount(Stack(tuple(layers), places[0], places[1]), places[2], driver="overlayfs") as mounted:
        assert len(list(mounted.mountpoint.iterdir())) == count
        (mounted.mountpoint / f"file-{count - 1}").write_text("changed")
    assert (places[0] / f"file-{count - 1}").read_text() == "changed"
    assert (layers[-1] / f"file-{count - 1}").read_text() == str(count - 1)
