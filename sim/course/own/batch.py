"""A directory of submissions, each graded in a sandbox.

Decided here and only here: what a submission may see and use. It runs in a container of `sim.runtime`: this machine's
programs and this project read-only, no network, a user namespace in which it is root and outside of which it is nobody,
a filesystem in memory of a limited size for all that is written, limits of memory, processes and time by control groups
(where the machine has them; else what is left are the disk, the time and the count of processes that the grader keeps).
Submissions are graded one after the other. One thread.

Whoever judges is in the sandbox as well, so that nothing of a submission comes near the machine; between the two is a wall
(`wall`), so that a submission can neither reach its judge nor what the judge writes.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.course.errors import CourseError
from sim.course.own.grader import Graded, Report, text
from sim.course.own.levels import LEVELS, POINTS
from sim.course.own.submission import ANSWER, MOUNTING
from sim.course.texts import Language
from sim.runtime import (
    Bind,
    ContainerError,
    Limits,
    Namespaces,
    Process,
    ProcessSpec,
    Rlimit,
    Tmpfs,
    capability_mask,
)
from sim.runtime import (
    Mapping as NumberMapping,
)

__all__ = ["Bounds", "grade_all", "grade_one", "write_table"]

_PLACE = "/submission"
_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one submission may use: bytes of memory, processes, bytes of disk, seconds; seconds for one mount and one call."""

    memory: int = 512 << 20
    pids: int = 128
    disk: int = 64 << 20
    seconds: int = 300
    mounting: float = 10.0
    answer: float = 4.0


def grade_all(
    directory: Path,
    command: Sequence[str],
    out: Path,
    *,
    levels: Sequence[str] = LEVELS,
    build: str = "",
    bounds: Bounds | None = None,
    language: Language = Language.EN,
) -> Iterator[tuple[str, Report]]:
    """Grade every submission of a directory; write a report of each; yield name and report as they come.

    Parameters
    ----------
    directory
        Has one file or directory a submission.
    command
        The mount command; SUBMISSION in it is where the submission lies.
    out
        Where the reports go: NAME.json, NAME.txt, NAME.xml and NAME/ with pictures.
    levels, build, bounds
        As for `grade_one`.
    language
        Of the reports for people.

    Raises
    ------
    CourseError
        There is no submission.
    """
    names = sorted(entry.name for entry in os.scandir(directory) if not entry.name.startswith("."))
    if not names:
        raise CourseError(f"{directory}: there is no submission in it")
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        report, files = grade_one(directory / name, command, levels=levels, build=build, bounds=bounds or Bounds())
        (out / f"{name}.json").write_text(report.as_json())
        (out / f"{name}.txt").write_text(text(report, language) + "\n")
        for file, content in files.items():
            target = out / (f"{name}.xml" if file == "junit.xml" else f"{name}/{file}")
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        yield name, report


def grade_one(
    submission: Path,
    command: Sequence[str],
    *,
    levels: Sequence[str] = LEVELS,
    build: str = "",
    bounds: Bounds | None = None,
) -> tuple[Report, dict[str, bytes]]:
    """Grade one submission in a sandbox; return the report, and JUnit's file and pictures by name.

    Parameters
    ----------
    submission
        A file or a directory; it is copied, so nothing happens to it.
    command
        The mount command; SUBMISSION in it is where the copy lies.
    levels
        Which levels.
    build
        A shell command that is run in the copy first.
    bounds
        What it may use.

    Raises
    ------
    CourseError
        This machine can make no sandbox.
    """
    bounds = bounds or Bounds()
    with tempfile.TemporaryDirectory(prefix="layerlab-batch-") as place:
        root = Path(place)
        spec = _sandbox(root, submission.resolve(), command, levels, build, bounds)
        process = Process(spec)
        try:
            result = process.run(capture=True, timeout=bounds.seconds + 15)
        except TimeoutError:
            return _nothing(command, levels, f"it took more than {bounds.seconds} seconds; stopped"), {}
        except ContainerError as error:
            raise CourseError(f"no sandbox can be made here: {error}") from None
    try:
        answer = json.loads(result.stdout.decode().rpartition("\n{")[2].join(("{", "")))
        report = _report(answer["report"])
    except (ValueError, KeyError, TypeError):
        why = "it used more memory than it may; stopped" if process.out_of_memory else _why(result.code, result.stderr)
        return _nothing(command, levels, why), {}
    if process.out_of_memory and not report.stopped:
        report = Report(
            report.command, report.tests, report.levels, report.points, report.of, "it used more memory than it may"
        )
    return report, {name: base64.b64decode(content) for name, content in answer["files"].items()}


