"""The grader: any mount command, a report that says what is wrong, and submissions that misbehave."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from sim.course.errors import CourseError
from sim.course.own.batch import Bounds, grade_all, grade_one
from sim.course.own.grader import grade, text
from sim.course.own.levels import solution
from sim.course.place import mounts_below
from sim.course.texts import Language

pytestmark = pytest.mark.usefixtures("fuse")

GOOD = solution("opaque")
BOUNDS = Bounds(memory=256 << 20, disk=16 << 20, pids=60, seconds=60, answer=1.0)


def layerlab(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "sim.cli", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_any_mount_command_is_graded(tool: Callable[[str], str], tmp_path: Path) -> None:
    overlay = tool("fuse-overlayfs")
    report = grade([overlay, "-o", "lowerdir=LOWER,upperdir=UPPER,workdir=WORK", "MNT"], levels=["lookup", "opaque"])
    assert report.points == report.of == 30
    ours = [sys.executable, "-P", "-m", "sim.cli", "mount", "-o", "lowerdir=LOWER,upperdir=UPPER,workdir=WORK", "MNT"]
    assert grade(ours, levels=["rename"]).points == 15


def test_what_another_union_does_otherwise_is_found(tool: Callable[[str], str], tmp_path: Path) -> None:
    """unionfs-fuse merges through a file in the middle."""
    tool("unionfs")
    wrapper = tmp_path / "wrapper.sh"
    wrapper.write_text('#!/bin/sh\nexec unionfs -o cow "$2=RW:$(echo "$1" | sed s/:/=RO:/g)=RO" "$4"\n')
    wrapper.chmod(0o755)
    done = layerlab(
        *("grade", "--level", "readdir", "--json", "report.json", "--junit", "junit.xml", "--figures", "figures"),
        *("--", str(wrapper)),
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    assert "ls /e: ['a', 'z']; the reference: ['a']" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    (failed,) = (one for one in report["tests"] if not one["passed"])
    assert failed["name"] == "test_a_file_in_the_middle_ends_the_merging"
    assert report["points"] == 12.5
    assert (tmp_path / "figures" / failed["figure"]).stat().st_size > 5000
    (suite,) = xml.etree.ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("6", "1")


def test_a_program_beside_python_is_found_where_one_stands(tmp_path: Path) -> None:
    (tmp_path / "union.py").write_text(GOOD)
    (tmp_path / "errno.py").write_text("raise SystemExit('this is not the library')")
    done = layerlab("grade", "--level", "opaque", "--json", "-", "--", sys.executable, "-P", "union.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["points"] == 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/nowhere/union"], "cannot be run"),
        (["false"], "status 1 and mounted nothing"),
        (["true"], "ended and mounted nothing"),
        ([sys.executable, "-c", "raise SystemExit('no luck today')"], "no luck today"),
    ],
)
def test_a_command_that_mounts_nothing_is_told(words: list[str], said: str) -> None:
    report = grade(words, levels=["lookup"])
    assert report.points == 0
    assert said in report.tests[0].said
    assert "too often" in report.stopped
    assert "分" in text(report, Language.ZH)


def test_bad_input_gets_a_line(tmp_path: Path) -> None:
    for arguments, status in ((["grade"], 2), (["grade", "--level", "flying", "--", "true"], 1)):
        done = layerlab(*arguments, cwd=tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) == (status, 1)
    with pytest.raises(CourseError, match="no submission"):
        list(grade_all(tmp_path, ["true"], tmp_path / "out"))
    assert layerlab("grade", "--solution", "opaque", cwd=tmp_path).stdout == GOOD


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


NAMES = "    def names(self, path: str) -> list[str]:\n"

#: name -> program, level that it is graded on, what its report says.
MISBEHAVING = {
    "loops": (
        changed(
            "    def readlink(self,",
            "    def getattr(self, path):\n        while True: pass\n\n    def readlink(self,",
        ),
        "opaque",
        "no answer in 1 seconds",
    ),
    "forks": ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n", "opaque", "it forks"),
    "fills the disk": (
        changed(
            NAMES,
            f"{NAMES}        with open(self.work + '/fill', 'ab') as f:\n"
            "            while True: f.write(b'x' * 65536)\n",
        ),
        "readdir",
        "it has filled the disk",
    ),
    "writes outside": (
        changed(NAMES, f"{NAMES}        open('/tmp/notes', 'a').close()\n"),
        "readdir",
        "outside of UPPER and WORK: /tmp/notes",
    ),
    "writes in lower": (
        changed(
            "        if real == target:\n            os.unlink(target)\n        self.hide(path)",
            "        os.unlink(real)",
        ),
        "whiteout",
        "changed a read-only layer",
    ),
    "reaches out": (
        "import ctypes, os, socket\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "for place in (b'/usr', b'/'):\n"
        "    libc.mount(None, place, None, 32 | 4096, None)\n"
        "said = []\n"
        "for place in ('/usr/notes', '/notes', '/etc/notes'):\n"
        "    try: os.close(os.open(place, os.O_CREAT)); said.append(place)\n"
        "    except OSError: pass\n"
        "try: socket.create_connection(('127.0.0.1', 22), 1); said.append('network')\n"
        "except OSError: pass\n"
        "raise SystemExit(f'reached: {said}')\n",
        "opaque",
        "reached: []",
    ),
}


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("what", MISBEHAVING)
def test_a_submission_that_misbehaves_is_stopped_and_graded(what: str, tmp_path: Path) -> None:
    program, level, said = MISBEHAVING[what]
    submission = tmp_path / "union.py"
    submission.write_text(program)
    report, _ = grade_one(submission, [sys.executable, "SUBMISSION"], levels=[level], bounds=BOUNDS)
    assert report.points < report.of
    assert said in " ".join(test.said for test in report.tests), report
    assert mounts_below(tmp_path) == []
    assert not os.path.exists("/usr/notes")
    assert submission.read_text() == program


@pytest.mark.usefixtures("root")
def test_memory_is_limited(tmp_path: Path) -> None:
    submission = tmp_path / "union.py"
    submission.write_text("x = []\nwhile True: x.append(bytearray(1 << 24))\n")
    report, _ = grade_one(submission, [sys.executable, "SUBMISSION"], levels=["opaque"], bounds=BOUNDS)
    assert report.points == 0
    assert "killed by signal 9" in report.tests[0].said or "memory" in report.stopped


@pytest.mark.usefixtures("root")
def test_a_batch_gives_reports_and_a_table(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("cc")
    submissions = tmp_path / "submissions"
    (submissions / "anna").mkdir(parents=True)
    # An assignment in C, which is built first: it hands on to another program, since it is the building that is tried.
    (submissions / "anna/union.c").write_text(
        f'#include <unistd.h>\nint main(int n, char **a) {{ return execl("{sys.executable}", "python", "helper.py", '
        "a[1], a[2], a[3], a[4], (char *)0); }\n"
    )
    (submissions / "anna/helper.py").write_text(GOOD)
    (submissions / "ben").mkdir()
    (submissions / "ben/union.c").write_text("int main( { }\n")
    command = ["sh", "-c", "cd SUBMISSION && exec ./union LOWER UPPER WORK MNT"]
    out = tmp_path / "out"
    words = ["grade", "--batch", str(submissions), "--out", str(out), "--build", "cc -o union union.c"]
    done = layerlab(*[*words, "--level", "opaque", "--", *command], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (out / "grades.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["submission"], row["points"]) for row in rows] == [("anna", "10.0"), ("ben", "0.0")]
    assert "it cannot be built" in rows[1]["stopped"]
    assert json.loads((out / "anna.json").read_text())["points"] == 10
    assert (out / "anna.xml").exists()
    assert sorted(os.listdir(submissions / "anna")) == ["helper.py", "union.c"]
