"""The engine without a daemon: one a data root, what it remembers, its volumes, networks, images and events."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.engine import BadParameterError, ConflictError, Engine, NotFoundError, UnavailableError
from sim.engine.addresses import Pool
from sim.engine.errors import ForbiddenError, NotImplementedHereError
from sim.engine.filters import Filters
from sim.engine.networks import NetworkRequest
from sim.images import Image, file, image_from_layers, image_on


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Return an engine with an empty data root."""
    with Engine(tmp_path / "root") as one:
        yield one


def make(engine: Engine, text: str, *tags: str, **settings: object) -> Image:
    """Return an image of one layer."""
    layer = engine.store.add_entries([file("/text", text)])
    return image_from_layers(engine.store, [layer], tags=tags, settings=settings)


# -- the data root


def test_one_engine_a_data_root(engine: Engine) -> None:
    with pytest.raises(UnavailableError, match=rf"another daemon \(process {os.getpid()}\) has this data root"):
        Engine(engine.root)


def test_what_an_engine_remembers(tmp_path: Path) -> None:
    with Engine(tmp_path / "root") as first:
        first.volumes.create("data", labels={"a": "b"})
        made = first.networks.create(NetworkRequest("lan", pools=(Pool("10.1.0.0/16"),), labels={"c": "d"}))
        known = [network.id for network in first.networks.all()]
    with Engine(tmp_path / "root") as second:
        assert second.volumes.get("data").labels == {"a": "b"}
        assert second.networks.get("lan") == made
        assert [network.id for network in second.networks.all()] == known  # the predefined ones are the same too
        assert second.system.id == first.system.id


def test_a_root_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be the data root"):
        Engine(tmp_path / "file")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "engine.db").write_text("this is no database, and it is long enough to tell" * 20)
    with pytest.raises(UnavailableError, match="this is no engine's database"):
        Engine(tmp_path / "root")


# -- volumes


@pytest.mark.parametrize("name", ["a", "bad/name", "-x", "a b", "..", "x" * 256, "ä" * 3])
def test_names_of_volumes_that_are_refused(engine: Engine, name: str) -> None:
    with pytest.raises(BadParameterError):
        engine.volumes.create(name)
    assert engine.volumes.all() == []


def test_a_volume_is_made_once(engine: Engine) -> None:
    first = engine.volumes.create("data", labels={"a": "b"})
    (engine.volumes.path("data") / "file").write_text("x" * 10)
    assert engine.volumes.create("data", labels={"other": ""}) == first
    assert engine.volumes.size(first) == 10
    engine.volumes.remove("data")
    assert not (engine.root / "volumes" / "data").exists()
    with pytest.raises(NotFoundError, match="get data: no such volume"):
        engine.volumes.remove("data")
    engine.volumes.remove("data", force=True)


def test_volumes_of_containers(engine: Engine) -> None:
    engine.volumes.use("data", "c1")
    engine.volumes.use("data", "c2")
    nameless = engine.volumes.create()
    engine.volumes.use(nameless.name, "c1")
    with pytest.raises(ConflictError, match=r"remove data: volume is in use - \[c1, c2\]"):
        engine.volumes.remove("data")
    engine.volumes.release("c1", True)
    assert [volume.name for volume in engine.volumes.all()] == ["data"]
    assert engine.volumes.users("data") == ["c2"]
    engine.volumes.release("c2")
    assert engine.volumes.prune(Filters()).names == ()
    assert engine.volumes.prune(Filters({"all": ("1",)})).names == ("data",)


def test_a_removal_that_was_killed_is_finished_or_has_not_begun(tmp_path: Path) -> None:
    with Engine(tmp_path / "root") as engine:
        for name in ("decided", "undecided"):
            engine.volumes.create(name)
            (engine.volumes.path(name) / "file").write_text("x")
            (engine.root / "volumes" / name / "removing").touch()
        with engine.database.change() as change:
            change.execute("DELETE FROM volume WHERE name = 'decided'")
        (engine.root / "volumes" / "strange").mkdir()
    with Engine(tmp_path / "root") as engine:
        assert [volume.name for volume in engine.volumes.all()] == ["undecided"]
        assert sorted(path.name for path in (engine.root / "volumes").iterdir()) == ["strange", "undecided"]
        assert sorted(path.name for path in (engine.root / "volumes" / "undecided").iterdir()) == ["_data"]
        assert (engine.volumes.path("undecided") / "file").read_text() == "x"


