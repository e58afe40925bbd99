"""What the demo's steps act on, on strange root filesystems too."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import click
import pytest

from sim.cli.demosteps import MARK, Targets, choose_targets, script, steps


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for directory in ("bin", "etc/skel", "usr/lib"):
        (tmp_path / directory).mkdir(parents=True)
    for name in ("bin/sh", "etc/passwd", "etc/issue", "etc/shells", "etc/skel/.profile", "usr/lib/os-release"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_usual_places(base: Path) -> None:
    (base / "etc/os-release").symlink_to("../usr/lib/os-release")
    assert choose_targets(base) == Targets("/etc/os-release", "/etc/issue", "/etc/skel", "/etc/shells")


def test_each_step_has_a_file_of_its_own(base: Path) -> None:
    (base / "etc/group").write_text("")
    chosen = choose_targets(base)
    assert len({chosen.read, chosen.delete, chosen.rename, chosen.renew}) == 4


def test_a_link_that_leaves_the_layer_is_not_taken(base: Path) -> None:
    (base / "etc/issue").unlink()
    (base / "etc/issue").symlink_to("/etc/passwd")
    (base / "etc/zebra").write_text("")
    assert choose_targets(base).delete in ("/etc/shells", "/etc/zebra")


def test_a_shell_through_merged_directories_is_found(base: Path) -> None:
    os.rename(base / "bin", base / "usr/bin")
    (base / "bin").symlink_to("usr/bin")
    (base / "usr/bin/sh").unlink()
    (base / "usr/bin/dash").write_text("")
    (base / "usr/bin/sh").symlink_to("dash")
    assert choose_targets(base).rename == "/etc/shells"


@pytest.mark.parametrize("gone", ["bin/sh", "etc/passwd"])
def test_what_is_needed_is_named(base: Path, gone: str) -> None:
    (base / gone).unlink()
    with pytest.raises(click.ClickException, match=gone):
        choose_targets(base)


def test_a_loop_of_links_is_no_shell(base: Path) -> None:
    (base / "bin/sh").unlink()
    (base / "bin/sh").symlink_to("sh")
    with pytest.raises(click.ClickException, match="/bin/sh"):
        choose_targets(base)


def test_names_that_a_shell_takes_apart_are_no_targets(base: Path) -> None:
    for name in ("etc/issue", "etc/shells"):
        (base / name).unlink()
    (base / "etc/a b;c").write_text("")
    with pytest.raises(click.ClickException, match="/etc"):
        choose_targets(base)


def test_the_script_waits_before_each_step(base: Path) -> None:
    wanted = steps(choose_targets(base))
    code = script(wanted)
    subprocess.run(["sh", "-n", "-c", code], check=True)
    # Nobody answers: it ends at the first step, and has done nothing.
    done = subprocess.run(["sh", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.stdout == f"{MARK}0\n"
    assert done.returncode == 1
