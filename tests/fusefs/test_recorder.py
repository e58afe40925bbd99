"""The recorder and the scribe: what reaches the journal, whoever is killed and whatever the disk says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fusefs import Effect, EffectKind, Journal, JournalError, JournalLayer, Kind, Level, Operation, Recorder
from tests.patience import until

LAYERS = [JournalLayer(0, "rw", "RW layer", Path("/up")), JournalLayer(1, "ro", "base", Path("/base"))]

OPERATIONS = [
    Operation(Kind.LOOKUP, "/etc/\udcff", 1, start=1, duration=2, pid=3),
    Operation(
        Kind.RENAME,
        "/a",
        0,
        (
            Effect(EffectKind.COPIED_UP, "/a", 1, 5),
            Effect(EffectKind.RENAMED, "/a", None, 0, "/b\udcfe"),
            Effect(EffectKind.WHITEOUT, "/a", 1),
        ),
        target="/b\udcfe",
        error=0,
    ),
    Operation(Kind.WRITE, "/b", 0, (Effect(EffectKind.WRITTEN, "/b", size=1 << 40),), 1 << 40, 1 << 62),
    Operation(Kind.UNLINK, "/absent", None, error=2),
]

#: A process with one thread that records and then does what the test says.
PROGRAM = """
import os, sys, time
from fusefs import Recorder, JournalLayer, Operation, Kind
from pathlib import Path
record = Recorder(sys.argv[1], [JournalLayer(1, "ro", "base", Path("/base"))], append=True, apart=True)

def children():
    return [int(each) for path in Path("/proc/self/task").glob("*/children") for each in path.read_text().split()]

for number in range(int(sys.argv[2])):
    record(Operation(Kind.LOOKUP, f"/{number}", 1))
{then}
"""


def program(journal: Path, count: int, then: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM.replace("{then}", then), os.fspath(journal), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


@pytest.mark.parametrize("raw", [False, True])
def test_what_is_recorded_is_what_is_read(tmp_path: Path, raw: bool) -> None:
    with Recorder(tmp_path / "j.db", LAYERS) as record:
        for operation in OPERATIONS:
            if raw:
                plain = tuple((each.kind.value, *each[1:]) for each in operation.effects)
                kind, path, layer, _, *rest, _ = operation
                record.take((kind.value, os.fsencode(path), layer, plain, *rest))  # type: ignore[arg-type]
            else:
                record(operation)
    with Journal(tmp_path / "j.db") as journal:
        assert list(journal.operations()) == [
            operation._replace(number=number) for number, operation in enumerate(OPERATIONS, 1)
        ]
        assert journal.closed


def test_the_scribe_writes_the_same(tmp_path: Path) -> None:
    ending = "record.close(); print('closed', flush=True)"
    process = program(tmp_path / "j.db", 5000, ending)
    assert process.communicate(timeout=30)[0] == "closed\n"
    with Journal(tmp_path / "j.db") as journal:
        assert [operation.path for operation in journal.operations()] == [f"/{number}" for number in range(5000)]
        assert journal.closed


def test_a_flush_returns_when_all_is_there(tmp_path: Path) -> None:
    process = program(tmp_path / "j.db", 300, "record.flush(); print('there', flush=True); sys.stdin.read()")
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    with Journal(tmp_path / "j.db") as journal:
        assert len(journal) == 300
        assert not journal.closed
    process.communicate(timeout=30)


def test_records_reach_the_disk_by_themselves(tmp_path: Path) -> None:
    process = program(tmp_path / "j.db", 10, "sys.stdin.read()")
    try:
        until(lambda: (tmp_path / "j.db").exists() and length(tmp_path / "j.db") == 10)
    finally:
        process.communicate(timeout=30)


def length(path: Path) -> int:
    try:
        with Journal(path) as journal:
            return len(journal)
    except JournalError:
        return -1


def test_what_was_passed_on_is_written_though_the_recording_process_is_killed(tmp_path: Path) -> None:
    then = """
while record._pending: time.sleep(0.01)
with record._write_lock: print("passed on", flush=True)
time.sleep(60)
"""
    process = program(tmp_path / "j.db", 4000, then)
    assert process.stdout is not None
    assert process.stdout.readline() == "passed on\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until(lambda: length(tmp_path / "j.db") == 4000)
    with Journal(tmp_path / "j.db") as journal:
        assert not journal.closed
    # It can be continued: what comes next has the next numbers.
    program(tmp_path / "j.db", 1, "record.close()").communicate(timeout=30)
    assert length(tmp_path / "j.db") == 4001


def test_a_killed_scribe_is_told_of_and_holds_nobody_up(tmp_path: Path) -> None:
    then = """
