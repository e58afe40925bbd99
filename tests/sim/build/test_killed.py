"""Builds that are not wanted any more, and builders that are killed: nothing is left, and the store is sound."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.build import BuildOptions, CancelledError, LocalRunner, MessageKind, build, collect
from sim.images import Store
from tests.conftest import ROOT
from tests.patience import until
from tests.sim.build.worlds import Builds, context

DRIVERS = ("overlayfs", "devfuse")


def processes(mark: str) -> list[int]:
    """Return the processes whose command line has this word."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            try:
                command = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in command.split(b"\0"):
                found.append(int(entry))
    return found


def mounts(place: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(place) in line]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    request.getfixturevalue("overlayfs" if request.param == "overlayfs" else "fuse")
    return str(request.param)


def test_a_cancelled_run_is_killed(store: Store, driver: str) -> None:
    gone = threading.Event()
    seconds = f"{4_000_000 + os.getpid()}"
    told: list[str] = []

    def work() -> None:
        with pytest.raises(CancelledError, match="Build cancelled"):
            build(
                store,
                io.BytesIO(context(f"FROM busybox\nENV a=1\nRUN sleep {seconds}\n")),
                BuildOptions(tags=("never",)),
                runner=LocalRunner(store, driver=driver, cgroup=""),
                output=lambda message: told.append(message.text),
                cancelled=gone,
            )

    before = {image.id for image in store.images(intermediate=True)}
    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: processes(seconds))
    gone.set()
    thread.join(20)
    assert not thread.is_alive()
    assert processes(seconds) == []
    assert mounts(store.root) == []
    assert os.listdir(store.root / "builds") == []
    after = store.images(intermediate=True)
    assert len(after) == len(before) + 1  # the step that was done: the next build has it cached
    assert not [image for image in after if image.tags and image.tags[0].path == "library/never"]


def test_a_cancelled_context(store: Store) -> None:
    def parts() -> Iterator[bytes]:
        data = context("FROM busybox\n", {f"f{number}": "x" for number in range(100)})
        for at in range(0, len(data), 512):
            yield data[at : at + 512]
            asked.append(at)

    asked: list[int] = []
    with pytest.raises(CancelledError):
        build(
            store,
            parts(),
            BuildOptions(),
            runner=LocalRunner(store, cgroup=""),
            output=lambda message: None,
            cancelled=lambda: len(asked) > 20,
        )
    assert os.listdir(store.root / "builds") == []


def test_a_client_that_takes_nothing_any_more(store: Store) -> None:
    """What the output raises ends the build, in the middle of a RUN as well."""
    seconds = f"{5_000_000 + os.getpid()}"

    def output(message: object) -> None:
        if getattr(message, "text", "") == "hello\n":
            raise BrokenPipeError("the client has gone")

    with pytest.raises(Exception, match="the client has gone"):
        build(
            store,
            io.BytesIO(context(f"FROM busybox\nRUN echo hello; sleep {seconds}\n")),
            BuildOptions(),
            runner=LocalRunner(store, cgroup=""),
            output=output,
        )
    assert processes(seconds) == []
    assert os.listdir(store.root / "builds") == []


_BUILDER = """
import sys
from pathlib import Path
from sim.build import BuildOptions, LocalRunner, build
from sim.images import Store
store = Store(sys.argv[1])
build(store, open(sys.argv[2], "rb"), BuildOptions(), runner=LocalRunner(store, driver=sys.argv[3]),
      output=lambda message: print(message.text, end="", flush=True))
"""


def started(store: Store, place: Path, driver: str, dockerfile: str) -> subprocess.Popen[str]:
    data = place / "context.tar"
    data.write_bytes(context(dockerfile))
    return subprocess.Popen(
        [sys.executable, "-c", _BUILDER, str(store.root), str(data), driver],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.usefixtures("root")
def test_what_a_killed_builder_leaves_is_collected(store: Store, tmp_path: Path, driver: str) -> None:
    seconds = f"{6_000_000 + os.getpid()}"
    text = f"FROM busybox\nRUN echo done >/done\nRUN touch /begun; sleep {seconds}\n"
    builder = started(store, tmp_path, driver, text)
    try:
        until(lambda: processes(seconds))
        (place,) = list((store.root / "builds").iterdir())
        assert collect(store) == 0  # it lives
        assert place.is_dir()
    finally:
        builder.send_signal(signal.SIGKILL)
        builder.wait(10)
        assert builder.stdout is not None
        builder.stdout.close()
    until(lambda: not processes(seconds), lambda: "the process of the RUN outlived its builder")
    assert collect(store) == 1
    assert os.listdir(store.root / "builds") == []
    assert mounts(store.root) == []
    store.collect()
    builds = Builds(store)
    builds(text.replace(f"; sleep {seconds}", ""))
    assert builds.steps() == ["done", "cached", "done"]


@pytest.mark.usefixtures("root", "overlayfs")
def test_a_builder_killed_at_any_moment_leaves_a_sound_store(store: Store, tmp_path: Path) -> None:
    text = "FROM busybox\n" + "".join(f"RUN echo {number} >/f{number}\nENV n={number}\n" for number in range(4))
    for delay in (0.0, 0.05, 0.15, 0.3):
        builder = started(store, tmp_path, "overlayfs", text)
        assert builder.stdout is not None
        while builder.poll() is None and "Step 2/" not in builder.stdout.readline():
            pass
        time.sleep(delay)
        builder.send_signal(signal.SIGKILL)
        builder.wait(10)
        builder.stdout.close()
        collect(store)
        store.collect()
        for image in store.images(intermediate=True):
            assert all(layer.path.is_dir() for layer in image.layers)
    builds = Builds(store)
    result = builds(text)
    assert len(store.image(result.image).layers) == 5
    assert MessageKind.AUX in {message.kind for message in builds.messages}
