"""What is mounted: words of `-v` and `--mount`, and what is refused of them."""

from __future__ import annotations

import pytest

from sim.engine import BadParameterError
from sim.engine.model import BindOptions, Config, HostConfig, MountPoint, MountWish, Record
from sim.engine.mountwishes import mount_points, parse_bind, parse_tmpfs, subdirectory
from sim.engine.specs import mounts_of
from sim.runtime import Bind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", ("volume", "", "/data", True)),
        ("/a:/b", ("bind", "/a", "/b", True)),
        ("/a/../c/:/b//d/", ("bind", "/c", "/b/d", True)),
        ("/a:/b:ro,rprivate", ("bind", "/a", "/b", False)),
        ("/a:/b:z", ("bind", "/a", "/b", True)),
        ("name:/b:ro", ("volume", "name", "/b", False)),
        ("name:/b:nocopy", ("volume", "name", "/b", True)),
    ],
)
def test_binds(text: str, expected: tuple[str, str, str, bool]) -> None:
    point = parse_bind(text)
    assert (point.type, point.source or point.name, point.destination, point.rw) == expected
    assert point.copies == (point.type == "volume" and "nocopy" not in text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "invalid volume specification: ''"),
        ("a:b:c:d", "invalid volume specification: 'a:b:c:d'"),
        (":/b", "invalid volume specification"),
        ("/a:b", "invalid mount path: 'b' mount path must be absolute"),
        ("/a:/", "invalid specification: destination can't be '/'"),
        ("/a:/b/..", "destination can't be '/'"),
        ("/a:/b:xx", "invalid mode: xx"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
    ],
)
def test_binds_that_make_no_sense(text: str, why: str) -> None:
    with pytest.raises(BadParameterError) as refused:
        parse_bind(text)
    assert why in str(refused.value)


def none(name: str) -> tuple[MountPoint, ...]:
    """Return that there is no other container."""
    raise BadParameterError(f"No such container: {name}")


def test_what_is_asked_for_counts_more_than_what_the_image_says() -> None:
    config = Config(volumes={"/a": {}, "/b": {}, "/c/": {}})
    host = HostConfig(binds=("/x:/a",), tmpfs={"/b": ""})
    points = mount_points(config, host, none)
    assert [(point.type, point.destination) for point in points] == [("bind", "/a"), ("volume", "/c")]


def test_volumes_of_others_may_be_hidden_by_own_ones() -> None:
    theirs = (
        MountPoint(type="volume", name="v", destination="/a"),
        MountPoint(type="bind", destination="/b", source="/s"),
    )
    host = HostConfig(volumes_from=("other:ro",), binds=("/mine:/b",))
    points = {point.destination: point for point in mount_points(Config(), host, lambda name: theirs)}
    assert (points["/a"].name, points["/a"].rw) == ("v", False)
    assert points["/b"].source == "/mine"


def test_two_for_one_place() -> None:
    for host in (
        HostConfig(binds=("/a:/x", "/b:/x/")),
        HostConfig(binds=("/a:/x",), tmpfs={"/x": ""}),
        HostConfig(binds=("/a:/x",), mounts=(MountWish(type="volume", target="/x"),)),
    ):
        with pytest.raises(BadParameterError, match="Duplicate mount point: /x"):
            mount_points(Config(), host, none)


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (MountWish(type="bla", target="/x"), 'invalid mount config for type "bla": mount type unknown'),
        (MountWish(type="bind", source="/"), "field Target must not be empty"),
        (MountWish(type="bind", target="/x"), "field Source must not be empty"),
        (MountWish(type="bind", source="/not/there", target="/x"), "bind source path does not exist: /not/there"),
        (MountWish(type="bind", source="x", target="/x"), "mount path must be absolute"),
        (MountWish(type="tmpfs", source="/x", target="/x"), "field Source must not be specified"),
        (
            MountWish(type="bind", source="/", target="/x", bind_options=BindOptions(read_only_non_recursive=True)),
            "mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive",
        ),
        (
            MountWish(type="bind", source="/", target="/x", bind_options=BindOptions(read_only_force_recursive=True)),
            "mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive",
        ),
        (
            MountWish(
                type="bind",
                source="/",
                target="/x",
                read_only=True,
                bind_options=BindOptions(read_only_force_recursive=True, read_only_non_recursive=True),
            ),
            "mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive",
        ),
    ],
)
def test_mounts_that_make_no_sense(wish: MountWish, why: str) -> None:
    with pytest.raises(BadParameterError) as refused:
        mount_points(Config(), HostConfig(mounts=(wish,)), none)
    assert why in str(refused.value)


