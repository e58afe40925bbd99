"""What runs in the sandbox: copies the submission, builds it, grades it, and says what came of it.

Decided here: where things lie inside. All that a submission may write is in /layerlab-work (its copy, and the stacks), the
grader's own files are in /layerlab-results, and /tmp and /var/tmp have to stay empty. The answer is one line of JSON, the last one
on standard output. Started by `batch`; one thread.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from sim.course.errors import CourseError
from sim.course.own.grader import Report, grade
from sim.course.own.levels import POINTS
from sim.course.own.plugin import PLACE
from sim.course.own.submission import OUTSIDE
from sim.runtime import syscalls

__all__ = ["main"]

_BUILD_SECONDS = 60
_MOST_PICTURES = 12


def _lock_mounts() -> None:
    """Go into one more user and mount namespace: what is read-only here cannot be made writable there.

    A mount namespace that a less privileged user namespace gets its copy of has its flags locked (mount_namespaces(7)):
    the submission may mount, as it must, and not remount.
    """
    users, groups = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {users} 1"), ("gid_map", f"0 {groups} 1")):
        Path(f"/proc/self/{name}").write_text(text)


def main(request: dict[str, Any]) -> None:
    """Grade as the request says."""
    _lock_mounts()
    source, copy = Path(request["submission"]), Path("/layerlab-work/submission")
    results = Path("/layerlab-results")
    why = _build(source, copy, request["build"])
    words = [
        word.replace("SUBMISSION", str(copy if source.is_dir() else copy / source.name)) for word in request["command"]
    ]
    os.environ.update(
        {
            PLACE: "/layerlab-work",
            OUTSIDE: "/tmp:/var/tmp",
            "TMPDIR": "/layerlab-results",
            "MPLCONFIGDIR": "/layerlab-results/mpl",
        }
    )
    if why:
        levels = {level: (0.0, POINTS[level]) for level in request["levels"]}
        report = Report(" ".join(words), (), levels, 0.0, sum(of for _, of in levels.values()), why)
    else:
        try:
            report = grade(
                words,
                levels=request["levels"],
                junit=results / "junit.xml",
                figures=results / "figures",
                time=request["seconds"],
            )
        except CourseError as error:
            raise SystemExit(str(error)) from None
    pictures = sorted((results / "figures").glob("*.png"))[:_MOST_PICTURES]
    files = {
        path.name: base64.b64encode(path.read_bytes()).decode()
        for path in (results / "junit.xml", *pictures)
        if path.exists()
    }
    print("\n" + json.dumps({"report": json.loads(report.as_json()), "files": files}))


def _build(source: Path, copy: Path, build: str) -> str:
    """Copy the submission and build it; return why that could not be done."""
    try:
        if source.is_dir():
            shutil.copytree(source, copy, symlinks=True)
        else:
            copy.mkdir()
            shutil.copy2(source, copy / source.name)
    except (OSError, shutil.Error) as error:
        return f"it cannot be copied: {str(error)[:200]}"
    if not build:
        return ""
    try:
        done = subprocess.run(
            ["sh", "-c", build],
            cwd=copy,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"building took more than {_BUILD_SECONDS} seconds; stopped"
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        return f"it cannot be built: {lines[-1][:200] if lines else f'status {done.returncode}'}"
    return ""


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
