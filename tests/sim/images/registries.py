"""Registries for tests: Debian's `docker-registry` on a loopback port, and one of our own that misbehaves on demand."""

from __future__ import annotations

import contextlib
import http.server
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.patience import PATIENCE

#: bcrypt of "secret", for the user "student".
HTPASSWD = "student:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"


def free_port(count: int = 1) -> int:
    """Return a port on which nobody listens, nor on those after it, and which no connection is given meanwhile.

    The kernel gives connections of its own choice a port of a range that it tells: these are below.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        first = random.randrange(10_000, max(lowest, 20_000) - count)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("0.0.0.0", port))
            return first


@contextlib.contextmanager
def registry(
    place: Path,
    *,
    password: bool = False,
    tls: tuple[Path, Path] | None = None,
    port: int | None = None,
    inside: Sequence[str] = (),
) -> Iterator[str]:
    """Run the reference registry; gives host:port. `inside` are words that start it in another network namespace."""
    place.mkdir(exist_ok=True)
    host = f"127.0.0.1:{port or free_port()}"
    lines = [
        "version: 0.1",
        "log: {level: error, accesslog: {disabled: true}}",
        f"storage: {{filesystem: {{rootdirectory: {place}/data}}, delete: {{enabled: true}}}}",
        "http:",
        f'  addr: "{host}"',
    ]
    if tls:
        lines += ["  tls:", f"    certificate: {tls[0]}", f"    key: {tls[1]}"]
    if password:
        (place / "htpasswd").write_text(HTPASSWD)
        lines += ["auth:", "  htpasswd:", "    realm: lesson", f"    path: {place}/htpasswd"]
    (place / "config.yml").write_text("\n".join(lines) + "\n")
    with open(place / "log", "wb") as log:
        serve = [*inside, "docker-registry", "serve", str(place / "config.yml")]
        process = subprocess.Popen(serve, stdout=log, stderr=log)
    try:
        end = time.monotonic() + PATIENCE
        knock = f"import socket; socket.create_connection(('127.0.0.1', {host[10:]}), 1)"
        while True:
            if (
                subprocess.run(
                    [*inside, sys.executable, "-c", knock], stderr=subprocess.DEVNULL, check=False
                ).returncode
                == 0
            ):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((place / "log").read_text())
            time.sleep(0.02)
        yield host
    finally:
        process.terminate()
        process.wait(PATIENCE)


def authority(place: Path) -> tuple[Path, Path, Path]:
    """Make a CA and a certificate for 127.0.0.1 with it: CA, certificate, key."""
    place.mkdir(exist_ok=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    # With all that RFC 5280 wants, which Python checks since 3.13.
    signs = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(
        *("req", "-x509", *curve, *signs, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=lesson CA"),
        *("-days", "2"),
    )
    openssl("req", *curve, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=127.0.0.1")
    (place / "names").write_text(
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid,issuer\n"
    )
    openssl(
        *("x509", "-req", "-in", "request.pem", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
        *("-out", "certificate.pem", "-days", "2", "-extfile", "names"),
    )
    return place / "ca.crt", place / "certificate.pem", place / "key.pem"


@dataclass
class Answers:
    """What the misbehaving registry holds and how it misbehaves."""

    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    log: list[tuple[str, str, str]] = field(default_factory=list)
    #: Looks at each request first; true if it has answered it.
    before: Callable[[http.server.BaseHTTPRequestHandler], bool] = lambda handler: False
    host: str = ""

    def asked(self, method: str, part: str) -> list[tuple[str, str, str]]:
        return [entry for entry in self.log if entry[0] == method and part in entry[1]]


@contextlib.contextmanager
def misbehaving() -> Iterator[Answers]:
    """Run a registry in this process that serves what it is given, and misbehaves."""
    answers = Answers()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: object) -> None:
            return

        def handle_one_request(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle_one_request()

        def do_GET(self) -> None:
            answers.log.append((self.command, self.path, self.headers.get("Range", "")))
            if answers.before(self):
                return
            if self.path == "/v2/":
                reply(self, 200, b"{}")
            elif found := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", self.path):
                kind, data = answers.manifests.get(found[2], ("", b""))
                if not kind:
                    reply(self, 404, error("MANIFEST_UNKNOWN", "manifest unknown"))
                else:
                    reply(self, 200, data, {"Content-Type": kind})
            elif found := re.fullmatch(r"/v2/(.+)/blobs/([^/]+)", self.path):
                data = answers.blobs.get(found[2], b"")
                part = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                if found[2] not in answers.blobs:
                    reply(self, 404, error("BLOB_UNKNOWN", "blob unknown"))
                elif part:
                    start = int(part[1])
                    span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
                    reply(self, 206, data[start:], span)
                else:
                    reply(self, 200, data)
            else:
                reply(self, 404, b"")

        do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    answers.host = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield answers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(
    handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(key, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def error(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()