def test_tmpfs_options() -> None:
    found = parse_tmpfs("/t", "rw,noexec,nosuid,size=65536k,mode=755,uid=5")
    assert (found.size, found.mode, found.uid, found.executable, found.read_only) == (64 << 20, 0o755, 5, False, False)
    for wrong in ("bla", "size=x", "mode=9"):
        with pytest.raises((BadParameterError, ValueError)):
            parse_tmpfs("/t", wrong)


def test_a_part_of_a_volume_never_leads_out_of_it(tmp_path: object) -> None:
    import os
    from pathlib import Path

    from sim.engine import EngineError

    volume = Path(str(tmp_path)) / "volume"
    (volume / "part").mkdir(parents=True)
    os.symlink("/etc", volume / "out")
    assert subdirectory(str(volume), "part") == str(volume / "part")
    for wrong in ("out", "../..", "missing", "part/../../x"):
        with pytest.raises(EngineError):
            subdirectory(str(volume), wrong)


@pytest.mark.parametrize("alone", [False, True])
def test_what_is_mounted_below_a_bound_directory_stays_away_where_that_is_asked(alone: bool) -> None:
    wish = MountWish(type="bind", source="/", target="/host", bind_options=BindOptions(non_recursive=alone))
    (point,) = mount_points(Config(), HostConfig(mounts=(wish,)), none)
    (bind,) = mounts_of(Record(id="1", name="", created=0, image="", mounts=(point,)))
    assert isinstance(bind, Bind)
    assert bind.recursive is not alone


@pytest.mark.parametrize(
    ("options", "before", "deep"),
    [
        (BindOptions(), False, True),
        (BindOptions(), True, False),
        (BindOptions(read_only_non_recursive=True), False, False),
        (BindOptions(read_only_force_recursive=True), False, True),
    ],
)
def test_how_deep_a_mount_is_read_only(options: BindOptions, before: bool, deep: bool) -> None:
    """Before API 1.44 it never was deeply; since then it is, unless otherwise asked."""
    wish = MountWish(type="bind", source="/", target="/host", read_only=True, bind_options=options)
    host = HostConfig(mounts=(wish,), binds=("/:/root:ro", "/:/other", "v:/volume:ro"))
    points = mount_points(Config(), host, none, shallow=before)
    points = tuple(point for point in points if point.type == "bind")
    binds = {each.target: each for each in mounts_of(Record(id="1", name="", created=0, image="", mounts=points))}
    one, root, other = binds["/host"], binds["/root"], binds["/other"]
    assert isinstance(one, Bind)
    assert isinstance(root, Bind)
    assert isinstance(other, Bind)
    assert one.read_only_recursive is deep
    assert root.read_only_recursive is not before
    assert (other.read_only, other.read_only_recursive) == (False, True)


def test_to_insist_on_it_takes_an_api_that_has_it() -> None:
    options = BindOptions(read_only_force_recursive=True)
    wish = MountWish(type="bind", source="/", target="/host", read_only=True, bind_options=options)
    with pytest.raises(BadParameterError, match=r"BindOptions\.ReadOnlyForceRecursive needs API v1\.44 or newer"):
        mount_points(Config(), HostConfig(mounts=(wish,)), none, shallow=True)