def _why(code: int, stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else f"the sandbox ended with status {code}"


def _sandbox(
    root: Path, submission: Path, command: Sequence[str], levels: Sequence[str], build: str, bounds: Bounds
) -> ProcessSpec:
    """Return the process that grades, in its world."""
    for name in ("proc", "sys", "dev", "etc", "usr", "tmp", "var", "layerlab-work", "layerlab-results"):
        (root / name).mkdir()
    root.chmod(0o755)
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(os.readlink(f"/{name}"))
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    seen = [Path("/usr"), *(p for p in map(Path, ("/bin", "/lib", "/lib64")) if p.is_dir() and not p.is_symlink())]
    wanted = {
        Path(sys.prefix).resolve(),
        Path(sys.base_prefix).resolve(),
        _ROOT,
        Path("/etc/ld.so.cache"),
        Path("/etc/alternatives"),
    }
    seen += sorted(path for path in wanted if path.exists() and not any(path.is_relative_to(s) for s in seen))
    mounts: list[Bind | Tmpfs] = [Bind(path, os.fspath(path), read_only=True) for path in seen]
    mounts.append(Bind(submission, f"{_PLACE}/{submission.name}", read_only=True))
    for target, size in (
        ("/layerlab-work", bounds.disk),
        ("/tmp", bounds.disk),
        ("/var/tmp", bounds.disk),
        ("/layerlab-results", 32 << 20),
    ):
        mounts.append(Tmpfs(target, size=size, mode=0o755, executable=target == "/layerlab-work"))
    request = {
        "submission": f"{_PLACE}/{submission.name}",
        "command": list(command),
        "levels": list(levels),
        "build": build,
        "seconds": bounds.seconds,
    }
    own = NumberMapping(0, os.geteuid(), 1), NumberMapping(0, os.getegid(), 1)
    return ProcessSpec(
        args=(sys.executable, "-P", "-m", "sim.course.own.inside", json.dumps(request)),
        rootfs=root,
        env=(
            f"PATH={os.path.dirname(sys.executable)}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME=/layerlab-results",
            "LC_ALL=C.UTF-8",
            "PYTHONDONTWRITEBYTECODE=1",
            f"{MOUNTING}={bounds.mounting}",
            f"{ANSWER}={bounds.answer}",
        ),
        cwd="/layerlab-work",
        hostname="sandbox",
        init=True,
        mounts=tuple(mounts),
        read_only=True,
        capabilities=capability_mask(add=("SYS_ADMIN", "SYS_PTRACE")),
        namespaces=Namespaces(user="new"),
        uid_map=(own[0],),
        gid_map=(own[1],),
        devices=("/dev/fuse",),
        limits=Limits(memory=bounds.memory, memory_swap=bounds.memory, pids=bounds.pids),
        cgroup=f"layerlab/grade-{os.getpid()}",
        rlimits=(Rlimit("core", 0, 0),),
    )


def _report(data: Mapping[str, object]) -> Report:
    raw = json.loads(json.dumps(data))
    return Report(
        raw["command"],
        tuple(Graded(**one) for one in raw["tests"]),
        {level: (points, of) for level, (points, of) in raw["levels"].items()},
        raw["points"],
        raw["of"],
        raw["stopped"],
    )


def _nothing(command: Sequence[str], levels: Sequence[str], why: str) -> Report:
    """Return the report of a submission of which nothing was learnt but why."""
    empty = {level: (0.0, POINTS[level]) for level in levels}
    return Report(" ".join(command), (), empty, 0.0, sum(POINTS[level] for level in levels), why)


def write_table(out: Path, reports: Mapping[str, Report]) -> Path:
    """Write the points of all submissions as a table; return the file."""
    file = out / "grades.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        levels = list(next(iter(reports.values())).levels) if reports else []
        writer.writerow(["submission", *levels, "points", "of", "stopped"])
        for name, report in reports.items():
            points = [report.levels[level][0] for level in levels]
            writer.writerow([name, *points, report.points, report.of, report.stopped])
    return file
