"""The HTTP server: connections, their threads, and the protocol on them.

Decided here and only here: how a connection is read and answered (HTTP/1.1 by h11; kept alive; bodies streamed both
ways), how one is handed over to attach and exec, how it is noticed that a client went away while it waits, and what a
broken request gets. Each connection has a thread; one more thread watches those whose clients wait.

Trap: `wait` must be answered with its head long before its body, or the docker command never starts the container.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote

import h11

from sim.api.errors import answer_to
from sim.api.exchange import (
    LATEST,
    OLDEST,
    TAKEN_FOR_OLDEST,
    ClientGoneError,
    Handler,
    Plain,
    Request,
    Streamed,
    Upgraded,
)
from sim.api.listeners import Listener
from sim.api.router import Router, split_version
from sim.engine.errors import BadParameterError, NotFoundError

__all__ = ["Server"]

_PIECE = 256 << 10
_LARGEST_HEAD = 128 << 10
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}

_log = logging.getLogger("layerlab.api")


class Server:
    """Serves a router on any number of sockets.

    Parameters
    ----------
    router
        The routes.
    name
        For the Server header.
    headers
        Sent with every answer.

    Examples
    --------
    ::

        server = Server(router)
        server.listen(unix_listener(path))
        ...
        server.close()          # waits for the answers under way, at most a few seconds
    """

    def __init__(self, router: Router, name: str = "layerlab", headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.router = router
        self.headers = [
            (b"Server", name.encode()),
            (b"Api-Version", ".".join(map(str, LATEST)).encode()),
            (b"Ostype", b"linux"),
            (b"Docker-Experimental", b"false"),
            *((key.encode(), value.encode()) for key, value in headers),
        ]
        self.watcher = _Watcher()
        self._lock = threading.Lock()
        self._listening: list[tuple[Listener, threading.Thread]] = []
        self._connections: dict[_Connection, threading.Thread] = {}
        self._closing = False

    def listen(self, listener: Listener) -> None:
        """Serve a socket from now on."""
        thread = threading.Thread(target=self._accept, args=(listener,), name=f"accept {listener.name}", daemon=True)
        self._listening.append((listener, thread))
        thread.start()

    def _accept(self, listener: Listener) -> None:
        while True:
            try:
                accepted, _ = listener.socket.accept()
            except OSError as error:
                if self._closing or listener.socket.fileno() < 0:
                    return
                # Out of descriptors, or a client that was gone before it was accepted: others must still be served.
                _log.warning("cannot accept a connection on %s: %s", listener.name, error)
                threading.Event().wait(0.05)
                continue
            connection = _Connection(self, accepted, listener)
            thread = threading.Thread(target=self._serve, args=(connection,), name="connection", daemon=True)
            with self._lock:
                if self._closing:
                    accepted.close()
                    return
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: _Connection) -> None:
        try:
            connection.run()
        except (OSError, ClientGoneError) as error:
            _log.debug("a connection ended: %s", error)
        except Exception:
            _log.exception("a connection failed for a defect of the program")
        finally:
            connection.close()
            with self._lock:
                self._connections.pop(connection, None)

    def close(self, timeout: float = 5.0) -> None:
        """Accept nothing more, let the answers under way come to their end, then cut off what is left."""
        with self._lock:
            self._closing = True
        for listener, _ in self._listening:
            listener.close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections:
            connection.finish()
        deadline = time.monotonic() + timeout
        for connection, thread in connections.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                connection.cut()
        self.watcher.close()


class _Connection:
    """One client's connection; all but `finish` and `cut` belongs to its thread."""

    def __init__(self, server: Server, accepted: socket.socket, listener: Listener) -> None:
        self._server, self._socket, self._listener = server, accepted, listener
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD)
        self._idle = True
        self._last = False

    def run(self) -> None:
        """Serve requests until either side ends."""
        if self._listener.tls is not None:
            self._socket.settimeout(10)  # a client that never says hello
            self._socket = self._listener.tls.wrap_socket(self._socket, server_side=True)
            self._socket.settimeout(None)
        while True:
            try:
                event = self._next()
            except h11.RemoteProtocolError as error:
                self._refuse(error)
                return
            if isinstance(event, h11.ConnectionClosed) or event is None:
                return
            assert isinstance(event, h11.Request)
            self._idle = False
            if not self._exchange(event):
                return
            self._idle = True
            if self._last or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    def _next(self) -> h11.Event | None:
        """Return the next event of the protocol; None when the connection was handed over."""
        while True:
            event = self._http.next_event()
            if event is h11.PAUSED:
                return None
            if event is not h11.NEED_DATA:
                assert not isinstance(event, type)
                return event
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                self._socket.sendall(self._http.send(go_on) or b"")
            self._http.receive_data(self._socket.recv(_PIECE))

    def _chunks(self) -> Iterator[bytes]:
        while True:
            try:
                event = self._next()
            except h11.RemoteProtocolError as error:
                raise ClientGoneError(str(error)) from None
            if not isinstance(event, h11.Data):
                return
            yield bytes(event.data)

    def _exchange(self, head: h11.Request) -> bool:
        """Answer one request; tell whether the connection can take another."""
        method = head.method.decode("ascii")
        bodyless = method == "HEAD"
        try:
            request, handler = self._route(method, head)
            answer = handler(request)
        except (ClientGoneError, ConnectionError):
            return False
        except Exception as error:
            answer = answer_to(error)
        if isinstance(answer, Upgraded):
            self._upgrade(answer, head)
            return False
        if isinstance(answer, Streamed):
            return self._stream(answer, bodyless) and self._drained()
        self._plain(answer, bodyless)
        return self._drained()

    def _route(self, method: str, head: h11.Request) -> tuple[Request, Handler]:
        target = head.target.decode("latin-1")
        if not target.startswith("/"):  # as proxies write it: http://host/path
            target = "/" + target.partition("://")[2].partition("/")[2]
        raw_path, _, query = target.partition("?")
        version, path = split_version(unquote(raw_path))
        shown = ".".join(map(str, version))
        if version == TAKEN_FOR_OLDEST:
            version = OLDEST
        if version < OLDEST:
            raise BadParameterError(
                f"client version {shown} is too old. Minimum supported API version is {'.'.join(map(str, OLDEST))},"
                " please upgrade your client to a newer version"
            )
        if version > LATEST:
            raise BadParameterError(
                f"client version {shown} is too new. Maximum supported API version is {'.'.join(map(str, LATEST))}"
            )
        found = self._server.router.find(method, path)
        if found is None:
            raise NotFoundError("page not found")
        handler, parameters = found
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        watch = functools.partial(self._server.watcher.watch, self._socket)
        request = Request(method, path, version, headers, self._chunks(), watch, query, parameters)
        _log.debug("%s %s", method, target)
        return request, handler

    def _head(self, answer: Plain | Streamed, more: list[tuple[bytes, bytes]]) -> h11.Response:
        headers = [*self._server.headers, (b"Date", formatdate(usegmt=True).encode()), *more]
        if answer.content_type and answer.status not in (204, 304):
            headers.append((b"Content-Type", answer.content_type.encode()))
        headers += [(key.encode(), value.encode("latin-1", "replace")) for key, value in answer.headers.items()]
        return h11.Response(status_code=answer.status, headers=headers, reason=_REASONS.get(answer.status, b""))

    def _send(self, *events: h11.Event) -> None:
        pieces: list[bytes] = []
        for event in events:
            pieces += self._http.send_with_data_passthrough(event) or []
        try:
            self._socket.sendall(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        except OSError as error:
            self._http.send_failed()
            raise ClientGoneError(str(error)) from None

    def _plain(self, answer: Plain, bodyless: bool) -> None:
        length = [] if answer.status in (204, 304) else [(b"Content-Length", str(len(answer.body)).encode())]
        events: list[h11.Event] = [self._head(answer, length)]
        if answer.body and not bodyless:
            events.append(h11.Data(data=answer.body))
        self._send(*events, h11.EndOfMessage())

    def _stream(self, answer: Streamed, bodyless: bool) -> bool:
        """Send an answer bit by bit; tell whether it came to its end."""
        head: list[h11.Event] = [self._head(answer, [(b"Transfer-Encoding", b"chunked")])]
        with contextlib.ExitStack() as undo:
            if answer.give_up is not None:
                undo.callback(answer.give_up)
            if bodyless:
                self._send(*head, h11.EndOfMessage())
                return True
            if not answer.late:
                self._send(head.pop())
            undo.pop_all()

        def write(data: bytes | memoryview) -> None:
            if data:
                self._send(*head, h11.Data(data=bytes(data)))
                head.clear()

        try:
            answer.produce(write)
            if head:
                self._send(head.pop())
        except ClientGoneError:
            return False
        except Exception as error:
            if head:
                self._plain(answer_to(error), bodyless)
                return True
            # The status is sent already: all that can be done is not to end it in order.
            answer_to(error)
            _log.warning("an answer was cut off: %s", error)
            return False
        self._send(h11.EndOfMessage())
        return True

    def _upgrade(self, answer: Upgraded, head: h11.Request) -> None:
        """Hand the connection over. Old clients ask for it without the header, and get a plain 200."""
        try:
            rest = self._prepare_upgrade(answer, head)
        except BaseException:
            if answer.give_up is not None:
                answer.give_up()
            raise
        answer.take(self._socket, rest)

    def _prepare_upgrade(self, answer: Upgraded, head: h11.Request) -> bytes:
        """Send the head; return what of the client's input has been read already."""
        for _ in self._chunks():
            pass  # the body is over: what follows is the client's input
        rest, _ = self._http.trailing_data
        headers = b"".join(b"%s: %s\r\n" % pair for pair in self._server.headers)
        if answer.accept:
            start = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            headers += b"Sec-WebSocket-Accept: %s\r\n" % answer.accept.encode()
            self._socket.sendall(start + headers + b"\r\n")
            return bytes(rest)
        headers += b"Content-Type: %s\r\n" % answer.content_type.encode()
        if any(name == b"upgrade" for name, _ in head.headers):
            start = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        else:
            start = b"HTTP/1.1 200 OK\r\n"
        self._socket.sendall(start + headers + b"\r\n")
        return bytes(rest)

    def _drained(self) -> bool:
        """Read what is left of a body that the handler did not want, if it is little; else the connection ends."""
        left = 1 << 20
        try:
            for chunk in self._chunks():
                left -= len(chunk)
                if left < 0:
                    return False
        except (ClientGoneError, OSError):
            return False
        return True

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Answer what is no HTTP, as far as it can still be answered."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            hint = error.error_status_hint
            body = b'{"message":"malformed HTTP request"}\n'
            headers = [(b"Content-Length", str(len(body)).encode()), (b"Connection", b"close")]
            with contextlib.suppress(ClientGoneError, h11.LocalProtocolError):
                self._send(
                    self._head(Plain(body, hint if hint >= 400 else 400), headers),
                    h11.Data(data=body),
                    h11.EndOfMessage(),
                )

    def finish(self) -> None:
        """Take no more requests; an idle connection ends at once. From any thread."""
        self._last = True
        if self._idle:
            self.cut()

    def cut(self) -> None:
        """End it wherever it is. From any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close its socket."""
        with contextlib.suppress(OSError, ssl.SSLError):
            self._socket.close()


class _Watcher:
    """Notices when clients go away whose requests are being worked on; one thread, made when first needed.

    A client that has shut down its writing counts as gone, as with Docker: the docker command does so when interrupted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poll: select.epoll | None = None
        self._calls: dict[int, Callable[[], object]] = {}
        self._closed = False

    @contextlib.contextmanager
    def watch(self, connection: socket.socket, call: Callable[[], object]) -> Iterator[None]:
        """While this lasts, call a function, once, when the client goes away."""
        # A descriptor of its own: the number of a closed one might be another's by then.
        descriptor = socket.fromfd(connection.fileno(), connection.family, connection.type)
        number = descriptor.fileno()
        with self._lock:
            if self._poll is None and not self._closed:
                self._poll = select.epoll()
                threading.Thread(target=self._run, args=(self._poll,), name="watcher", daemon=True).start()
            self._calls[number] = call
            if self._poll is not None:
                self._poll.register(number, select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR | select.EPOLLONESHOT)
        try:
            yield
        finally:
            with self._lock:
                self._calls.pop(number, None)
                if self._poll is not None and not self._poll.closed:
                    with contextlib.suppress(OSError):
                        self._poll.unregister(number)
            descriptor.close()

    def _run(self, poll: select.epoll) -> None:
        while not self._closed:
            try:
                ready = poll.poll()
            except (OSError, ValueError):
                return
            for number, _ in ready:
                with self._lock:
                    call = self._calls.pop(number, None)
                if call is not None:
                    try:
                        call()
                    except Exception:
                        _log.exception("what was to happen when a client went away failed")

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            if self._poll is not None:
                self._poll.close()
