"""What runs in the sandbox: copies the submission, builds it, grades it, and says what came of it.

Decided here: where things lie inside. All that a submission may write is in /layerlab-work (its copy, and the stacks), the
grader's own files are in /layerlab-results, which is not there behind the wall that the submission runs behind (`wall`), and
/tmp and /var/tmp have to stay empty. The answer is one line of JSON, the last one
on standard output. Started by `batch`; one thread.
"""

from __future__ import annotations

import base64
import functools
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
from sim.course.own.submission import OUTSIDE, THERE
from sim.course.own.wall import WALL, enclose, kill_behind

__all__ = ["main"]

_BUILD_SECONDS = 60
_MOST_PICTURES = 12
_OUTSIDE = ("/tmp", "/var/tmp")


def main(request: dict[str, Any]) -> None:
    """Grade as the request says."""
    source, copy = Path(request["submission"]), Path("/layerlab-work/submission")
    results = Path("/layerlab-results")
    # Nothing, or the way to this project or to an interpreter that lies below.
    there = [f"{place}/{name}" for place in _OUTSIDE for name in os.listdir(place)]
    why = _build(source, copy, request["build"], results)
    words = [
        word.replace("SUBMISSION", str(copy if source.is_dir() else copy / source.name)) for word in request["command"]
    ]
    os.environ.update(
        {
            PLACE: "/layerlab-work",
            OUTSIDE: ":".join(_OUTSIDE),
            THERE: ":".join(there),
            WALL: str(results),
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


def _build(source: Path, copy: Path, build: str, results: Path) -> str:
    """Copy the submission and build it behind a wall; return why that could not be done."""
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
    log = results / "build.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["sh", "-c", build],
            cwd=copy,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            preexec_fn=functools.partial(enclose, [str(results)]),
        )
        try:
            code = process.wait(_BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            return f"building took more than {_BUILD_SECONDS} seconds; stopped"
        finally:
            kill_behind()
            process.wait()
    if code:
        lines = log.read_text(errors="replace").strip().splitlines()
        return f"it cannot be built: {lines[-1][:200] if lines else f'status {code}'}"
    return ""


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
