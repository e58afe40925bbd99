"""A layer's tar, written and read: compared with GNU tar and Python's tarfile, which none of us wrote."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.images.entry import Entry, Kind
from sim.images.errors import ContentError, LayerTarError
from sim.images.pack import pack
from sim.images.tarread import TarReader
from sim.images.tarwrite import TarWriter
from sim.images.unpack import measure, unpack
from tests.conftest import User
from tests.sim.images.trees import describe, plant

root_only = pytest.mark.usefixtures("root")  # owners, devices and trusted attributes


def packed(source: Path, **options: object) -> bytes:
    parts: list[bytes] = []
    pack(source, lambda data: parts.append(bytes(data)), **options)  # type: ignore[arg-type]
    return b"".join(parts)


def chunked(data: bytes, size: int = 5000) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def unpacked(data: bytes, target: Path) -> Path:
    target.mkdir()
    found = unpack(chunked(data), target)
    assert found == measure(target)
    return target


@root_only
def test_everything_comes_back(tmp_path: Path) -> None:
    plant(tmp_path / "source")
    data = packed(tmp_path / "source")
    copy = unpacked(data, tmp_path / "copy")
    assert describe(copy) == describe(tmp_path / "source")
    assert packed(copy) == data
    assert os.stat(copy / "sparse").st_blocks * 512 < 1 << 20
    assert os.stat(copy / "hole").st_blocks * 512 < 1 << 16


@root_only
def test_gnu_tar_reads_what_we_write(tmp_path: Path) -> None:
    plant(tmp_path / "source")
    (tmp_path / "layer.tar").write_bytes(packed(tmp_path / "source"))
    (tmp_path / "copy").mkdir()
    subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=*", "-xpf", tmp_path / "layer.tar", "-C", tmp_path / "copy"], check=True
    )
    assert describe(tmp_path / "copy") == describe(tmp_path / "source")


@root_only
@pytest.mark.parametrize(
    "options",
    [
        ["--format=pax"],
        ["--format=gnu"],
        ["--format=pax", "--sparse", "--sparse-version=0.0"],
        ["--format=pax", "--sparse", "--sparse-version=0.1"],
        ["--format=pax", "--sparse", "--sparse-version=1.0"],
        ["--format=gnu", "--sparse"],
        ["--format=pax", "--xattrs", "--xattrs-include=*"],
    ],
    ids=" ".join,
)
def test_we_read_what_gnu_tar_writes(tmp_path: Path, options: list[str]) -> None:
    plant(tmp_path / "source")
    with open(tmp_path / "source" / "many-holes", "wb") as stream:
        for number in range(60):
            stream.seek(number * 65536)
            stream.write(b"%d" % number)
    made = subprocess.run(
        ["tar", *options, "-C", tmp_path / "source", "-cf", "-", "."], check=True, capture_output=True
    )
    copy = unpacked(made.stdout, tmp_path / "copy")
    whole = "--xattrs" in options
    (tmp_path / "peer").mkdir()
    more = ["--xattrs", "--xattrs-include=*"] if whole else []
    subprocess.run(["tar", *more, "-xp", "-C", tmp_path / "peer"], input=made.stdout, check=True)
    assert describe(copy) == describe(tmp_path / "peer")
    if "--sparse" in options:
        assert os.stat(copy / "many-holes").st_blocks * 512 < 60 * 8192


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_we_read_what_tarfile_writes(tmp_path: Path, form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        info = tarfile.TarInfo("dir/" * 20 + "file")
        info.size, info.mode, info.mtime = 1025, 0o600, 1234567890
        archive.addfile(info, io.BytesIO(b"a" * 1025))
    reader = TarReader(chunked(buffer.getvalue(), 100))
    (entry,) = [(entry, reader.read(2000)) for entry in reader]
    assert entry[0].path == b"dir/" * 20 + b"file"
    assert (entry[0].mode, entry[0].modified, entry[1]) == (0o600, 1234567890 * 10**9, b"a" * 1025)


def test_the_same_directory_gives_the_same_tar(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        order = ["b", "a", "c"] if name == "one" else ["c", "b", "a"]
        for child in order:
            (tmp_path / name / child).write_text(child)
            os.utime(tmp_path / name / child, ns=(7, 7))
    assert packed(tmp_path / "one") == packed(tmp_path / "two")
    os.utime(tmp_path / "two" / "a", ns=(7, 8))
    assert packed(tmp_path / "one") != packed(tmp_path / "two")
    assert packed(tmp_path / "one", modified=7) == packed(tmp_path / "two", modified=7)


paths = st.lists(
    st.binary(min_size=1, max_size=120).filter(
        lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
    ),
    min_size=1,
    max_size=4,
).map(b"/".join)
entries = st.builds(
    lambda path, kind, mode, uid, gid, modified, content, target, xattrs: Entry(
        path,
        kind,
        mode,
        uid,
        gid,
        modified,
        len(content) if kind is Kind.FILE else 0,
        target if kind in (Kind.SYMLINK, Kind.HARDLINK) else b"",
        (5, 77) if kind in (Kind.CHARACTER, Kind.BLOCK) else (0, 0),
        tuple(sorted(xattrs.items())),
        None,
        content if kind is Kind.FILE else b"",
    ),
    paths,
    st.sampled_from(Kind),
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 2),
    st.integers(0, 2**32 - 2),
    st.integers(-(2**62), 2**62),
    st.binary(max_size=1500),
    paths,
    st.dictionaries(
        st.sampled_from([b"user.a", b"user.b", b"security.capability"]), st.binary(min_size=1, max_size=40)
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(entries, max_size=6), st.integers(1, 3000))
def test_any_entry_comes_back(given_entries: list[Entry], size: int) -> None:
    parts: list[bytes] = []
    writer = TarWriter(lambda data: parts.append(bytes(data)))
    for entry in given_entries:
        writer.add(entry)
    writer.finish()
    data = b"".join(parts)
    reader = TarReader(chunked(data, size))
    found = []
    for entry in reader:
        content = reader.read(10_000) if entry.kind is Kind.FILE else b""
        found.append((entry, content))
    for (entry, content), wanted in zip(found, given_entries, strict=True):
        assert replace(entry, content=content) == wanted
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:  # a reader none of us wrote sees the same
        members = archive.getmembers()
    names = [os.fsencode(member.name) for member in members]
    assert names == [entry.path.rstrip(b"/") for entry in given_entries]
    assert [member.uid for member in members] == [entry.uid for entry in given_entries]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_tar_is_refused_or_read_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    parts: list[bytes] = []
    writer = TarWriter(lambda part: parts.append(bytes(part)))
    for entry in data.draw(st.lists(entries, min_size=1, max_size=4)):
        writer.add(entry)
    writer.finish()
    tar = bytearray(b"".join(parts))
    for _ in range(data.draw(st.integers(1, 4))):
        tar[data.draw(st.integers(0, len(tar) - 1))] = data.draw(st.integers(0, 255))
    tar = tar[: data.draw(st.integers(0, len(tar)))]
    if data.draw(st.booleans()):  # mend the checksums, so that the fields themselves are tried
        for at in range(0, len(tar) - 511, 512):
            if tar[at + 257 : at + 262] == b"ustar":
                total = sum(tar[at : at + 512]) - sum(tar[at + 148 : at + 156]) + 256
                tar[at + 148 : at + 156] = b"%06o\0 " % total
    target = tmp_path_factory.mktemp("fuzz")
    said = ""
    try:
        unpack([bytes(tar)], target)
    except ContentError as error:
        said = str(error)
    finally:
        shutil.rmtree(target)
    assert "\n" not in said


def test_a_truncated_tar_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x" * 3000)
    data = packed(tmp_path / "source")
    for length in (100, 513, 1024, 3000):
        (tmp_path / f"t{length}").mkdir()
        with pytest.raises(LayerTarError, match="truncated"):
            unpack([data[:length]], tmp_path / f"t{length}")


def test_what_is_an_ordinary_users_is_roots_in_the_image(user: User) -> None:
    """They are root in their containers, so a layer that they make looks like one that root made."""
    code = """
import io, os, pathlib, tarfile
from sim.images.pack import pack
place = pathlib.Path("layer")
place.mkdir()
(place / "file").write_text("x")
os.link(place / "file", place / "link")
out = io.BytesIO()
pack(place, out.write)
out.seek(0)
print([(each.name, each.uid, each.gid) for each in tarfile.open(fileobj=out)])
"""
    assert user.python(code).strip() == "[('file', 0, 0), ('link', 0, 0)]"
