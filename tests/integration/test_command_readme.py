"""Every command and all Python in the README does what the README says."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)

#: Run by continuous integration itself; run from here it would run itself.
THE_SUITE = "./layerlab test"


def test_the_suite_is_what_continuous_integration_runs() -> None:
    assert any(THE_SUITE in code.splitlines() for kind, code in BLOCKS if kind == "sh")
    assert '/../layerlab" test' in (ROOT / ".ci/run").read_text()


@pytest.mark.usefixtures("fuse")
def test_shell(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "layerlab"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nexec '{sys.executable}' -P -m sim.cli \"$@\"\n")
    command.chmod(0o755)
    (tmp_path / "layerlab").symlink_to(command)
    script = "\n".join(code for kind, code in BLOCKS if kind == "sh").replace(THE_SUITE, "true")
    kept = {name: value for name, value in os.environ.items() if name not in ("DOCKER_HOST", "LAYERLAB_HOST")}
    root = tmp_path / "root"
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**kept, "PATH": f"{command.parent}:{kept['PATH']}", "LAYERLAB_ROOT": os.fspath(root)},
            check=False,
        )
    finally:
        end_daemon(root)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("layerlab: started the daemon")]
    assert said == []
    assert "\nopen\n" in done.stdout, "the container's own command"
    assert "\nC /hours\n" in done.stdout
    assert "\nD /etc/issue\n" in done.stdout
    assert "3 MiB" in done.stdout
    assert (tmp_path / "cross-section.png").exists()
    # What the text says of them.
    assert "\nfrom the app\n" in done.stdout
    assert (tmp_path / "changes/motd").read_text() == "from the app\none line more\n"
    assert (tmp_path / "base/hosts").read_text() == "from the base\n"
    assert (tmp_path / "app/motd").read_text() == "from the app\n"
    if os.geteuid() == 0:
        assert (tmp_path / "changes/hosts").is_char_device()
    assert "whiteout hides it in layer 2" in done.stdout
    assert (tmp_path / "cross-section.png").exists()
    assert sorted(os.listdir(tmp_path / "layerlab-demo")) == [
        "cross-section.png",
        "sharing.png",
        "store",
        "timeline.png",
    ]


def end_daemon(root: Path) -> None:
    """End the daemon that the commands have started, and wait for its end."""
    with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
        process = os.pidfd_open(int((root / "lock").read_text()))
        signal.pidfd_send_signal(process, signal.SIGTERM)
        assert select.select([process], [], [], 30)[0], "the daemon does not end"
        os.close(process)


def test_python(tmp_path: Path) -> None:
    (code,) = (code for kind, code in BLOCKS if kind == "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("LayerGraph(")


def test_what_you_should_see_is_what_you_see(tmp_path: Path) -> None:
    """The excerpt of the demo's output has the lines of a real one, up to numbers and digests."""

    def shape(line: str) -> str:
        return re.sub(r"[0-9a-f]{12}|[\d.,]+ ?[KMG]?i?B?\b", "#", " ".join(line.split()))

    done = subprocess.run(
        [sys.executable, "-P", "-m", "sim.cli", "demo"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    if done.returncode != 0:
        pytest.skip(f"needs what the demo needs: {done.stderr.strip()}")
    shown = {shape(line) for line in done.stdout.splitlines()}
    (excerpt,) = (code for kind, code in BLOCKS if kind == "text")
    assert [line for line in excerpt.splitlines() if line != "..." and shape(line) not in shown] == []


def test_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
