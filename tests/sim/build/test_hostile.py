"""Contexts, archives and images that try to get at the host: nothing of it is read, nothing on it is changed."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from fusefs import UnionFS
from sim.build import BuildError, BuildOptions, LocalRunner, build
from sim.images import Store, image_on, symlink
from tests.sim.build.worlds import Builds, File, Files, context, failure, folder, hard, link, tar

SECRET = "what only the host may know"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a directory of the host that must stay as it is."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text(SECRET)
    return place


def tree(builds: Builds, image: str) -> UnionFS:
    return UnionFS(builds.store.layer_directories(image))


def texts(fs: UnionFS, top: str = "/") -> dict[str, bytes]:
    found = {}
    for name in fs.listdir(top):
        path = f"{top.rstrip('/')}/{name}"
        mode = fs.lstat(path).st_mode
        if mode & 0o170000 == 0o040000:
            found.update(texts(fs, path))
        elif mode & 0o170000 == 0o100000 and not path.startswith("/bin/"):
            found[path] = fs.read_bytes(path)
    return found


def test_links_of_a_context_lead_nowhere_but_into_it(builds: Builds, outside: Path) -> None:
    hostile: Mapping[str, File] = {
        "absolute": link(str(outside / "secret")),
        "climbing": link("../" * 40 + str(outside / "secret").lstrip("/")),
        "directory": link(str(outside)),
        "root": link("/"),
    }
    for source in ("absolute", "climbing", "directory/secret", f"root{outside}/secret"):
        error = failure(builds, f"FROM busybox\nCOPY {source} /x\n", hostile)
        assert "file does not exist" in str(error), source
    result = builds("FROM busybox\nCOPY . /all/\n", hostile)
    with tree(builds, result.image) as fs:
        assert SECRET.encode() not in texts(fs).values()
        assert fs.readlink("/all/absolute") == str(outside / "secret")


def test_a_context_s_links_are_not_written_through(builds: Builds, outside: Path) -> None:
    """A link, then a member below it: in a tar as no client makes one."""
    for target in (str(outside), "../" * 40 + str(outside).lstrip("/")):
        data = context("FROM busybox\n", {"l": link(target), "l/evil": "x"})
        with pytest.raises(BuildError, match=r"open /l/evil: no such file or directory"):
            builds.tar(data)
    data = context("FROM busybox\nCOPY . /x/\n", {"../../../evil": "x", "/also": "y"})
    result = builds.tar(data)
    with tree(builds, result.image) as fs:
        assert {"Dockerfile", "also", "evil"} == set(fs.listdir("/x"))
    assert os.listdir(outside) == ["secret"]


def test_hard_links_of_a_context_stay_in_it(builds: Builds, outside: Path) -> None:
    for target in (str(outside / "secret"), "../" * 40 + str(outside / "secret").lstrip("/")):
        with pytest.raises(BuildError, match="no such file"):
            builds.tar(context("FROM busybox\nCOPY h /h\n", {"h": hard(target)}))


def test_a_context_brings_no_devices(builds: Builds) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("null")
        member.type, member.devmajor, member.devminor = tarfile.CHRTYPE, 1, 3
        archive.addfile(member)
    with pytest.raises(BuildError, match="a device has no place"):
        builds.tar(made.getvalue())


def test_a_context_cannot_hide_files_by_the_union_s_own_marks(builds: Builds) -> None:
    files: Files = {
        "d": File(kind=tarfile.DIRTYPE, mode=0o755, pax={"SCHILY.xattr.trusted.overlay.opaque": "y"}),
        "e": File(kind=tarfile.DIRTYPE, mode=0o755, pax={"SCHILY.xattr.user.overlay.opaque": "y"}),
    }
    result = builds("FROM busybox\nRUN mkdir /d && echo x >/d/mine\nCOPY d /d\nCOPY e /d\n", files)
    with tree(builds, result.image) as fs:
        assert fs.read_bytes("/d/mine") == b"x\n"
    with pytest.raises(BuildError, match=r"\.wh\.mine: operation not permitted"):
        builds("FROM busybox\n", {".wh.mine": "would be a whiteout in the layer's tar"})


def test_links_of_an_image_are_followed_within_it(builds: Builds, store: Store, outside: Path) -> None:
    climbing = "../" * 40 + str(outside).lstrip("/")
    image_on(
        store,
        "busybox",
        [symlink("/abs", str(outside)), symlink("/climb", climbing), symlink("/etc/passwd2", str(outside / "secret"))],
        tags=["hostile"],
    )
    archive = tar({"sub/evil": "x", "file": "y"})
    result = builds(
        "FROM hostile\nCOPY f /abs/\nCOPY f /climb/g\nADD a.tar /abs\nWORKDIR /climb/new\nCOPY f ./\n",
        {"f": "x", "a.tar": archive},
    )
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_text() == SECRET
    with tree(builds, result.image) as fs:
        assert set(fs.listdir(str(outside))) == {"f", "g", "sub", "file", "new"}
    assert "does not exist" in str(failure(builds, "FROM busybox\nCOPY --from=hostile /etc/passwd2 /x\n"))
    assert "does not exist" in str(failure(builds, "FROM busybox\nCOPY --from=hostile /abs/secret /x\n"))


def test_names_in_passwd_are_those_of_the_image(builds: Builds, store: Store, outside: Path) -> None:
    (outside / "passwd").write_text("host:x:4711:4711::/:/bin/sh\n")
    image_on(store, "busybox", [symlink("/etc/passwd", str(outside / "passwd"))], tags=["hostile"])
    error = failure(builds, "FROM hostile\nCOPY --chown=host f /\n", {"f": ""})
    assert "can't find uid for user host" in str(error)


def test_archives_stay_where_they_are_unpacked(builds: Builds, outside: Path) -> None:
    climbing = "../" * 40 + str(outside).lstrip("/")
    hostile: list[Files] = [
        {"l": link(str(outside)), "l/evil": "x"},
        {"l": link(climbing), "l/evil": "x"},
        {"h": hard(climbing + "/secret")},
        {"a": link("."), "a/b": link(".."), "a/b/c": link(".."), "a/b/c/x": link(str(outside)), "a/b/c/x/evil": ""},
    ]
    for members in hostile:
        failure(builds, "FROM busybox\nADD a.tar /t/\n", {"a.tar": tar(members)})
    result = builds("FROM busybox\nADD a.tar /t/\n", {"a.tar": tar({climbing + "/evil": "x", "/etc/passwd": "mine"})})
    with tree(builds, result.image) as fs:
        assert fs.read_bytes("/t/etc/passwd") == b"mine"
        assert b"mine" not in fs.read_bytes("/etc/passwd")
    assert os.listdir(outside) == ["secret"]


def test_damaged_contexts(builds: Builds) -> None:
    whole = context("FROM busybox\nCOPY f /\n", {"f": b"x" * 100_000})
    for data in (
        whole[: len(whole) // 2],
        gzip.compress(whole)[:-2000],
        b"not a tar at all" * 100,
        b"\x1f\x8b" + b"garbage" * 100,
        whole[:512] + b"\xff" * 512 + whole[1024:],
    ):
        with pytest.raises(BuildError):
            builds.tar(data)
    with pytest.raises(BuildError, match="Cannot locate specified Dockerfile"):
        builds.tar(b"")
    assert not os.listdir(builds.store.root / "builds")


def test_a_bomb_is_stopped(tmp_path: Path, base_tar: bytes) -> None:
    from sim.build import context as contexts

    bomb = gzip.compress(tar({"zeros": b"\0" * 50_000_000}))
    before = contexts.LARGEST_CONTEXT
    with Store(tmp_path / "small") as store:
        contexts.LARGEST_CONTEXT = 1_000_000
        try:
            with pytest.raises(BuildError, match="bomb"):
                Builds(store).tar(bomb)
        finally:
            contexts.LARGEST_CONTEXT = before
        assert not os.listdir(store.root / "builds")


def test_the_dockerfile_may_be_a_link_only_within_the_context(builds: Builds, outside: Path) -> None:
    (outside / "Dockerfile").write_text("FROM busybox\nLABEL from=host\n")
    with pytest.raises(BuildError, match="Cannot locate specified Dockerfile"):
        builds.tar(tar({"Dockerfile": link(str(outside / "Dockerfile"))}))
    with pytest.raises(BuildError, match="Cannot locate specified Dockerfile"):
        builds.tar(context("FROM busybox\n"), dockerfile="../" * 40 + str(outside).lstrip("/") + "/Dockerfile")
    result = builds.tar(tar({"d": folder(), "d/D": "FROM busybox\nLABEL a=b\n", "Dockerfile": link("d/D")}))
    assert builds.store.image(result.image).labels == {"a": "b"}


def test_a_directory_as_context_is_not_left_either(builds: Builds, tmp_path: Path, outside: Path) -> None:
    place = tmp_path / "context"
    place.mkdir()
    (place / "Dockerfile").write_text("FROM busybox\nCOPY l /x\n")
    (place / "l").symlink_to(outside / "secret")
    with pytest.raises(BuildError, match="file does not exist"):
        build(builds.store, place, BuildOptions(), runner=LocalRunner(builds.store), output=lambda message: None)


def test_what_runs_sees_nothing_of_the_host(builds: Builds, outside: Path) -> None:
    builds(f"FROM busybox\nRUN ls {outside} 2>&1 || true\nRUN ls /proc/self/fd | wc -l\n")
    assert "No such file" in builds.text
    assert SECRET not in builds.text
