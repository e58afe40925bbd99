"""Submissions that go for their judge: each gets what its file system is worth, in the judge's own words."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sim.course.own import levels, plugin
from sim.course.own.batch import Bounds, grade_one

pytestmark = pytest.mark.usefixtures("fuse", "root")

BOUNDS = Bounds(memory=256 << 20, disk=16 << 20, pids=60, seconds=60, answer=2.0)
LEVEL = "opaque"
FAKE = {
    "report": {"command": "x", "tests": [], "levels": {LEVEL: [10, 10]}, "points": 10, "of": 10, "stopped": ""},
    "files": {},
}
HEAD = "import ctypes, glob, json, os, signal, sys, time\nlibc = ctypes.CDLL(None, use_errno=True)\n"
#: The numbers of all processes that are seen, but its own.
OTHERS = "others = [int(n) for n in os.listdir('/proc') if n.isdecimal() and n != os.readlink('/proc/self')]\n"

#: What a program does to its judge; each then ends, having mounted nothing.
ATTACKS = {
    "says a report of its own where the judge says it, and kills the judge": f"""
for n in others:
    try: open(f'/proc/{{n}}/fd/1', 'w').write({chr(10) + json.dumps(FAKE)!r})
    except OSError: pass
for n in others + [-1]:
    try: os.kill(n, signal.SIGKILL)
    except OSError: pass
""",
    "writes the results": """
good = {'level': 'opaque', 'passed': True, 'seconds': 0, 'said': '', 'stopped': False, 'figure': ''}
good = [{**good, 'name': f'test_{n}'} for n in range(20)]
if os.fork() == 0:
    os.setsid()
    os.environ.clear()
    os.execve(sys.executable, [sys.executable, '-c', '''
import glob, os, sys, time
while True:
    time.sleep(0.05)  # there is one more of these for each test
    for top in ("", "/proc/[0-9]*/root"):
        for name in glob.glob(top + "/layerlab-results/*/results.json"):
            try: open(name, "w").write(sys.argv[1])
            except OSError: pass
''', json.dumps(good)], {})
""",
    "lays modules of its own over the judge's": f"""
place = os.path.join(os.environ['HOME'], 'figures')
os.mkdir(place)
open(place + '/__init__.py', 'w').write('''
from sim.course.own import plugin
for one in plugin._results: one.update(passed=True, said="")
plugin._write()
import os; os._exit(0)
''')
libc.mount(place.encode(), {str(Path(plugin.__file__).parents[2] / "figures")!r}.encode(), None, 4096, None)
""",
    "reads and writes the judge's memory": """
reached = []
for n in others:
    for what in ('mem', 'environ', 'fd/1', 'root/etc', 'cwd'):
        if what == 'mem':
            try: os.close(os.open(f'/proc/{n}/mem', os.O_RDWR)); reached.append(what)
            except OSError: pass
        elif os.access(f'/proc/{n}/{what}', os.R_OK):
            try: os.stat(f'/proc/{n}/{what}'); reached.append(what)
            except OSError: pass
    if libc.ptrace(16, n, None, None) == 0: reached.append('ptrace')
raise SystemExit(f'reached: {sorted(set(reached) - {"environ"})}')
""",
    "uncovers what is hidden": """
for place in (b'/layerlab-results', b'/usr', b'/proc', b'/tmp'):
    for _ in range(5): libc.umount2(place, 2)
libc.mount(None, b'/layerlab-results', None, 32 | 4096, None)
seen = os.listdir('/layerlab-results') + glob.glob(sys.argv[-3] + '/../../ours')
for place in ('/usr/notes', '/layerlab-results/notes'):
    try: os.close(os.open(place, os.O_CREAT | os.O_WRONLY)); seen.append(place)
    except OSError: pass
raise SystemExit(f'reached: {seen}')
""",
}


@pytest.mark.parametrize("what", ATTACKS)
def test_a_submission_that_goes_for_its_judge_gets_nothing(what: str, tmp_path: Path) -> None:
    submission = tmp_path / "union.py"
    submission.write_text(HEAD + OTHERS + ATTACKS[what])
    command = [sys.executable, "SUBMISSION", "LOWER", "UPPER", "WORK", "MNT"]
    report, _ = grade_one(submission, command, levels=[LEVEL], bounds=replace(BOUNDS, mounting=2.5))
    assert report.points == 0
    assert report.tests, report.stopped  # the judge lived, and says what it found
    assert not any(test.passed for test in report.tests)
    assert {test.name for test in report.tests} <= set(_names())
    if "reached" in ATTACKS[what]:
        assert all("reached: []" in test.said for test in report.tests), report.tests[0].said


def _names() -> list[str]:
    suite = Path(levels.__file__).parent / "suite"
    return [
        line.partition("(")[0].removeprefix("def ")
        for file in suite.glob("graded_*.py")
        for line in file.read_text().splitlines()
        if line.startswith("def test")
    ]


def test_building_is_behind_the_wall_too_and_leaves_nothing(tmp_path: Path) -> None:
    submission = tmp_path / "work"
    submission.mkdir()
    (submission / "union.py").write_text(levels.solution(LEVEL))
    build = (
        "sleep 977 & ls -A /layerlab-results | wc -l >seen; kill -9 -1; "
        "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = $$ ] || kill -9 $p; done 2>/dev/null; true"
    )
    program = submission / "start.py"
    program.write_text(
        "import os, sys\nhome = os.path.dirname(__file__)\n"
        "if open(home + '/seen').read().strip() != '0': raise SystemExit('seen')\n"
        "os.execv(sys.executable, [sys.executable, home + '/union.py', *sys.argv[1:]])\n"
    )
    report, _ = grade_one(
        submission,
        [sys.executable, "SUBMISSION/start.py"],
        levels=[LEVEL],
        build=f"trap '' TERM; {build}",
        bounds=BOUNDS,
    )
    assert (report.points, report.stopped) == (10, ""), report
    left = subprocess.run(["pgrep", "-f", "sleep 977"], capture_output=True, text=True, check=False)
    assert left.stdout == ""
