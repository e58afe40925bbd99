"""The structures and numbers against the kernel's own header, and what is agreed on with kernels of several ages."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fusefs import Stack
from fusefs.drivers.devfuse import Passthrough, Tuning, wire
from fusefs.drivers.devfuse.session import Session
from fusefs.drivers.devfuse.wire import MESSAGES, SHAPES, Fattr, Fopen, Init, Notify, Opcode
from fusefs.errors import MountError
from fusefs.union import Union
from tests.fusefs.drivers.devfuse.kernel import PaperDevice, fields

HEADER = Path("/usr/include/linux/fuse.h")

#: What the header says in nested or variable structures, which are flat here.
FLAT = {"fuse_entry_out", "fuse_attr_out", "fuse_statfs_out", "fuse_direntplus", "fuse_lk_in", "fuse_init_out"}


def version() -> int:
    found = re.search(r"FUSE_KERNEL_MINOR_VERSION (\d+)", HEADER.read_text())
    return int(found[1]) if found else 0


def in_header(since: str) -> bool:
    return int(since.split(".")[1]) <= version()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], list[int]]:
    """Return a function that evaluates C expressions with the header included."""
    if not HEADER.exists():
        pytest.skip(f"needs {HEADER}; install linux-libc-dev")
    place = tmp_path_factory.mktemp("c")

    def values(expressions: list[str]) -> list[int]:
        lines = "".join(f'    printf("%llu\\n", (unsigned long long)({one}));\n' for one in expressions)
        (place / "a.c").write_text(
            "#include <stdio.h>\n#include <stddef.h>\n#include <linux/fuse.h>\n"
            f"int main(void) {{\n{lines}    return 0;\n}}\n"
        )
        try:
            subprocess.run(["cc", "-o", place / "a", place / "a.c"], check=True)
        except FileNotFoundError:
            pytest.skip("needs a C compiler; install gcc")
        return [int(line) for line in subprocess.run([place / "a"], capture_output=True, check=True).stdout.split()]

    return values


def test_sizes_and_places_are_the_headers(compiled: Callable[[list[str]], list[int]]) -> None:
    known = set(re.findall(r"^struct (fuse_\w+) \{", HEADER.read_text(), re.MULTILINE))
    shapes = [shape for shape in SHAPES.values() if shape.name in known]
    assert len(shapes) > 40
    sizes = compiled([f"sizeof(struct {shape.name})" for shape in shapes])
    assert {shape.name: shape.size for shape in shapes} == dict(
        zip((shape.name for shape in shapes), sizes, strict=True)
    ) | {shape.name: shape.size for shape in shapes if shape.name == "fuse_init_in"}
    flat = [shape for shape in shapes if shape.name not in FLAT and shape.name != "fuse_open_out"]
    places = [(shape, name) for shape in flat for name in shape.names]
    offsets = compiled([f"offsetof(struct {shape.name}, {name})" for shape, name in places])
    for (shape, name), offset in zip(places, offsets, strict=True):
        before = "".join(word.split(":")[1] for word in shape.text.split()[: shape.names.index(name)])
        assert struct.calcsize("=" + before) == offset, f"{shape.name}.{name}"


def test_numbers_are_the_headers(compiled: Callable[[list[str]], list[int]]) -> None:
    text = HEADER.read_text()
    pairs: dict[str, int] = {}
    for opcode in Opcode:
        if in_header(MESSAGES[opcode].since):
            pairs[f"FUSE_{opcode.name}"] = opcode
    for one in (*Fopen, *Init, *Fattr, *Notify):
        prefix = {Fopen: "FOPEN_", Init: "FUSE_", Fattr: "FATTR_", Notify: "FUSE_NOTIFY_"}[type(one)]
        if re.search(rf"\b{prefix}{one.name}\b", text):
            pairs[f"{prefix}{one.name}"] = int(one)
    pairs["FUSE_ROOT_ID"] = wire.ROOT_ID
    pairs["FUSE_DEV_IOC_CLONE"] = wire.DEV_IOC_CLONE
    pairs["FUSE_WRITE_KILL_SUIDGID"] = wire.WRITE_KILL_SUIDGID
    pairs["FUSE_OPEN_KILL_SUIDGID"] = wire.OPEN_KILL_SUIDGID
    pairs["FUSE_SETXATTR_ACL_KILL_SGID"] = wire.SETXATTR_ACL_KILL_SGID
    pairs["FUSE_FSYNC_FDATASYNC"] = wire.FSYNC_FDATASYNC
    # The header's FUSE_DEV_IOC macros need the C library's.
    names = [name for name in pairs if name != "FUSE_DEV_IOC_CLONE"]
    assert len(names) > 80
    assert dict(zip(names, compiled(names), strict=True)) == {name: pairs[name] for name in names}


def test_every_opcode_is_described() -> None:
    assert set(MESSAGES) == set(Opcode)


def offer(tmp_path: Path, minor: int, flags: int, tuning: Tuning | None = None) -> tuple[Session, dict[str, int]]:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir(exist_ok=True)
    session = Session(
        Union(Stack((tmp_path / "lower",), tmp_path / "upper", tmp_path / "work")), PaperDevice(), tuning or Tuning()
    )
    body = wire.INIT_IN_EXT.codec.pack(7, minor, 1 << 17, flags & 0xFFFFFFFF, flags >> 32)
    answer, settled = session.agree(memoryview(body if flags & Init.INIT_EXT else body[:16]))
    assert settled
    return session, fields(wire.INIT_OUT, answer)


EVERYTHING = 0x5FD << 32 | 0x73FFFFFB


def test_a_new_kernel_gets_passthrough(tmp_path: Path) -> None:
    session, said = offer(tmp_path, 45, EVERYTHING)
    assert session.dispatcher.passthrough is Passthrough.UPPER
    assert said["flags2"] << 32 & Init.PASSTHROUGH
    assert said["max_stack_depth"] == 1
    assert not said["flags"] & Init.WRITEBACK_CACHE, "the kernel refuses both together"
    assert (said["minor"], said["max_write"], said["max_pages"], said["time_gran"]) == (45, 1 << 20, 256, 1)
    session.dispatcher.union.close()


def test_the_oldest_kernel_gets_what_it_knows(tmp_path: Path) -> None:
    session, said = offer(tmp_path, 31, 0x07FFFFFB & ~Init.INIT_EXT)
    assert session.dispatcher.passthrough is Passthrough.OFF
    assert (said["minor"], said["flags2"], said["max_stack_depth"]) == (31, 0, 0)
    assert not session.dispatcher.long_setxattr
    assert not said["flags"] & ~0x07FFFFFB
    session.dispatcher.union.close()


def test_a_newer_kernel_speaks_our_version(tmp_path: Path) -> None:
    session, said = offer(tmp_path, 60, EVERYTHING, Tuning(passthrough=Passthrough.OFF))
    assert said["minor"] == wire.MINOR
    assert not said["flags2"] << 32 & Init.PASSTHROUGH
    answer, settled = session.agree(memoryview(wire.INIT_IN.codec.pack(8, 0, 0, 0)))
    assert not settled
    assert fields(wire.INIT_OUT, answer)["major"] == 7
    session.dispatcher.union.close()


def test_a_kernel_that_is_too_old_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MountError, match=r"7\.30.*fuse-python"):
        offer(tmp_path, 30, 0)
