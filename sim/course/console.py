"""Commands in a lesson, run for real, and their output compared with what the text shows.

Decided here and only here: how a block ```console is read, in what a command runs, and which differences between two
runs mean nothing (numbers of processes, times, digests, who one is). A line `...` in the text stands for any lines.

    $ cat merged/etc/motd          a command; `> ` continues it on the next line
    welcome                        what it prints, on both streams

One thread.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.course.errors import CourseError

__all__ = ["HOME", "Command", "Session", "commands_in", "normal", "same", "shown"]

#: What stands in a lesson for the directory that its commands ran in.
HOME = "/home/student"

_TIMEOUT = 60  # seconds, for all commands of a lesson
_MARK = "\x01layerlab-lesson\x01"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a lesson.

    Attributes
    ----------
    text
        What is typed; several lines where it is continued.
    output
        The lines that it prints.
    line
        Number of its line in the lesson.
    """

    text: str
    output: tuple[str, ...]
    line: int = 0


def commands_in(code: str, first: int = 1) -> list[Command]:
    """Read the commands of a block ```console.

    >>> [(one.text, one.output) for one in commands_in("$ echo a \\\\\\n>   b\\na b\\n$ true")]
    [('echo a \\\\\\n  b', ('a b',)), ('true', ())]
    """
    found: list[Command] = []
    typing = False
    for number, line in enumerate(code.splitlines(), first):
        if line.startswith("$ "):
            found.append(Command(line[2:], (), number))
            typing = True
        elif not found:
            raise CourseError(f"line {number}: a block ```console begins with a command, `$ ...`")
        elif typing and (line.startswith("> ") or line == ">"):
            found[-1] = Command(f"{found[-1].text}\n{line[2:]}", (), found[-1].line)
        else:
            typing = False
            found[-1] = Command(found[-1].text, (*found[-1].output, line), found[-1].line)
    return found


