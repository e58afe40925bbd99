"""Mutated requests: whatever comes, the dispatcher answers or keeps silent, and nothing outside the layers is touched.

`LAYERLAB_FUZZ` is the number of requests (a million in a long run); `LAYERLAB_FUZZ_SEED` repeats a run.
"""

from __future__ import annotations

import logging
import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs import Options, Stack
from fusefs.drivers.devfuse import wire
from fusefs.drivers.devfuse.wire import MESSAGES, Opcode
from fusefs.union import Union
from tests.fusefs.drivers.devfuse.kernel import Kernel

REQUESTS = int(os.environ.get("LAYERLAB_FUZZ", "8000"))
SEED = int(os.environ.get("LAYERLAB_FUZZ_SEED", "4"))

NAMES = [b"a", b"dir", b"inner", b"new", b"link", b"..", b".", b"", b"a/b", b"../../outside", b"x" * 300, b".wh.a"]
NUMBERS = [0, 1, 2, 3, 5, 8, 4096, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, (1 << 64) - 1]


@pytest.fixture
def small_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 22, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def a_request(chance: random.Random) -> bytes:
    opcode = chance.choice(list(MESSAGES)) if chance.random() < 0.98 else chance.randrange(1 << 32)
    message = MESSAGES.get(opcode)
    body = bytearray()
    if message is not None and message.shape is not None:
        for name, code in (word.split(":") for word in message.shape.text.split()):
            bits = {"B": 8, "H": 16, "I": 32, "i": 31, "Q": 64, "q": 63}[code]
            if "mode" in name:
                value = chance.choice([0o100644, 0o40755, 0o20000, 0o10644, 0o104755, chance.randrange(1 << 17)])
            elif name in ("flags", "open_flags"):
                value = chance.choice([0, 1, 2, 0o1000, 0o1002, 0o2001, 0o100, chance.randrange(1 << 24)])
            elif chance.random() < 0.7:
                value = chance.randrange(12)
            else:
                value = chance.choice(NUMBERS)
            body += (value & ((1 << bits) - 1)).to_bytes({"B": 1, "H": 2, "I": 4, "i": 4}.get(code, 8), "little")
    for _ in range(message.names if message is not None else 1):
        body += chance.choice(NAMES) + b"\0"
    if chance.random() < 0.3:
        body += chance.randbytes(chance.randrange(200))
    node = chance.choice([1, 1, 1, 2, 3, 4, 5, 6, chance.randrange(40), chance.randrange(1 << 64)])
    length = wire.IN_HEADER.size + len(body)
    request = bytearray(
        wire.IN_HEADER.codec.pack(length, opcode, chance.randrange(1 << 64), node, 0, 0, 9, 0, 0) + body
    )
    for _ in range(chance.choice([0, 0, 0, 1, 2, 8])):
        # The opcode and the user stay: this is no test of what root may do to itself.
        position = chance.randrange(len(request))
        if not 24 <= position < 36:
            request[position] = chance.randrange(256)
    if chance.random() < 0.05:
        del request[chance.randrange(len(request)) :]
    return bytes(request)


def snapshot(place: Path) -> dict[str, tuple[int, int, int, bytes | None]]:
    found = {}
    for directory, names, files in os.walk(place):
        for name in [*names, *files]:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            data = Path(path).read_bytes() if name in files and not os.path.islink(path) else None
            found[path] = (status.st_mode, status.st_uid, status.st_mtime_ns, data)
    return found


@pytest.mark.usefixtures("small_files")
@pytest.mark.timeout(0 if REQUESTS > 100_000 else 120)
def test_no_request_gets_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside").write_text("not yours")
    lower = tmp_path / "lower"
    (lower / "a").write_text("text")
    (lower / "dir").mkdir()
    (lower / "dir" / "inner").write_text("inner")
    (lower / "link").symlink_to("../../outside")
    before = snapshot(lower), (tmp_path / "outside").read_text()
    chance = random.Random(SEED)
    union = Union(Stack((lower,), tmp_path / "upper", tmp_path / "work"), Options())
    kernel = Kernel(union)
    kernel.lookup(b"dir/inner")
    answered = 0
    for _ in range(REQUESTS):
        request = a_request(chance)
        answer = kernel.dispatcher.handle(memoryview(request))
        if len(request) >= wire.IN_HEADER.size:
            kernel.dispatcher.is_slow(memoryview(request + bytes(64)))
        if answer is None:
            continue
        length, error, unique = wire.OUT_HEADER.codec.unpack(answer[0])
        assert length == wire.OUT_HEADER.size + len(answer[1])
        assert -4096 < error <= 0
        assert unique == wire.IN_HEADER.codec.unpack_from(request)[2]
        answered += not error
    kernel.dispatcher.close()
    union.close()
    assert not caplog.records, caplog.records[0].getMessage() + str(caplog.records[0].exc_info)
    assert answered > REQUESTS // 20
    assert (snapshot(lower), (tmp_path / "outside").read_text()) == before
    assert sorted(os.listdir(tmp_path)) == ["lower", "outside", "upper", "work"]
    assert os.listdir(tmp_path / "work" / "work") == []
    assert not kernel.device.backing


def test_what_is_too_short_is_invalid(tmp_path: Path) -> None:
    kernel = Kernel(Union(Stack((tmp_path,))))
    for opcode, message in MESSAGES.items():
        if message.shape is None or message.answer is None or opcode in (Opcode.INIT, Opcode.GETATTR, Opcode.OPENDIR):
            continue
        with pytest.raises(OSError, match=r"Invalid argument|Stale|Bad file"):
            kernel.ask(Opcode(opcode), 1, b"\1")
