"""The runner without processes: its programs do to the layers what busybox does in a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.build import BuildError, BuildOptions, Runner, build
from sim.build.inprocess import InProcessRunner
from sim.build.local import LocalRunner
from sim.graph import merged, store_graph
from sim.images import Store, base_image, image_from_layers

FILES = ["echo one > /a", "mkdir -p /d/e && echo two > /d/e/b", "chmod -R +x /d", "rm -rf /a /none", "chmod 600 /d/e/b",
         "dd if=/dev/zero of=/z bs=10 count=7", "cat /d/e/b && true"]  # fmt: skip


def made(store: Store, context: Path, runner: Runner, tag: str, lines: list[str], base: str) -> str:
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text("\n".join([f"FROM {base}", *(f"RUN {line}" for line in lines)]) + "\n")
    told: list[str] = []
    build(
        store, context, BuildOptions(tags=(tag,), nocache=True), runner=runner, output=lambda one: told.append(one.text)
    )
    return "".join(told)


def tree(store: Store, name: str) -> dict[str, tuple[object, ...]]:
    view = merged(store_graph(store).stack(name).layers)
    return {path: (entry.type, entry.size, entry.mode) for path, (_, entry) in view.items() if path != "/"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_it_does_what_real_processes_do(store: Store, tmp_path: Path, root: None) -> None:
    with store:
        base_image(store, "base:1")
        ours = made(store, tmp_path / "c", InProcessRunner(), "ours:1", FILES, "base:1")
        made(store, tmp_path / "c", LocalRunner(store), "real:1", FILES, "base:1")
        assert "two\n" in ours
        assert tree(store, "ours:1") == tree(store, "real:1")


def test_without_privileges_and_without_a_shell(store: Store, tmp_path: Path) -> None:
    with store:
        image_from_layers(store, [store.add_entries([])], tags=["empty:1"])
        made(store, tmp_path / "c", InProcessRunner(), "ours:1", FILES, "empty:1")
        assert {path: size for path, (_, size, _) in tree(store, "ours:1").items()} == {
            "/d": 0,
            "/d/e": 0,
            "/d/e/b": 4,
            "/z": 70,
        }


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("apt-get update", 127, "apt-get: not known to lessons that run without processes"),
        ("rm /none", 1, "rm /none: No such file or directory"),
        ("mkdir /d && rm /d", 1, "rm /d: Is a directory"),
        ("dd if=/dev/zero", 1, "dd if=/dev/zero: "),
    ],
)
def test_what_it_cannot_do_fails_the_build(store: Store, tmp_path: Path, line: str, code: int, said: str) -> None:
    with store:
        image_from_layers(store, [store.add_entries([])], tags=["empty:1"])
        told: list[str] = []
        (tmp_path / "Dockerfile").write_text(f"FROM empty:1\nRUN {line}\n")
        with pytest.raises(BuildError) as caught:
            build(store, tmp_path, BuildOptions(), runner=InProcessRunner(), output=lambda one: told.append(one.text))
        assert caught.value.code == code
        assert said in "".join(told)