class Session:
    """One shell in a directory of its own, in which a lesson's commands run one after the other.

    Parameters
    ----------
    place
        An empty directory, or one in which an earlier session was.
    environment
        More variables for the commands.
    """

    def __init__(self, place: Path, environment: Mapping[str, str] | None = None) -> None:
        self.place = place.resolve()
        (self.place / "home").mkdir(parents=True, exist_ok=True)
        programs = self.place / "bin"
        programs.mkdir(exist_ok=True)
        command = programs / "layerlab"
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m sim.cli "$@"\n')
        command.chmod(0o755)
        self.home = self.place / "home"
        self.environment = {
            **os.environ,
            "HOME": str(self.home),
            "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "COLUMNS": "100",
            "LAYERLAB_COMMAND": "layerlab",
            "LAYERLAB_LANG": "en",
            "XDG_STATE_HOME": str(self.place / "state"),
            **(environment or {}),
        }

    def run(self, commands: Sequence[str], *, cwd: Path | None = None) -> list[tuple[list[str], int]]:
        """Run commands in one shell; return each one's lines and exit status.

        Raises
        ------
        CourseError
            They took too long, or one of them ended the shell.
        """
        script = ["exec 2>&1 </dev/null", "umask 022"]
        for command in commands:
            script += [command, f"printf '%s%s\\n' '{_MARK}' \"$?\""]
        file = self.place / "commands.sh"
        file.write_text("\n".join(script) + "\n")
        try:
            done = subprocess.run(
                ["bash", "--norc", "--noprofile", str(file)],
                cwd=cwd or self.home,
                env=self.environment,
                stdout=subprocess.PIPE,
                timeout=_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            seen = (error.stdout or b"").decode(errors="replace")
            raise CourseError(f"the commands took more than {_TIMEOUT} seconds; until then: {seen[-500:]}") from None
        text = done.stdout.decode(errors="replace").replace(str(self.home), HOME)
        found = []
        pieces = re.split(rf"{_MARK}(\d+)\n", text)
        for output, status in zip(pieces[:-1:2], pieces[1::2], strict=True):
            found.append((output.splitlines(), int(status)))
        if len(found) != len(commands):
            at = commands[len(found)] if len(found) < len(commands) else ""
            raise CourseError(f"the shell ended at {at!r}: {pieces[-1][-500:]}")
        return found


_RULES = (
    # A line of `layerlab journal`: its number and time depend on what the kernel asks.
    (re.compile(r"^ *\d+ +\d+\.\d{4}  (?=[a-z])"), "      #    #.####  "),
    # A line of `ls -l`: links and size of a directory, owner, time.
    (re.compile(r"^(d[rwxsStT-]{9}[.+]?) +\d+ +\S+ +\S+ +\d+ "), r"\1 # student student # "),
    # Whiteouts of one stack are one device with many names.
    (re.compile(r"^(c[rwxsStT-]{9}[.+]?) +\d+ +\S+ +\S+ +"), r"\1 # student student "),
    (re.compile(r"^([-lbps][rwxsStT-]{9}[.+]?) +(\d+) +\S+ +\S+ +"), r"\1 \2 student student "),
    (re.compile(r"\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d +(\d\d:\d\d|\d{4})\b"), "DATE"),
    (re.compile(r"^total \d+$"), "total #"),
    (re.compile(r"\bprocess \d+"), "process #"),
    (re.compile(r"\bmounted by (devfuse|fuse-python)\b"), "mounted by DRIVER"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b"), "DIGEST"),
    (re.compile(r"\b\d+(\.\d+)? ?(ns|µs|ms|s|seconds?|minutes?|hours?)\b( ago)?"), "TIME"),
    (re.compile(r"\b(Less than a second|About an? (minute|hour))( ago)?"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?[+-]\d{4}| ?Z)?( UTC)?"), "DATE"),
    # How large the machine's busybox is.
    (re.compile(r"\b\d+(\.\d+)? ?Mi?B\b"), "SIZE"),
    (re.compile(r" +"), " "),
)


def normal(line: str) -> str:
    """Return a line of output without what differs from run to run and machine to machine.

    >>> normal("/home/student/merged: mounted by devfuse, process 4711")
    '/home/student/merged: mounted by DRIVER, process #'
    >>> normal("     12    0.0031  unlink   0    /etc/motd")
    ' # #.#### unlink 0 /etc/motd'
    """
    line = line.replace(f" {getpass.getuser()}", " student") if line.startswith("uid=") else line
    for pattern, replacement in _RULES:
        line = pattern.sub(replacement, line)
    return line.rstrip()


_OWNER = re.compile(r"^([-dlcbps][rwxsStT-]{9}[.+]? +\d+) +\S+ +\S+ +")


def shown(line: str) -> str:
    """Return a line of output as a lesson shows it: of a user called student.

    >>> shown("-rw-r--r-- 1 root root 13 Nov 27 23:41 config")
    '-rw-r--r-- 1 student student 13 Nov 27 23:41 config'
    """
    return _OWNER.sub(r"\1 student student ", line).rstrip()


def same(text: Sequence[str], printed: Sequence[str]) -> bool:
    """Tell whether what a lesson shows is what was printed, up to what means nothing.

    >>> same(["first", "...", "last"], ["first", "1", "2", "last"]), same(["a"], ["a", "b"])
    (True, False)

    Blank lines at the end say nothing, and a text's block does not keep them.
    """
    wanted, seen = ([normal(line) for line in lines] for lines in (text, printed))
    for lines in (wanted, seen):
        while lines and not lines[-1]:
            lines.pop()
    if "..." not in wanted:
        return wanted == seen
    groups: list[list[str]] = [[]]
    for line in wanted:
        if line == "...":
            groups.append([])
        else:
            groups[-1].append(line)
    first, last = groups[0], groups[-1]
    if len(seen) < sum(map(len, groups)) or seen[: len(first)] != first or (last and seen[-len(last) :] != last):
        return False
    at, end = len(first), len(seen) - len(last)
    for group in groups[1:-1]:
        while at + len(group) <= end and seen[at : at + len(group)] != group:
            at += 1
        if at + len(group) > end:
            return False
        at += len(group)
    return True
