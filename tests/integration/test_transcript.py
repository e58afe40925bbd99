"""A long session of a Docker course: the docker command with Debian's engine, and with ours, and our own command.

What is printed must be the same, line by line, once IDs, times and the like are replaced by words. The session is
`transcript.txt`. Differences that there are for a reason are the table `KNOWN`.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.daemons import Daemon, daemon, new_daemon
from tests.dockerd import ReferenceEngine, busybox_tar, find, reference_engine
from tests.sim.images.registries import free_port, registry

__all__ = ["daemon", "new_daemon", "reference_engine"]

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(900)]

DOCKERFILE = """\
FROM base:1 AS first
RUN echo first > /first
FROM base:1
ARG WHO=teacher
LABEL course="docker" part=build
ENV GREETING=hello NAME=$WHO
WORKDIR /work
COPY --from=first /first .
COPY *.txt texts/
RUN echo "$GREETING $WHO" > greeting
ADD tree.tar /
USER nobody
EXPOSE 80/tcp
CMD ["sh", "-c", "cat greeting && ls /work /work/texts /unpacked"]
"""

#: What may differ, as (command, why); the two are then only compared by whether they succeed.
KNOWN: Mapping[str, str] = {
    "image inspect -f '{{.Id}}' base:1 base:9": "20.10 says twice that there is none",
    "run --rm base:1 /etc": "runc says 'is a directory' once it is built by Go 1.20, and 'permission denied' before",
    "run --rm --init base:1 ps -o args": "docker-init's words are a program's; ours is a process of the runtime",
    "attach second  < another\\n": "20.10 now and then ends an attachment with its input, and what comes then is lost",
    "exec web nosuchcommand": "newer engines end it with 127, as a shell, 20.10 with 126",
    "load  < nonsense": "what is wrong with an archive is worded by whoever reads it",
    "network create --subnet nonsense bad": "newer engines have another text for it",
    "network create -d nonsense other": "newer engines have another text for it",
}


#: Words before a daemon's command that start it in a network namespace.
APART = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "daemon")


@dataclass
class Side:
    """One of those that are compared: which command, and with which engine."""

    name: str
    words: Sequence[str]
    place: Path
    host: str
    environment: Mapping[str, str]
    known: dict[str, str] = field(default_factory=dict)

    def fill(self) -> None:
        """Make the files of the session."""
        context = self.place / "context"
        (self.place / "data").mkdir(parents=True)
        context.mkdir()
        (self.place / "base.tar").write_bytes(busybox_tar())
        (self.place / "env").write_text("ONE=1\n# a comment\nTWO=two words\n")
        (self.place / "data/file").write_text("data\n")
        (context / "Dockerfile").write_text(DOCKERFILE)
        (context / "a.txt").write_text("a")
        (context / "b.txt").write_text("b")
        (context / "left.out").write_text("not sent")
        (context / ".dockerignore").write_text("*.out\nb.txt\n")
        (context / "Failing").write_text("FROM base:1\nRUN echo before && exit 17\nRUN echo never\n")
        (context / "Unknown").write_text("FROM base:1\nNONSENSE x\n")
        with tarfile.open(context / "tree.tar", "w") as tar:
            member = tarfile.TarInfo("unpacked/file")
            member.size = 4
            tar.addfile(member, io.BytesIO(b"tar\n"))
        for path in [context, *context.rglob("*")]:
            os.utime(path, (1_600_000_000, 1_600_000_000))

    def run(self, line: str) -> tuple[int, list[str]]:
        """Carry out a line; return the exit status, and what was printed with what is different each time replaced."""
        line, _, given = line.partition("  < ")
        line, _, piped = line.partition("  | ")
        words = shlex.split(line.replace("{D}", str(self.place)).replace("{R}", self.host))
        done = subprocess.run(
            [*self.words, *words],
            input=given.encode().decode("unicode_escape").encode(),
            capture_output=True,
            env={**os.environ, **self.environment},
            timeout=120,
            check=False,
        )
        if line.startswith(_MAKES_AN_IMAGE) and done.returncode == 0:
            time.sleep(1 - time.time() % 1)  # images of one second are listed in any order
        out = done.stdout.decode(errors="replace")
        if piped:
            out = subprocess.run(piped, shell=True, input=out, capture_output=True, text=True, check=True).stdout
        text = out.replace("\r", "\n") + "".join(f"! {each}\n" for each in done.stderr.decode().splitlines())
        return done.returncode, self._plain(text)

    def _plain(self, text: str) -> list[str]:
        text = text.replace(str(self.place), "{D}").replace(self.host, "{R}").replace("layerlab", "docker")
        text = _TIME.sub("<time>", text)
        text = _WORDED.sub(r"\1", text)
        text = re.sub(r"\b(?:sha256:)?([0-9a-f]{64})\b", lambda found: self._id(found[1][:12]), text)
        text = re.sub(r"\b([0-9a-f]{12})\b", lambda found: self._id(found[1]), text)
        for pattern, word in _WORDS:
            text = pattern.sub(word, text)
        lines = [" ".join(each.split()) for each in text.splitlines()]
        lines = [_FROM_THE_DAEMON.sub(lambda found: found[1] + found[2].lower(), each) for each in lines]
        return [each for each in lines if each not in ("", "!") and not each.startswith(_LEFT_OUT)]

    def _id(self, digits: str) -> str:
        return self.known.setdefault(digits, f"<{len(self.known) + 1}>")


#: Two engines differ in the words of the layers below them: containerd's and runc's, with which ours has none.
_WORDED = re.compile(
    r"(?:failed to create task for container: )?"
    r"(failed to create shim task: OCI runtime create failed: )(?:runc create failed: )?"
)

_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)"
    r"|(?:Less than a second|About an? \w+|\d+ \w+) ago|Up (?:Less than a second|\d+ \w+)"
)
_WORDS = [
    (re.compile(r"\b[a-z]+_[a-z]+\b(?= |$)"), "<made_up>"),
    (re.compile(r"127\.0\.0\.1:\d{5}\b"), "<published>"),
    (re.compile(r"time=[\d.]+ ms|[\d.]+/[\d.]+/[\d.]+ ms|seq=\d+ ttl=\d+"), "<took>"),
    (re.compile(r"\b172\.\d+\.\d+\.\d+\b"), "<address>"),
    (re.compile(r"(digest: \S+ size:) \d+"), r"\1 <size>"),  # of a manifest: Docker's own form, or OCI's
]

#: What gives an image that is as old as now.
_MAKES_AN_IMAGE = ("import ", "commit ", "build ")

#: Newer engines begin messages with a small letter.
_FROM_THE_DAEMON = re.compile(r"(Error response from daemon: )(\w)")

#: Lines that say nothing of the engine.
_LEFT_OUT = (
    "! DEPRECATED: The legacy builder", "! BuildKit is currently disabled", "! environment-variable.",
    "! Install the buildx component",
)  # fmt: skip


def session() -> list[str]:
    """Return the lines of the session."""
    text = (Path(__file__).parent / "transcript.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.fixture
def places() -> Iterator[Callable[[str], Path]]:
    with tempfile.TemporaryDirectory(prefix="tr-") as directory:
        yield lambda name: Path(directory) / name


def compare(one: Side, other: Side) -> list[str]:
    """Run the session on both; return what differs, in words."""
    try:
        return _compare(one, other)
    finally:
        for each in (one, other):
            left = subprocess.run(
                [*each.words, "ps", "-aq"], capture_output=True, text=True, check=False
            ).stdout.split()
            if left:
                subprocess.run([*each.words, "rm", "-f", *left], capture_output=True, check=False)


def _compare(one: Side, other: Side) -> list[str]:
    found: list[str] = []
    lines = session()
    aside = [line.removeprefix("& ") for line in lines if line.startswith("& ")]
    lines = [line for line in lines if not line.startswith("& ")]
    with ThreadPoolExecutor(1 + len(aside)) as pool:  # the two have nothing in common, so they go at the same time
        waiting = [pool.submit(one.run, line) for line in aside]
        later = pool.submit(lambda: [other.run(line) for line in [*lines, *aside]])
        first = [*(one.run(line) for line in lines), *(each.result() for each in waiting)]
        results = [*zip([*lines, *aside], first, later.result(), strict=True)]
    for line, expected, got in results:
        if line in KNOWN:
            expected, got = (int(expected[0] > 0), []), (int(got[0] > 0), [])
        if expected != got:  # collected, so that one run shows them all
            both = difflib.unified_diff(
                [f"status {expected[0]}", *expected[1]],
                [f"status {got[0]}", *got[1]],
                one.name,
                other.name,
                lineterm="",
            )
            found.append("\n".join([f"$ {line}", *list(both)[2:]]))
    return found


def side(name: str, words: Sequence[str], place: Path, host: str, version: str = "") -> Side:
    environment = {"DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(place / "client"), "NO_COLOR": "1"}
    if version:
        environment["DOCKER_API_VERSION"] = version
    made = Side(name, words, place, host, environment)
    made.fill()
    return made


def _inside(daemon: Daemon) -> tuple[str, ...]:
    return ("nsenter", "-t", str(daemon.pid), "-n", "--")


def docker_words(address: str) -> list[str]:
    program = find("docker")
    if program is None:
        pytest.skip("needs the docker command; install docker.io")
    return [program, "-H", address]


def test_the_docker_command_finds_no_difference(
    reference_engine: ReferenceEngine, daemon: Daemon, places: Callable[[str], Path], tool: Callable[[str], str]
) -> None:
    tool("docker-registry")
    port = free_port()
    places("").mkdir(exist_ok=True)
    with (
        registry(places("theirs"), port=port, inside=reference_engine.inside),
        registry(places("ours"), port=port) as host,
    ):
        one = side("reference", docker_words(reference_engine.address), places("one"), host, "1.41")
        other = side("ours", docker_words(daemon.address), places("two"), host, "1.41")
        found = compare(one, other)
    assert not found, "\n\n".join(["they differ", *found])


def test_our_command_prints_what_the_docker_command_prints(
    new_daemon: Callable[..., Daemon], places: Callable[[str], Path], tool: Callable[[str], str]
) -> None:
    tool("docker-registry")
    # Each in a network namespace of its own: the networks that the session makes are the same in both.
    first, second = new_daemon(inside=APART), new_daemon(inside=APART)
    ours = [sys.executable, "-P", "-m", "sim.cli", "-H", second.address]
    places("").mkdir(exist_ok=True)
    port = free_port()
    with (
        registry(places("r1"), port=port, inside=_inside(first)) as host,
        registry(places("r2"), port=port, inside=_inside(second)),
    ):
        one = side("docker", docker_words(first.address), places("one"), host)
        other = side("layerlab", ours, places("two"), host)
        other.environment = {**other.environment, "PYTHONPATH": str(ROOT)}
        found = compare(one, other)
    assert not found, "\n\n".join(["they differ", *found])
