"""Hostile layers: whatever a layer holds, nothing outside the layers is read or changed, and nothing hangs."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusefs import Options, Redirect, UnionFS
from tests.fusefs.strategies import PATHS, operations
from tests.fusefs.worlds import perform

SECRET = b"the host's secret"


def snapshot(place: Path) -> dict[str, tuple[object, ...]]:
    """Return all that a directory tree holds."""
    found: dict[str, tuple[object, ...]] = {}
    for at, directories, files in os.walk(place):
        for name in [*directories, *files]:
            path = os.path.join(at, name)
            status = os.lstat(path)
            content = Path(path).read_bytes() if name in files and not os.path.islink(path) else b""
            found[path] = (status.st_mode, status.st_uid, status.st_mtime_ns, content, tuple(os.listxattr(path)))
    return found


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Return a directory of the host that no layer may lead to."""
    place = tmp_path / "host"
    (place / "c").mkdir(parents=True)
    for name in ("a", "b", "c/a"):
        (place / name).write_bytes(SECRET)
    return place


def stack(tmp_path: Path, **options: Any) -> tuple[Path, Path, UnionFS]:
    """Return two empty layers, the topmost first, and the union on them."""
    for name in ("top", "bottom", "upper", "work"):
        (tmp_path / name).mkdir()
    fs = UnionFS(
        [tmp_path / "top", tmp_path / "bottom"], tmp_path / "upper", tmp_path / "work", options=Options(**options)
    )
    return tmp_path / "top", tmp_path / "bottom", fs


def test_a_symlink_between_directories_hides_what_is_below(tmp_path: Path, host: Path) -> None:
    top, bottom, fs = stack(tmp_path)
    (top / "dir").symlink_to(host)
    (bottom / "dir").mkdir()
    (bottom / "dir" / "inner").write_text("below")
    with fs:
        assert fs.listdir("/") == ["dir"]
        for path in ("/dir/a", "/dir/inner", "/dir/c/a"):
            with pytest.raises(FileNotFoundError):
                fs.read_bytes(path)
        with pytest.raises(FileNotFoundError):
            fs.write_bytes("/dir/new", b"1")
    assert sorted(os.listdir(host)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "redirect", [b"/../host", b"..", b"../host", b"/", b"", b"/c/../../host", b"/link/c", b"a/b", b"/" + b"x" * 300]
)
def test_a_redirect_cannot_lead_out(tmp_path: Path, host: Path, redirect: bytes) -> None:
    top, bottom, fs = stack(tmp_path, redirect=Redirect.ON)
    (top / "dir").mkdir()
    os.setxattr(top / "dir", "trusted.overlay.redirect", redirect)
    (bottom / "link").symlink_to(host)
    (bottom / "c").mkdir()
    with fs:
        with contextlib.suppress(OSError):
            assert fs.listdir("/dir") == []
        assert fs.exists("/c")


def test_redirects_in_a_circle_end(tmp_path: Path) -> None:
    top, bottom, fs = stack(tmp_path)
    for layer in (top, bottom):
        for one, other in (("x", "y"), ("y", "x")):
            (layer / one).mkdir()
            os.setxattr(layer / one, "trusted.overlay.redirect", b"/" + other.encode())
            (layer / one / f"in-{layer.name}-{one}").touch()
    with fs:
        assert fs.listdir("/x") == ["in-bottom-y", "in-top-x"]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", ".wh..wh.", ".wh..wh.plnk", ".wh.nothing"])
def test_odd_marks_hide_no_more_than_their_name(tmp_path: Path, name: str) -> None:
    top, bottom, fs = stack(tmp_path)
    (top / name).touch()
    (top / "kept").touch()
    (bottom / "below").touch()
    with fs:
        assert fs.listdir("/") == ["below", "kept"]
        assert fs.exists("/kept")
        assert not fs.exists("/" + name)


def test_every_form_of_whiteout_is_honoured(tmp_path: Path) -> None:
    top, bottom, fs = stack(tmp_path)
    for name in ("device", "oci", "attribute", "shown"):
        (bottom / name).touch()
    for name in ("trusted", "user", "marked", "open"):
        for layer in (top, bottom):
            (layer / name).mkdir()
        (bottom / name / "old").touch()
    os.mknod(top / "device", 0o020000, 0)
    (top / ".wh.oci").touch()
    (top / "attribute").touch()
    os.setxattr(top / "attribute", "trusted.overlay.whiteout", b"")
    os.setxattr(top, "trusted.overlay.opaque", b"x")
    os.setxattr(top / "trusted", "trusted.overlay.opaque", b"y")
    os.setxattr(top / "user", "user.overlay.opaque", b"y")
    (top / "marked" / ".wh..wh..opq").touch()
    with fs:
        assert fs.listdir("/") == ["marked", "open", "shown", "trusted", "user"]
        assert [name for name in ("marked", "open", "trusted", "user") if fs.listdir("/" + name)] == ["open"]
        for name in ("device", "oci", "attribute", "trusted/old", "user/old", "marked/old"):
            assert not fs.exists("/" + name)


ODD = st.sampled_from([b"", b"y", b"x", b"/host", b"/../host", b"c", b"/a/b", b"..", bytes(29), b"\xff\xfb" * 15])


@settings(max_examples=int(os.environ.get("LAYERLAB_EXAMPLES", "100")), deadline=None,
          suppress_health_check=list(HealthCheck), report_multiple_bugs=False)  # fmt: skip
@given(data=st.data(), steps=st.lists(operations, max_size=20))
def test_random_layers_reach_nothing_outside(data: st.DataObject, steps: list[tuple[Any, ...]]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to write the marks of trusted attributes")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        outside = place / "host"
        (outside / "c").mkdir(parents=True)
        for name in ("a", "b", "c/a"):
            (outside / name).write_bytes(SECRET)
        before = snapshot(outside)
        for layer in ("top", "bottom", "upper", "work"):
            (place / layer).mkdir()
        for layer in ("top", "bottom", "upper"):
            for path in sorted(data.draw(st.sets(st.sampled_from(PATHS), max_size=8))):
                at = place / layer / path
                if not at.parent.is_dir() or at.parent.is_symlink() or os.path.lexists(at):
                    continue
                match data.draw(st.sampled_from(["dir", "dir", "link", "file", "whiteout"])):
                    case "dir":
                        at.mkdir()
                        for key in ("opaque", "redirect", "origin", "nlink", "metacopy", "impure"):
                            if data.draw(st.booleans()):
                                os.setxattr(at, f"trusted.overlay.{key}", data.draw(ODD))
                    case "link":
                        at.symlink_to(
                            data.draw(st.sampled_from([str(outside), "../host", "../../host", "../../../host"]))
                        )
                    case "file":
                        at.write_bytes(b"1")
                        for key in ("origin", "nlink", "metacopy", "redirect"):
                            if data.draw(st.booleans()):
                                os.setxattr(at, f"trusted.overlay.{key}", data.draw(ODD))
                    case _:
                        os.mknod(at, 0o020000, 0)
        options = Options(redirect=data.draw(st.sampled_from(list(Redirect))))
        with UnionFS([place / "top", place / "bottom"], place / "upper", place / "work", options=options) as fs:
            for step in steps:
                result = perform(fs, step)
                assert SECRET not in (result if isinstance(result, bytes) else b"")
        assert snapshot(outside) == before
