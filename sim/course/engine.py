"""A lesson's own engine: started when it is needed, asked over its socket, stopped with the lesson.

Decided here and only here: where a lesson's engine keeps its things (`data` in the lesson's directory), on which socket
it listens (below the directory for temporary files, since the path of a socket is short), and how it is found again and
stopped: by the number of its process, which has to be that of a daemon on this directory. One thread.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sim.course.errors import CourseError

__all__ = ["Engine", "running", "start", "stop"]

_FILE = ".engine.json"
_SECONDS = 30.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """An engine that answers.

    Attributes
    ----------
    socket
        The path of its socket.
    pid
        Of its process.
    """

    def __init__(self, path: str, pid: int) -> None:
        self.socket = path
        self.pid = pid

    @property
    def host(self) -> str:
        """What the commands call it."""
        return f"unix://{self.socket}"

    def get(self, path: str) -> Any:
        """Ask for something; None where there is none.

        Raises
        ------
        CourseError
            It does not answer, or otherwise than it should.
        """
        status, body = self._ask("GET", path)
        if status == 404:
            return None
        if status >= 400:
            raise CourseError(f"the lesson's engine says: {body.decode(errors='replace')[:200]}")
        return json.loads(body) if body else None

    def raw(self, path: str) -> bytes:
        """Ask for bytes, such as an archive of an image; nothing where there is none."""
        status, body = self._ask("GET", path)
        return body if status < 400 else b""

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        connection = _Connection(self.socket)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CourseError(f"the lesson's engine does not answer: {error}") from None
        finally:
            connection.close()

    def image(self, name: str) -> Any:
        """Return what the engine knows of an image; None if it has none of this name."""
        return self.get(f"/images/{quote(name, safe=':/')}/json")

    def container(self, name: str) -> Any:
        """Return what the engine knows of a container; None if it has none of this name."""
        return self.get(f"/containers/{quote(name)}/json")


def running(home: Path) -> Engine | None:
    """Return a lesson's engine, if it runs."""
    try:
        said = json.loads((home / _FILE).read_text())
        engine = Engine(str(said["socket"]), int(said["pid"]))
        command = Path(f"/proc/{engine.pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if os.fsencode((home / "data").resolve()) not in command:
        return None
    with contextlib.suppress(CourseError):
        if engine.raw("/_ping"):
            return engine
    return None


def start(home: Path) -> Engine:
    """Return a lesson's engine; start it if it does not run.

    Raises
    ------
    CourseError
        It does not come up; the text says what it wrote.
    """
    found = running(home)
    if found is not None:
        return found
    stop(home)
    place = tempfile.mkdtemp(prefix="layerlab-lesson-")
    path = os.path.join(place, "s")
    with (home / "engine.log").open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "sim.cli",
                "daemon",
                "--data-root",
                str((home / "data").resolve()),
                "--host",
                f"unix://{path}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    (home / _FILE).write_text(json.dumps({"socket": path, "pid": process.pid}))
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and process.poll() is None:
        found = running(home)
        if found is not None:
            return found
        time.sleep(0.05)
    lines = (home / "engine.log").read_text(errors="replace").strip().splitlines()
    stop(home)
    raise CourseError(f"the lesson's engine does not start: {lines[-1][:300] if lines else 'it says nothing'}")


def stop(home: Path) -> None:
    """Stop a lesson's engine with its containers, and remove its socket."""
    try:
        said = json.loads((home / _FILE).read_text())
        path, pid = str(said["socket"]), int(said["pid"])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, KeyError, TypeError):
        path, pid, command = "", 0, []
    if pid and os.fsencode((home / "data").resolve()) in command:
        with contextlib.suppress(CourseError):
            engine = Engine(path, pid)
            for container in engine.get("/containers/json") or ():
                engine._ask("POST", f"/containers/{container['Id']}/kill")
        _end(pid)
    if os.path.basename(os.path.dirname(path)).startswith("layerlab-lesson-"):
        shutil.rmtree(os.path.dirname(path), ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        (home / _FILE).unlink()


def _end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.02)
