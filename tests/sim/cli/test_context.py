"""What is sent of a build's context, and what is taken of a container's archive."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from sim.cli.context import directory_context, looks_like_tar, tar_pieces
from sim.cli.failure import Failure
from sim.cli.untar import unpack


def opened(data: bytes) -> tarfile.TarFile:
    return tarfile.TarFile(fileobj=io.BytesIO(data))


def names(root: Path, file: str = "", text: bytes | None = None) -> tuple[list[str], str, tarfile.TarFile]:
    chunks, name = directory_context(str(root), file, text)
    tar = opened(b"".join(chunks))
    return tar.getnames(), name, tar


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    for path in (
        "Dockerfile",
        "a.md",
        "README.md",
        "src/x.py",
        "src/x.pyc",
        "src/deep/y.pyc",
        "node/m/keep",
        "node/m/no",
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return root


def test_all_of_it(tree: Path) -> None:
    found, name, tar = names(tree)
    assert name == "Dockerfile"
    assert found == sorted(found, key=lambda path: path.split("/"))
    assert {"a.md", "src", "src/deep/y.pyc", "node/m/no"} <= set(found)
    member = tar.extractfile("src/x.py")
    assert member is not None
    assert member.read() == b"src/x.py"


def test_what_is_ignored_stays(tree: Path) -> None:
    (tree / ".dockerignore").write_text("# no\n*.md\n!README.md\n**/*.pyc\nnode/m\n!node/m/keep\nDockerfile\n")
    found, _, _ = names(tree)
    assert found == [".dockerignore", "Dockerfile", "README.md", "node", "node/m/keep", "src", "src/deep", "src/x.py"]


def test_a_dockerfile_from_elsewhere(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "Other"
    other.write_text("FROM scratch")
    found, name, tar = names(tree, str(other))
    assert name.startswith(".dockerfile.")
    assert name in found
    ignored = tar.extractfile(".dockerignore")
    assert ignored is not None
    assert name in ignored.read().decode().splitlines()
    assert names(tree, "-", b"FROM x")[1].startswith(".dockerfile.")


def test_a_dockerfile_below(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert names(Path("."), "src/x.py")[1] == "src/x.py"
    monkeypatch.chdir(tree.parent)
    assert names(Path("context"), "context/src/x.py")[1] == "src/x.py"


@pytest.mark.parametrize("line", ["[", "!"])
def test_patterns_that_are_none(tree: Path, line: str) -> None:
    (tree / ".dockerignore").write_text(line)
    with pytest.raises(Failure, match="error checking context"):
        names(tree)


def test_no_dockerfile(tree: Path) -> None:
    (tree / "Dockerfile").unlink()
    with pytest.raises(Failure, match=r"unable to evaluate symlinks in Dockerfile path: lstat .*/Dockerfile"):
        names(tree)


def test_links_sockets_and_odd_names(tree: Path) -> None:
    os.link(tree / "a.md", tree / "hard")
    os.symlink("/etc/passwd", tree / "out")
    os.mkfifo(tree / "fifo")
    (tree / os.fsdecode(b"\xff\n")).write_text("odd")
    (tree / ("long" * 40)).write_text("long")
    found, _, tar = names(tree)
    assert tar.getmember("hard").islnk()
    assert tar.getmember("out").linkname == "/etc/passwd"
    assert tar.getmember("fifo").isfifo()
    assert os.fsdecode(b"\xff\n") in found
    assert "long" * 40 in found


def test_a_file_that_shrinks_while_it_is_sent(tree: Path) -> None:
    (tree / "a.md").write_bytes(bytes(1 << 20))
    chunks = tar_pieces(["a.md", "README.md"], {}, str(tree))
    data = next(chunks) + next(chunks)
    os.truncate(tree / "a.md", 0)
    tar = opened(data + b"".join(chunks))
    assert tar.getmember("a.md").size == 1 << 20
    assert tar.getnames() == ["a.md", "README.md"]


def test_what_looks_like_a_tar() -> None:
    data = b"".join(tar_pieces([], {"Dockerfile": b"FROM x"}))
    assert looks_like_tar(data)
    assert len(data) == 2048
    assert looks_like_tar(b"\x1f\x8b\x08....")
    assert not looks_like_tar(b"FROM busybox\n" + bytes(600))


def archive(*members: tuple[str, bytes, str]) -> list[bytes]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime = kind, 0o4751 if kind == tarfile.REGTYPE else 0o755, 1000
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                member.linkname = content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
    data = stream.getvalue()
    return [data[at : at + 700] for at in range(0, len(data), 700)]


D, F, S, L = tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def test_unpack(tmp_path: Path) -> None:
    root = tmp_path / "new"
    unpack(archive(("x", D, ""), ("x/f", F, "hi"), ("x/l", S, "f"), ("x/h", L, "x/f"), ("x/s/t", F, "deep")), str(root))
    assert (root / "f").read_text() == "hi"
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o4751
    assert os.readlink(root / "l") == "f"
    assert (root / "h").samefile(root / "f")
    assert (root / "s/t").read_text() == "deep"
    assert root.stat().st_mtime == 1000


def test_a_file_takes_the_place_of_a_link_not_of_what_it_leads_to(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "link").symlink_to(other)
    unpack(archive(("f", F, "theirs")), str(tmp_path / "link"))
    assert other.read_text() == "mine"
    assert (tmp_path / "link").read_text() == "theirs"


@pytest.mark.parametrize(
    "members",
    [
        [("x/../../evil", F, "bad")],
        [("x", D, ""), ("x/out", S, ".."), ("x/out/evil", F, "bad")],
        [("x", D, ""), ("x/out", S, "/tmp"), ("x/out/evil", F, "bad")],
        [("x", D, ""), ("x/evil", L, "../../secret")],
        [("x", D, ""), ("x/out", S, ".."), ("x/evil", L, "x/out/secret")],
    ],
    ids=["dots", "a link up", "a link away", "a hard link up", "a hard link through a link"],
)
def test_nothing_leads_out(tmp_path: Path, members: list[tuple[str, bytes, str]]) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(Failure):
        unpack(archive(*members), str(tmp_path / "root"))
    assert not (tmp_path / "evil").exists()
    assert not Path("/tmp/evil").exists()


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be read"):
        unpack([b"nonsense" * 100], str(tmp_path / "x"))
