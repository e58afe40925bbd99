"""What the doctor says, compared with what the machine says."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sim.cli import machine
from sim.cli.machine import Finding, State, abilities, examine
from sim.cli.main import run


def found(key: str) -> Finding:
    return next(finding for finding in examine() if finding.key == key)


def test_every_finding_says_why_and_how_to_mend() -> None:
    findings = examine()
    assert len({finding.key for finding in findings}) == len(findings) == 15
    for finding in findings:
        assert finding.why
        assert finding.found
        assert finding.mend == "" if finding.state is State.YES else finding.mend


def test_what_the_machine_itself_says() -> None:
    assert found("root").state == (State.YES if os.geteuid() == 0 else State.NO)
    assert platform.release() in found("linux").found
    assert (found("overlayfs").state is State.YES) or "overlay" not in Path("/proc/filesystems").read_text()
    assert (found("newuidmap").state is State.NO) == (shutil.which("newuidmap") is None)


def test_user_namespaces_as_unshare_finds_them(tool: Callable[[str], str]) -> None:
    unshare = tool("unshare")
    done = subprocess.run([unshare, "--user", "--map-root-user", "--mount", "true"], capture_output=True, check=False)
    assert (found("user_namespaces").state is State.YES) == (done.returncode == 0)


def test_nothing_is_changed_by_asking() -> None:
    before = Path("/proc/self/mountinfo").read_text(), os.listdir("/proc/self/fd"), os.readlink("/proc/self/ns/user")
    examine()
    after = Path("/proc/self/mountinfo").read_text(), os.listdir("/proc/self/fd"), os.readlink("/proc/self/ns/user")
    assert before == after


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {one["key"] for one in said["findings"]} >= {"dev_fuse", "overlayfs", "cgroups", "seccomp", "passthrough"}
    assert said["abilities"]["simulate stacks in Python"] == {"can": True, "missing": []}


def test_the_page_names_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    page = capsys.readouterr().out
    for finding in examine():
        assert finding.name in page


def test_what_is_missing_is_shown_with_its_mend(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert run(["doctor"]) == 0
    page = capsys.readouterr().out
    for package in ("fuse3", "libfuse-dev", "uidmap", "busybox-static"):
        assert package in page
    assert "run the demo; missing: " in page


def test_abilities_depend_on_what_is_there() -> None:
    def has(*missing: str) -> dict[str, list[str]]:
        keys = ("linux", "root", "dev_fuse", "fusermount", "fuse_python", "namespaces", "user_namespaces", "busybox")
        return dict(abilities([Finding(key, key, State.NO if key in missing else State.YES, "", "") for key in keys]))

    assert not any(has().values())
    assert has("root")["run the demo"] == []
    assert has("root", "fusermount")["mount stacks with FUSE"] == ["fusermount"]
    assert has("fusermount")["mount stacks with FUSE"] == []
    assert has("root", "user_namespaces")["run containers"] == ["user_namespaces"]
    assert has("busybox")["run the demo"] == ["busybox"]


def test_a_kernel_release_of_any_form(monkeypatch: pytest.MonkeyPatch) -> None:
    for release, new in (
        ("6.9.0", True),
        ("6.12-rc1", True),
        ("5.15.0-91-generic", False),
        ("7.0", True),
        ("x", False),
    ):
        monkeypatch.setattr(platform, "release", lambda release=release: release)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert (found("passthrough").state is State.YES) == new