def test_populating_keeps_what_there_is(engine: Engine, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir(mode=0o711)
    (source / "file").write_text("x")
    (source / "link").symlink_to("/etc/passwd")
    os.link(source / "file", source / "same")
    os.utime(source / "file", ns=(1, 2))
    engine.volumes.create("data")
    engine.volumes.populate("data", source)
    inside = engine.volumes.path("data")
    assert os.readlink(inside / "link") == "/etc/passwd"
    assert (inside / "same").stat().st_ino == (inside / "file").stat().st_ino
    assert (inside / "file").stat().st_mtime_ns == 2
    assert inside.stat().st_mode & 0o777 == 0o711
    (source / "later").write_text("y")
    engine.volumes.populate("data", source)  # it is not empty any more
    assert not (inside / "later").exists()
    assert engine.volumes.size(engine.volumes.get("data")) == 1 + len("/etc/passwd")


def test_sizes_count_each_inode_once(engine: Engine) -> None:
    volume = engine.volumes.create("data")
    inside = engine.volumes.path("data")
    (inside / "a").mkdir()
    (inside / "a" / "file").write_bytes(b"x" * 1000)
    os.link(inside / "a" / "file", inside / "same")
    assert engine.volumes.size(volume) == 1000


# -- networks


@pytest.mark.parametrize(
    ("wish", "kind"),
    [
        (NetworkRequest(""), BadParameterError),
        (NetworkRequest("host"), ForbiddenError),
        (NetworkRequest("x", driver="host"), ForbiddenError),
        (NetworkRequest("x", driver="overlay"), NotFoundError),
        (NetworkRequest("x", ipam_driver="other"), NotFoundError),
        (NetworkRequest("x", scope="swarm"), UnavailableError),
        (NetworkRequest("x", ipv6=True), NotFoundError),
        (NetworkRequest("x", ipv6=True, pools=(Pool("10.1.0.0/24"),)), NotFoundError),
        (NetworkRequest("x", ipv6=True, pools=(Pool("fd00:9::/64"), Pool("fd00:8::/64"))), ForbiddenError),
        (NetworkRequest("x", config_only=True), NotImplementedHereError),
        (NetworkRequest("x", options={"com.docker.network.driver.mtu": "big"}), BadParameterError),
        (NetworkRequest("x", options={"com.docker.network.bridge.enable_icc": "maybe"}), BadParameterError),
        (NetworkRequest("x", options={"com.docker.network.bridge.name": "n" * 16}), BadParameterError),
        (NetworkRequest("x", pools=(Pool("10.1.0.0"),)), BadParameterError),
    ],
)
def test_networks_that_are_refused(engine: Engine, wish: NetworkRequest, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        engine.networks.create(wish)
    assert [network.name for network in engine.networks.all()] == ["bridge", "host", "none"]


def test_networks_by_name_and_by_the_beginning_of_an_id(engine: Engine) -> None:
    made = engine.networks.create(NetworkRequest("lan"))
    assert engine.networks.get(made.id[:10]) == engine.networks.get("lan") == made
    with pytest.raises(NotFoundError, match="network no not found"):
        engine.networks.get("no")
    with pytest.raises(NotFoundError):
        engine.networks.get("")
    with pytest.raises(ConflictError, match="network with name lan already exists"):
        engine.networks.create(NetworkRequest("lan"))
    assert engine.networks.prune(Filters({"label": ("x",)})) == []
    assert engine.networks.prune(Filters()) == ["lan"]


def test_the_networks_host_and_none_give_no_interface(engine: Engine) -> None:
    for name in ("host", "none"):
        attachment = engine.networks.attach("c" * 64, name, name="con")
        assert attachment.interface is None
        assert attachment.settings["NetworkID"] == engine.networks.get(name).id
        with pytest.raises(ForbiddenError, match="endpoint with name con already exists in network"):
            engine.networks.attach("c" * 64, name, name="con")
    engine.networks.detach("c" * 64)
    assert engine.networks.with_container("c" * 64) == []


def test_two_threads_get_two_subnets(engine: Engine) -> None:
    threads = [
        threading.Thread(target=engine.networks.create, args=(NetworkRequest(f"n{number}"),)) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    subnets = [pool.subnet for network in engine.networks.all() for pool in network.pools]
    assert len(subnets) == len(set(subnets)) == 9


# -- images


def test_images_by_name_in_dockers_words(engine: Engine) -> None:
    image = make(engine, "a", "one:1")
    assert engine.images.get(image.id[7:19]).id == image.id
    with pytest.raises(NotFoundError, match=r"^No such image: two:latest$"):
        engine.images.get("two")
    with pytest.raises(BadParameterError, match="invalid reference format"):
        engine.images.get("Two")


def test_of_an_image_only_the_names_are_shown_that_were_asked_for(engine: Engine) -> None:
    make(engine, "a", "lab/one:1", "lab/one:2", "other:1")
    for pattern, expected in {"lab/*": 2, "lab/one:1": 1, "other": 1, "*": 1, "nothing": 0}.items():
        found = engine.images.all(Filters({"reference": (pattern,)}))
        assert sum(len(image.tags) for image in found) == expected, pattern


@pytest.mark.parametrize("filters", [{"colour": ("red",)}, {"dangling": ("perhaps",)}, {"until": ("soon",)}])
def test_filters_of_images_that_are_refused(engine: Engine, filters: dict[str, tuple[str, ...]]) -> None:
    make(engine, "a", "one:1")
    with pytest.raises(BadParameterError):
        engine.images.all(Filters(filters))


def test_disk_usage(engine: Engine) -> None:
    base = make(engine, "x" * 100, "base:1")
    image_on(engine.store, base, [file("/more", "y" * 10)], tags=["top:1"])
    usage = {each.image.name: (each.image.size, each.shared, each.containers) for each in engine.system.image_usage()}
    assert usage == {"base:1": (100, 100, 0), "top:1": (110, 100, 0)}
    assert engine.system.layers_size() == 110


def test_events_of_images_and_volumes(engine: Engine) -> None:
    image = make(engine, "a", "one:1", Labels={"team": "a"})
    engine.images.tag("one:1", "one", "2")
    engine.images.remove("one:2")
    engine.images.remove(image.id)
    engine.volumes.create("data")
    told = [(event.type, event.action, dict(event.attributes)) for event in engine.events.past(Filters())]
    assert told == [
        ("image", "tag", {"team": "a", "name": "one:2"}),
        ("image", "untag", {"team": "a", "name": image.id}),
        ("image", "untag", {"name": image.id}),
        ("image", "delete", {"name": image.id}),
        ("volume", "create", {"driver": "local"}),
    ]
