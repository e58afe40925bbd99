"""The daemon: one engine and its API, from start to end.

Decided here and only here: the order of start and end, what each signal does, and how it is logged. For the main
thread.

    SIGTERM, SIGINT   end in order; the third one ends at once
    SIGHUP            read the settings again and take over what can be
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from sim.api.application import application
from sim.api.listeners import Listener, TlsFiles, listener_for
from sim.api.server import Server
from sim.engine import Engine, UnavailableError
from sim.engine.places import data_root, default_host
from sim.images.daemonjson import DaemonSettings, reload_settings
from sim.images.errors import SettingsError

__all__ = ["run_daemon"]

_log = logging.getLogger("layerlab.daemon")

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR,
           "fatal": logging.CRITICAL}  # fmt: skip
_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PATIENCE = 3  # as many signals end it at once


def run_daemon(read: Callable[[], DaemonSettings]) -> None:
    """Be the daemon until a signal ends it.

    Parameters
    ----------
    read
        Reads the settings; called again at SIGHUP.

    Raises
    ------
    SettingsError
        The settings cannot be used.
    UnavailableError
        Another daemon has the data root, or an address cannot be listened on.
    """
    settings = read()
    _set_up_logging(settings)
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(_Signals())
        _log.info("starting up, process %d", os.getpid())
        root = Path(settings.data_root) if settings.data_root else data_root()
        engine = stack.enter_context(Engine(root, settings))
        listeners = [stack.enter_context(_closing(each)) for each in _listeners(settings)]
        stack.enter_context(_pid_file(Path(settings.pidfile) if settings.pidfile else None))
        engine.start()
        if not (settings.tls or settings.tlsverify):
            engine.exposed = tuple(each.name.replace("tcp:", "http:") for each in listeners if each.path is None)
        server = Server(application(engine))
        stack.callback(server.close)
        stack.callback(engine.shut_down)
        for each in listeners:
            server.listen(each)
            _log.info("API listen on %s", each.name)
        gc.collect()
        gc.freeze()
        _log.info("daemon has completed initialization: %s", root)
        _wait(signals, engine, read)
        _log.info("processing signal: shutting down")


class _Signals:
    """The signals that came, to be waited for. They come through a pipe, so that none is missed between two waits."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(self._reading, True)
        self._ends = 0

    def __enter__(self) -> _Signals:
        """Take over the signals."""
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._handle) for number in _HANDLED}
        self._before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self._ends += 1
            if self._ends >= _PATIENCE:
                os._exit(128 + number)

    def get(self) -> int:
        """Wait for a signal; return its number."""
        while True:
            number = os.read(self._reading, 1)[0]
            if number in _HANDLED:
                return number

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._reading)
        os.close(self._writing)


def _wait(signals: _Signals, engine: Engine, read: Callable[[], DaemonSettings]) -> None:
    """Wait for the signal that ends the daemon."""
    while signals.get() == signal.SIGHUP:
        try:
            taken, left = reload_settings(engine.settings, read())
        except SettingsError as error:
            _log.error("the settings stay as they are: %s", error)
            continue
        engine.settings = taken
        _set_level(taken)
        _log.info("got signal to reload configuration, reloaded")
        if left:
            _log.warning("these settings need a restart of the daemon: %s", ", ".join(left))
        engine.tell_reload()


def _tls(settings: DaemonSettings) -> TlsFiles | None:
    """Return the files for TLS; where they are not named they are looked for as the docker command does."""
    if not (settings.tls or settings.tlsverify):
        return None
    own = Path(os.environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker"))
    clients = Path(settings.tlscacert) if settings.tlscacert else own / "ca.pem" if settings.tlsverify else None
    return TlsFiles(Path(settings.tlscert or own / "cert.pem"), Path(settings.tlskey or own / "key.pem"), clients)


def _listeners(settings: DaemonSettings) -> Iterator[Listener]:
    tls = _tls(settings)
    for address in settings.hosts or (default_host(),):
        listener = listener_for(address, tls=tls, group=settings.group)
        if address.startswith("tcp:"):
            _warn(listener, tls)
        yield listener


def _warn(listener: Listener, tls: TlsFiles | None) -> None:
    if tls is None:
        _log.warning(
            "[!] DON'T BIND ON ANY IP ADDRESS WITHOUT setting --tlsverify IF YOU DON'T KNOW WHAT YOU'RE DOING [!]"
        )
        _log.warning("whoever reaches %s is root on this machine: nobody is asked who they are", listener.name)
    elif tls.clients is None:
        _log.warning("%s asks no client for a certificate: whoever reaches it is root; use --tlsverify", listener.name)


@contextlib.contextmanager
def _closing(listener: Listener) -> Iterator[Listener]:
    try:
        yield listener
    finally:
        listener.close()


@contextlib.contextmanager
def _pid_file(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    with contextlib.suppress(OSError, ValueError):
        owner = int(path.read_text())
        if owner != os.getpid() and os.path.exists(f"/proc/{owner}"):
            raise UnavailableError(f"{path}: process {owner} is running; stop it, or name another file with --pidfile")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


class _Formatter(logging.Formatter):
    """One line a message, in the words that Docker's daemon has: time, level, msg."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows in lines of its own."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        level = record.levelname.lower()
        text = record.getMessage().replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        line = f'time="{when}.{int(record.msecs):03d}Z" level={level} msg="{text}"'
        return line if not record.exc_info else f"{line}\n{self.formatException(record.exc_info)}"


def _set_up_logging(settings: DaemonSettings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.getLogger().handlers[:] = [handler]
    _set_level(settings)


def _set_level(settings: DaemonSettings) -> None:
    level = logging.DEBUG if settings.debug else _LEVELS[settings.log_level or "info"]
    logging.getLogger("layerlab").setLevel(level)