import signal, subprocess
from fusefs import JournalError
record.flush()
(scribe,) = children()
os.kill(scribe, signal.SIGKILL)
os.waitid(os.P_PID, scribe, os.WEXITED | os.WNOWAIT)
for number in range(50_000):
    record(Operation(Kind.LOOKUP, f"/{number}", 1))
try:
    record.flush()
except JournalError as error:
    print("told", flush=True)
record.close()
"""
    assert program(tmp_path / "j.db", 10, then).communicate(timeout=60)[0] == "told\n"
    with Journal(tmp_path / "j.db") as journal:
        numbers = [operation.number for operation in journal.operations()]
    assert numbers[-1] == 50_010  # another has gone on, and what is missing is seen
    assert 10 < len(numbers) < 50_010


def test_nobody_writes_where_nothing_comes_and_again_once_something_does(tmp_path: Path) -> None:
    then = """
record.flush()
first = children()
while children(): time.sleep(0.05)
record(Operation(Kind.LOOKUP, "/later", 1))
record.flush()
print(len(first), len(children()), children() != first, flush=True)
record.close()
print(children(), flush=True)
"""
    text = PROGRAM.replace("{then}", then).replace(
        "import os", "import fusefs.scribe; fusefs.scribe.Scribe.patience = 1.5\nimport os", 1
    )
    command = [sys.executable, "-c", text, str(tmp_path / "j.db"), "7"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "1 1 True\n[]\n"
    with Journal(tmp_path / "j.db") as journal:
        assert journal.closed
        assert [operation.number for operation in journal.operations()] == list(range(1, 9))


def test_the_scribe_holds_nothing_of_its_starter(tmp_path: Path) -> None:
    """A starter waits for the end of a pipe: whoever inherits it keeps it waiting."""
    (tmp_path / "held").write_text("")
    then = """
held = os.open(sys.argv[3], os.O_RDONLY)
record.close()
record = Recorder(sys.argv[1], [], append=True, apart=True)
record(Operation(Kind.LOOKUP, "/later", 1))
record.flush()
(scribe,) = children()
assert open(f"/proc/{scribe}/comm").read() == "layerlab-scribe\\n"
found = []
for fd in os.listdir(f"/proc/{scribe}/fd"):
    try: found.append(os.readlink(f"/proc/{scribe}/fd/{fd}"))
    except FileNotFoundError: pass  # it was just being closed
assert any("socket" in name for name in found), found
print(sorted(name for name in found if "held" in name or "pipe" in name), flush=True)
record.close()
"""
    command = [
        sys.executable,
        "-c",
        PROGRAM.replace("{then}", then),
        str(tmp_path / "j.db"),
        "1",
        str(tmp_path / "held"),
    ]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "[]\n"


def test_a_disk_that_is_full_is_told_of(tmp_path: Path) -> None:
    """The database may not grow beyond a limit, which SQLite answers like a full disk."""
    then = """
import resource, signal
from fusefs import JournalError
try:
    record.flush()
except JournalError as error:
    print("full" in str(error) or "I/O" in str(error), flush=True)
record.close()
"""
    limited = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    command = [sys.executable, "-c", limited + PROGRAM.replace("{then}", then), str(tmp_path / "j.db"), "20000"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout == "True\n"


def test_levels(tmp_path: Path) -> None:
    with Recorder(tmp_path / "j.db", LAYERS, level=Level.METADATA) as record:
        assert record.takes(Kind.OPEN)
        assert not record.takes(Kind.READ)
    with pytest.raises(JournalError, match="already"):
        Recorder(tmp_path / "j.db", LAYERS)
    (tmp_path / "other").write_text("no journal")
    with pytest.raises(JournalError):
        Recorder(tmp_path / "other", LAYERS, append=True)
    assert (tmp_path / "other").read_text() == "no journal"


@pytest.mark.parametrize("apart", [False, True])
def test_what_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path, apart: bool) -> None:
    (tmp_path / "j.db").write_text("mine")
    with pytest.raises(JournalError, match="journal"):
        Recorder(tmp_path / "j.db", LAYERS, append=True, apart=apart)
    assert (tmp_path / "j.db").read_text() == "mine"
    with pytest.raises(JournalError, match="already"):
        Recorder(tmp_path / "j.db", LAYERS, apart=apart)
    with pytest.raises(JournalError, match="cannot be made"):
        Recorder(tmp_path / "absent/j.db", LAYERS, apart=apart)
