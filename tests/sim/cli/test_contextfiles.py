"""Contexts as files: what one command writes the other reads, and archives that are none leave nothing behind."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sim.cli.client.contextfiles import LARGEST, pack, unpack
from sim.cli.client.contexts import Context, Contexts
from sim.cli.failure import Failure
from sim.cli.main import run
from tests.conftest import ROOT
from tests.sim.cli.test_contexts import config

__all__ = ["config"]

META = (
    b'{"Name":"one","Metadata":{"Description":"a b"},"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":true}}}'
)
PEM = {"docker/ca.pem": b"the ca", "docker/cert.pem": b"the cert", "docker/key.pem": b"the key"}

docker = pytest.mark.skipif(shutil.which("docker") is None, reason="needs the docker command; install docker.io")


def tar(*members: tuple[str, bytes], odd: Callable[[tarfile.TarInfo], None] = lambda member: None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            odd(member)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def zipped(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def as_link(member: tarfile.TarInfo) -> None:
    if member.name.startswith("tls"):
        member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0


GOOD: dict[str, bytes] = {
    "tar": tar(("meta.json", META), *((f"tls/{name}", data) for name, data in PEM.items())),
    "without padding": pack(json.loads(META), PEM).rstrip(b"\0"),
    "zip": zipped(("meta.json", META), *((f"tls/{name}", data) for name, data in PEM.items())),
    "another endpoint": tar(("tls/other/f", b"x"), ("meta.json", META)),
    "no fields": tar(("meta.json", b"{}")),
    "a link": tar(("meta.json", META), ("tls/docker/ca.pem", b""), odd=as_link),
    "twice": tar(("meta.json", b"{}"), ("meta.json", META)),
}
BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "invalid context: no metadata found"),
    "no meta": (tar(("tls/docker/ca.pem", b"x")), "invalid context: no metadata found"),
    "no meta in a zip": (zipped(("tls/docker/ca.pem", b"x")), "invalid context: no metadata found"),
    "text": (b"-----BEGIN" * 100, "archive/tar: invalid tar header"),
    "another file": (tar(("meta.json", META), ("evil", b"x")), "evil: unexpected context file"),
    "another way to write it": (tar(("./meta.json", META)), "./meta.json: unexpected context file"),
    "out of it": (
        tar(("meta.json", META), ("tls/docker/../../../x", b"x")),
        "tls/docker/../../../x: unexpected path format",
    ),
    "out of it by a zip": (zipped(("tls/../x", b"x")), "tls/../x: unexpected path format"),
    "a backslash": (tar(("tls/docker/..\\x", b"x")), "tls/docker/..\\x: unexpected '\\' in path"),
    "no endpoint": (tar(("meta.json", META), ("tls/foo", b"x")), "archive format is invalid"),
    "too much": (tar(("meta.json", bytes(LARGEST + LARGEST // 10))), "read exceeds the defined limit"),
}


def ours(*words: str, stdin: bytes = b"", place: Path) -> tuple[int, bytes, str]:
    done = subprocess.run(
        [sys.executable, "-m", "sim.cli", *words],
        input=stdin,
        capture_output=True,
        env={**os.environ, "DOCKER_CONFIG": str(place), "PYTHONPATH": str(ROOT)},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def theirs(*words: str, stdin: bytes = b"", place: Path) -> tuple[int, bytes, str]:
    environment = {**os.environ, "DOCKER_CONFIG": str(place)}
    done = subprocess.run(["docker", *words], input=stdin, capture_output=True, env=environment, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


@docker
def test_what_one_command_exports_the_other_imports(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for kind in ("tar", "another endpoint", "zip"):
        name = f"of-{kind[:3]}"
        assert theirs("context", "import", name, "-", stdin=GOOD[kind], place=other)[0] == 0
        status, data, said = theirs("context", "export", name, "-", place=other)
        assert (status, said) == (0, "")
        assert ours("context", "import", name, "-", stdin=data, place=mine) == (
            0,
            f"{name}\n".encode(),
            f'Successfully imported context "{name}"\n',
        )
        shown = [each("context", "inspect", name, "-f", "json", place=mine)[1:] for each in (ours, theirs)]
        assert shown[0] == shown[1]
        status, data, said = ours("context", "export", name, "-", place=mine)
        assert (status, said) == (0, "")
        assert theirs("context", "import", f"{name}-back", "-", stdin=data, place=other)[0] == 0
        back = theirs("context", "export", f"{name}-back", "-", place=other)[1]
        assert unpack(back) == ({**unpack(data)[0], "Name": f"{name}-back"}, unpack(data)[1])
        assert theirs("context", "rm", f"{name}-back", place=other)[0] == 0
    kept = [{path.relative_to(place): path.read_bytes() for path in place.rglob("*.*")} for place in (mine, other)]
    assert kept[0] == kept[1]


@docker
@pytest.mark.parametrize("kind", [*GOOD, *(kind for kind in BAD if kind != "too much")])
def test_what_is_taken_and_what_is_said_is_dockers(kind: str, tmp_path: Path) -> None:
    data = GOOD[kind] if kind in GOOD else BAD[kind][0]
    mine = ours("context", "import", "it", "-", stdin=data, place=tmp_path / "mine")
    other = theirs("context", "import", "it", "-", stdin=data, place=tmp_path / "other")
    if kind == "text":
        mine = (*mine[:2], mine[2].partition(" (")[0] + "\n")
    assert mine == other


@pytest.mark.parametrize("kind", BAD)
def test_of_what_is_refused_nothing_stays(kind: str, config: Path, tmp_path: Path) -> None:
    data, text = BAD[kind]
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(Failure) as caught:
        unpack(data)
    assert caught.value.text.startswith(text)
    assert run(["context", "import", "it", str(tmp_path / "file")]) == 1
    assert not list(config.rglob("*"))
    assert Contexts({}).all() == []


@docker
def test_a_session_is_as_dockers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for each in (ours, theirs):
        place = tmp_path / each.__name__
        place.mkdir()
        monkeypatch.chdir(place)
        (place / "taken").write_text("")
        (place / "good").write_bytes(GOOD["tar"])
        lines = (
            "context create one --docker host=unix:///x.sock", "context export one", "context export one",
            "context export one taken", "context export one /nowhere/x", "context export nope",
            "context export bad/name", "context export default", "context export", "context export a b c",
            "context import one good", "context import two nofile", "context import two .", "context import two good",
            "context import default good", "context import x good", "context import two", "context import a b c",
            "context ls -q", "context inspect two",
        )  # fmt: skip
        answers = [each(*line.split(), place=place / "config") for line in lines]
        said.append([(status, out.decode().replace("layerlab", "docker").replace(str(place), "PLACE"),
                      text.replace("layerlab", "docker").replace(str(place), "PLACE"))
                     for status, out, text in answers])  # fmt: skip
        assert (place / "one.dockercontext").stat().st_mode & 0o777 == 0o600
        assert unpack((place / "default.dockercontext").read_bytes())[0]["Name"] == "default"
    for mine, other, line in zip(*said, lines, strict=True):
        assert mine == other, line


def test_certificates_are_kept_for_their_owner_only(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(GOOD["tar"])
    assert run(["context", "import", "far", str(tmp_path / "file")]) == 0
    assert Contexts({}).get("far") == Context(
        "far", "a b", "tcp://h:1", True, {"ca": b"the ca", "cert": b"the cert", "key": b"the key"}
    )
    assert {path.stat().st_mode & 0o777 for path in config.rglob("*.pem")} == {0o600}
    assert {path.stat().st_mode & 0o077 for path in config.glob("contexts/tls/**/")} == {0}


def test_no_archive_brings_it_down() -> None:
    chance = random.Random(1)
    for good in GOOD.values():
        for _ in range(150):
            data = bytearray(good)
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            if chance.random() < 0.3:
                del data[chance.randrange(len(data)) :]
            try:
                _, files = unpack(bytes(data))
            except Failure:
                continue
            assert all(".." not in name.split("/") and name.count("/") == 1 for name in files)
