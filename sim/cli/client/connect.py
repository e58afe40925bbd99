"""The first word with an engine, and the start of the embedded daemon where none answers.

Decided here and only here: when a daemon is started, and how long it is waited for. One thread.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from sim.cli.client.engine import Engine
from sim.cli.client.errors import CannotConnectError
from sim.cli.client.hosts import Host, choose
from sim.cli.failure import Failure
from sim.engine.places import data_root, run_directory

__all__ = ["connect", "start"]

_SECONDS = 60


def connect(settings: Mapping[str, Any]) -> Engine:
    """Return the engine that a command is for; the embedded one is started where it does not answer.

    Raises
    ------
    Failure
        No engine answers.
    """
    host = choose(settings)
    engine = Engine(host)
    if host.named:
        return engine
    try:
        engine.ping()
    except CannotConnectError as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        start(host)
        engine.ping()
    return engine


def start(host: Host) -> None:
    """Start the embedded daemon, apart from this process, and wait until it answers.

    Raises
    ------
    Failure
        It does not come up; says why.
    """
    import fcntl

    try:
        run_directory().mkdir(parents=True, exist_ok=True, mode=0o711)
        data_root().mkdir(parents=True, exist_ok=True, mode=0o711)
        lock = os.open(run_directory() / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failure(f"layerlab: the daemon cannot be started: {error.filename}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two commands at once one starts it, the other waits
        if _answers(host):
            return
        _start(host)
    finally:
        os.close(lock)


def _start(host: Host) -> None:
    import subprocess

    log = data_root() / "daemon.log"
    with open(log, "ab") as file, open(os.devnull, "rb") as nothing:
        begin = file.tell()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sim.cli", "daemon"],
            stdin=nothing,
            stdout=file,
            stderr=file,
            start_new_session=True,
            cwd="/",
        )
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if _answers(host):
            print(f"layerlab: started the daemon, process {process.pid}, on {host.url}", file=sys.stderr, flush=True)
            return
        if process.poll() is not None:
            raise Failure(f"layerlab: the daemon did not start: {_last_line(log, begin)} All of it: {log}")
        time.sleep(0.02)
    raise Failure(f"layerlab: the daemon does not answer after {_SECONDS} seconds; see {log}")


def _answers(host: Host) -> bool:
    engine = Engine(host)
    try:
        engine.ping()
    except (Failure, OSError):
        return False
    finally:
        engine.close()
    return True


def _last_line(log: os.PathLike[str], begin: int) -> str:
    with open(log, "rb") as file:
        file.seek(begin)
        lines = file.read().decode("utf-8", "replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return f"{said[-1].rstrip('.')}." if said else "it said nothing."
