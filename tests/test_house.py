"""The rules of the house: what may import what, how long a module may be, what is pinned."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

#: Imports point down only: a room imports from rooms on floors below its own, and from itself.
FLOORS = {
    "fusefs": 1,
    "sim.images": 2,
    "sim.runtime": 2,
    "sim.build": 3,
    "sim.graph": 3,
    "sim.engine": 4,
    "sim.figures": 4,
    "sim.api": 5,
    "sim.bench": 5,
    "sim.course": 5,
    "sim.explore": 5,
    "sim.cli": 6,
}

#: Modules of `fusefs` that adapt a protocol: the union itself knows nothing of them.
DRIVERS = ("fusefs.drivers", "fusefs.mount", "fusefs.serve", "fusefs.dropin")

MODULES = sorted([*(ROOT / "fusefs").rglob("*.py"), *(ROOT / "sim").rglob("*.py")])
SOURCES = sorted([*MODULES, *(ROOT / "tests").rglob("*.py")])


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    """Return the room that a module is in; None for `sim` itself."""
    return next((room for room in FLOORS if module == room or module.startswith(f"{room}.")), None)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield what a module imports, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            # `from sim import graph` imports a module too.
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def test_there_is_a_house() -> None:
    assert len(MODULES) > 20
    assert {room_of(name_of(path)) for path in MODULES} >= {"fusefs", "sim.cli"}


def test_imports_point_down() -> None:
    found = []
    for path in MODULES:
        here = room_of(name_of(path))
        if here is None:
            assert path == ROOT / "sim" / "__init__.py", f"{path} is in no room: give it one in FLOORS"
            assert not [name for name, _ in imports(path) if name.startswith(("sim", "fusefs"))]
            continue
        for name, line in imports(path):
            there = room_of(name)
            if there is not None and there != here and FLOORS[there] >= FLOORS[here]:
                found.append(f"{path}:{line}: {here} imports {there}, which is not below it")
    assert found == []


def test_the_union_knows_no_driver() -> None:
    found = []
    for path in MODULES:
        if room_of(name_of(path)) != "fusefs" or name_of(path) == "fusefs" or name_of(path).startswith(DRIVERS):
            continue
        found += [
            f"{path}:{line}: the union imports {name}" for name, line in imports(path) if name.startswith(DRIVERS)
        ]
    assert found == []


def test_no_module_is_longer_than_500_lines() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: lines for path, lines in lengths.items() if lines > 500} == {}, "these hold two concepts: name them"


def test_a_module_says_what_it_decides() -> None:
    assert [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_bytes()))] == []


def test_all_is_sorted_and_true() -> None:
    found = []
    for path in MODULES:
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
                names = ast.literal_eval(node.value)
                # Constants, then classes, then functions, as ruff's RUF022 sorts them.
                if names != sorted(set(names), key=_isort_style):
                    found.append(f"{path}: __all__ is not sorted, or has a name twice")
                if name_of(path) != "fusefs.drivers.fusepython":
                    module = import_module(name_of(path))
                    found += [f"{path}: __all__ names {name}" for name in names if not hasattr(module, name)]
    assert found == []


def _isort_style(name: str) -> tuple[int, str]:
    if name.isupper() and len(name) > 1:
        return (0, name)
    return (1, name) if name[:1].isupper() else (2, name)


FORBIDDEN = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|(?<![\w/])/work/(main|shared|\.)|NotImplementedError")


def test_nothing_is_left_to_do() -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in SOURCES
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert found == []


def python(code: str, *options: str) -> str:
    """Run code in a Python of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *options, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


#: Makes `import fuse` fail as it does where fuse-python is not installed.
WITHOUT_FUSE = "import sys; sys.modules['fuse'] = None\n"


@pytest.mark.parametrize("module", [name_of(path) for path in MODULES if path.name == "__init__.py"])
def test_packages_import_without_fuse_and_without_heavy_ones(module: str) -> None:
    if module in ("sim.figures", "sim.images.registry"):  # one draws, the other speaks HTTP
        python(f"{WITHOUT_FUSE}import {module}")
        return
    loaded = python(
        f"{WITHOUT_FUSE}import {module}\n"
        "print([name for name in ('networkx', 'matplotlib', 'numpy', 'rich', 'httpx') if name in sys.modules])"
    )
    assert loaded.strip() == "[]"


def test_the_union_works_where_fuse_python_is_not_installed() -> None:
    python(
        f"{WITHOUT_FUSE}import pathlib, tempfile\n"
        "from fusefs import UnionFS\n"
        "with tempfile.TemporaryDirectory() as place:\n"
        "    lower, upper, work = (pathlib.Path(place, name) for name in ('lower', 'upper', 'work'))\n"
        "    for directory in (lower, upper, work): directory.mkdir()\n"
        "    (lower / 'motd').write_text('hello')\n"
        "    fs = UnionFS(lower=[lower], upper=upper, work=work)\n"
        "    assert fs.read_bytes('/motd') == b'hello'\n"
        "    fs.close()\n"
    )


def required() -> Iterator[Requirement]:
    """Yield all that the project needs to run, to be tested and to be built, also what those need."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    waiting = [
        *settings["project"]["dependencies"],
        *settings["dependency-groups"]["dev"],
    ]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        yield requirement
        for text in metadata.requires(requirement.name) or ():
            need = Requirement(text)
            if need.marker is None or any(
                need.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
            ):
                need.marker = None
                waiting.append(str(need))


def test_everything_is_pinned() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = dict(line.split("==") for line in lines)
    assert list(pins) == sorted(pins), "constraints.txt is not sorted"
    needed = {canonicalize_name(requirement.name) for requirement in required()}
    assert needed - pins.keys() == set(), "constraints.txt lacks these"
    builders = {"editables", "hatchling", "setuptools", "tomlkit", "trove-classifiers"}
    assert pins.keys() - needed - builders == set(), "constraints.txt has these, and nothing needs them"
    for requirement in required():
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_the_top_level_is_as_agreed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("this is no git checkout, so nothing says which files belong to it")
    top = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    visible = {name for name in top if not name.startswith(".")}
    assert visible <= {
        *("pyproject.toml", "constraints.txt", "layerlab"),
        *("sim", "fusefs", "notebooks", "lessons", "tests"),
        *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md"),
    }
