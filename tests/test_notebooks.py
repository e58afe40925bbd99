"""The notebooks: each is committed as it ran, from its text source, and runs again from a clean kernel.

`LAYERLAB_DRAW=1 pytest tests/test_notebooks.py` runs them and writes what came out beside the sources.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext  # type: ignore[import-untyped]
import nbclient
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("*.py"))
names = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def run(source: Path) -> Any:
    """Run a notebook from its text source in a new kernel."""
    notebook = jupytext.read(source)
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index}"
    notebook.metadata.pop("jupytext", None)
    nbclient.NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,  # what is shown without widgets is in the outputs
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def stored(source: Path) -> Any:
    """Read a notebook as it is committed."""
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
def _nothing_stays_mounted() -> Iterator[None]:
    yield
    assert "/layerlab-lesson-" not in Path("/proc/self/mounts").read_text()


# The kernel's client library warns of its own sockets and event loops; what a notebook itself warns of is an output.
@pytest.mark.filterwarnings("default")
@names
def test_a_notebook_runs_from_a_clean_kernel_in_a_minute(source: Path) -> None:
    start = time.monotonic()
    notebook = run(source)
    assert time.monotonic() - start < 60
    streams = [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "stream"
    ]
    assert [output.text for output in streams if output.name == "stderr"] == []
    if os.environ.get("LAYERLAB_DRAW"):
        nbformat.write(notebook, source.with_suffix(".ipynb"))  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("default")
def test_the_registry_of_the_notebook_does_what_the_real_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where nothing is
    notebook = run(NOTEBOOKS / "08-push-and-pull-only-what-is-missing.py")
    text = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "stream"
    )
    assert "the registry of the lines above, in this process" in text
    committed = "".join(
        output.text
        for cell in stored(NOTEBOOKS / "08-push-and-pull-only-what-is-missing.py").cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream"
    )
    # Times are in what travels, so bytes differ by a few; their part of the image does not.
    parts = re.compile(r"^(p\w+ \S+(?: again)?) +[\d,]+ bytes, +([\d.]+%) of the image", re.M)
    assert len(parts.findall(text)) == 7
    assert parts.findall(text) == parts.findall(committed)
    assert "the content is damaged or forged" in text


@names
def test_what_is_committed_is_the_source_as_it_ran(source: Path) -> None:
    committed = stored(source)
    wanted = jupytext.read(source)
    assert [(c.cell_type, c.source) for c in committed.cells] == [(c.cell_type, c.source) for c in wanted.cells]
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    nbformat.validate(committed)


@names
def test_the_first_screen_has_a_figure(source: Path) -> None:
    committed = stored(source)
    first = next(cell for cell in committed.cells if cell.cell_type == "code")
    assert any("image/png" in output.get("data", {}) for output in first.outputs)


def test_each_notebook_has_its_source() -> None:
    assert SOURCES
    assert [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))] == [path.stem for path in SOURCES]
