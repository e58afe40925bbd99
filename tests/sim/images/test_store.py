"""The store: what lies in it, names, removal as Docker does it, collection, and several processes at once."""

from __future__ import annotations

import itertools
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.images import (
    AmbiguousError,
    ConflictError,
    Image,
    LayerTarError,
    NotFoundError,
    Reference,
    Store,
    StoreError,
    TooManyLayersError,
    directory,
    file,
    hardlink,
    image_from_layers,
    image_on,
    opaque,
    whiteout,
)
from sim.images.accounting import account, disk_usage
from sim.images.create import layers_configuration
from sim.images.digest import chain_ids, of_bytes
from sim.images.removal import Removed, Use, prune, remove
from sim.images.selection import select

TIME = "2024-05-01T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def make(store: Store, *texts: str, tags: tuple[str, ...] = (), **options: Any) -> Image:
    """Make an image with one layer for each text; the same text gives the same layer."""
    layers = [store.add_entries([file(f"/{text}", text * 10)]) for text in texts]
    return image_from_layers(store, layers, tags=tags, **options)


def untagged(name: str) -> Removed:
    return Removed(untagged=name)


def deleted(*digests: str) -> list[Removed]:
    return [Removed(deleted=digest) for digest in digests]


def on_disk(store: Store) -> int:
    """Measure what the unpacked layers take, with nothing but the system's own calls."""
    total, seen = 0, set()
    for here, folders, files in os.walk(store.root / "layers"):
        for name in folders + files:
            status = os.lstat(os.path.join(here, name))
            if not stat.S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total


# -- content


def test_the_same_input_gives_the_same_digests(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        with Store(tmp_path / name) as store:
            base = make(store, "a", "b", settings={"Env": ["A=1"]})
            top = image_on(store, base, [file("/c", "c"), whiteout("/a")], created=TIME)
            found.append((base.id, top.id, top.manifest.digest))
    assert found[0] == found[1]


def test_a_layer_is_on_disk_once(store: Store) -> None:
    images = [make(store, "shared", text) for text in "abcdefghij"]
    assert len(list((store.root / "layers").iterdir())) == 11
    assert {image.layers[0].path for image in images} == {images[0].layers[0].path}


def test_layer_directories_are_topmost_first(store: Store) -> None:
    image = make(store, "a", "b", "c", "a")
    names = [sorted(os.listdir(path)) for path in store.layer_directories(image)]
    assert names == [["a"], ["c"], ["b"]]
    hiding = store.add_entries([opaque("/"), file("/only")])
    image = image_from_layers(store, [store.add_entries([file("/below")]), hiding])
    assert store.layer_directories(image) == (hiding.path,)


def test_it_is_an_oci_layout(store: Store) -> None:
    image = make(store, "a", tags=("app:1", "app:2"))
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((store.root / "index.json").read_bytes())
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]]
    assert names == ["docker.io/library/app:1", "docker.io/library/app:2"]
    for path in store.blobs.directory.iterdir():
        assert of_bytes(path.read_bytes()) == "sha256:" + path.name
    assert index["manifests"][0]["digest"] == image.manifest.digest


def test_127_layers_and_no_more(store: Store) -> None:
    layer = store.add_entries([file("/a")])
    image = image_from_layers(store, [layer] * 127)
    with pytest.raises(TooManyLayersError, match="128 layers, at most 127"):
        image_on(store, image, [file("/b")])
    with pytest.raises(TooManyLayersError, match="at most 127"):
        image_from_layers(store, [layer] * 128)
    assert image_on(store, image, None).layers[-1] == layer


def test_a_damaged_tar_leaves_nothing(store: Store) -> None:
    with pytest.raises(LayerTarError):
        store.add_tar([b"no tar" * 500])
    store.collect()
    assert not list((store.root / "layers").iterdir())
    assert not list(store.blobs.ingest.iterdir())


def test_a_layer_without_a_record_is_measured(store: Store) -> None:
    layer = store.add_entries([file("/a", "12345"), directory("/d")])
    with store.records.change() as change:
        change.execute("DELETE FROM layer")
    assert store.layer(layer.diff_id) == layer


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path) as store, store.records.change() as change:
        change.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer version"):
        Store(tmp_path)


def test_a_store_that_survives_power_cuts_works_alike(tmp_path: Path) -> None:
    with Store(tmp_path / "a", sync=True) as durable, Store(tmp_path / "b") as plain:
        assert make(durable, "a", "b", tags=("app",)).id == make(plain, "a", "b", tags=("app",)).id
        assert len(remove(durable, "app")) == 4
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_the_umask_leaves_no_trace(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with Store(tmp_path / "store") as store:
            layer = store.add_entries([file("/implied/by/file", "x"), directory("/told", 0o751)])
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((layer.path / name).stat().st_mode) for name in ("", "implied", "implied/by", "told")}
    assert modes == {"": 0o755, "implied": 0o755, "implied/by": 0o755, "told": 0o751}
    assert stat.S_IMODE(store.blobs.path(layer.diff_id).stat().st_mode) == 0o644


# -- names


def test_names_resolve(store: Store) -> None:
    image = make(store, "a", tags=("app:1",))
    for name in ("app:1", "docker.io/library/app:1", image.id, image.id[7:], image.short_id, image.id[:20]):
        assert store.image(name).id == image.id
    for name in ("app", "app:2", "0" * 64, "sha256:" + "0" * 64, "nothing"):
        with pytest.raises(NotFoundError, match="No such image"):
            store.image(name)


def test_ambiguous_prefixes_are_refused(store: Store) -> None:
    images = [make(store, str(number)) for number in range(40)]
    starts = [image.id[7] for image in images]
    digit = next(start for start in starts if starts.count(start) > 1)
    with pytest.raises(AmbiguousError, match="give more digits"):
        store.image(digit)
    with pytest.raises(AmbiguousError):
        remove(store, f"sha256:{digit}")


def test_a_tag_beats_an_id(store: Store) -> None:
    other = make(store, "other")
    named = make(store, "named", tags=(f"{other.id[7:15]}:latest",))
    assert store.image(other.id[7:15]).id == named.id
    assert remove(store, other.id[7:15])[0] == untagged(f"{other.id[7:15]}:latest")
    assert store.image(other.id).id == other.id


def test_tags_move_and_leave_dangling_images(store: Store) -> None:
    first, second = make(store, "a", tags=("app",)), make(store, "b")
    assert not first.dangling
    store.tag(second, "app")
    assert store.image("app").id == second.id
    assert store.image(first.id).dangling
    assert [image.id for image in select(store.images(), dangling=True)] == [first.id]


def test_intermediate_images_are_kept_apart(store: Store) -> None:
    base = make(store, "a", tags=("base",))
    step = image_on(store, base, [file("/s")], created=TIME)
    final = image_on(store, step, [file("/f")], created=TIME, tags=["final"])
    assert {image.id for image in store.images()} == {base.id, final.id}
    assert {image.id for image in store.images(intermediate=True)} == {base.id, step.id, final.id}
    assert final.parent == step.id


def test_selection(store: Store) -> None:
    times = ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000000001Z", "2024-01-01T02:00:00+01:00"]
    names = ["team/app:1", "app:1", "app:2"]
    images = [
        make(store, text, tags=(name,), created=time, settings={"Labels": {"n": text}})
        for text, name, time in zip("abc", names, times, strict=True)
    ]

    def chosen(**filters: Any) -> str:
        return "".join(image.labels["n"] for image in select(store.images(), **filters))

    assert chosen() == "cba"
    assert chosen(since=images[0]) == "cb"
    assert chosen(before=images[2]) == "ba"
    assert chosen(reference=["app"]) == "cb"
    assert chosen(reference=["*/app"]) == "a"
    assert chosen(reference=["a*:[13]"]) == "b"
    assert chosen(reference=["*:1"]) == "b"
    assert chosen(label=["n=a"]) == "a"
    assert chosen(without_label=["n=a"]) == "cb"
    assert chosen(label=["m"]) == ""
    assert chosen(until="2024-01-01T00:00:01Z") == "ba"


# -- removal


def test_untag_then_delete(store: Store) -> None:
    image = make(store, "a", "b", tags=("app:1", "app:2"))
    assert remove(store, "app:1") == [untagged("app:1")]
    chain = chain_ids(image.diff_ids)
    assert remove(store, "app:2") == [untagged("app:2"), *deleted(image.id, chain[1], chain[0])]
    assert list((store.root / "layers").iterdir()) == []
    assert list(store.blobs.directory.iterdir()) == []


def test_layers_go_until_something_depends_on_them(store: Store) -> None:
    one = make(store, "a", "b", "c", tags=("one",))
    make(store, "a", "x", tags=("two",))
    chain = one.chain_ids
    assert remove(store, "one") == [untagged("one:latest"), *deleted(one.id, chain[2], chain[1])]
    assert store.has_layer(one.diff_ids[0])
    assert not store.has_layer(one.diff_ids[1])


def test_removal_by_id(store: Store) -> None:
    image = make(store, "a", tags=("one:1",))
    assert remove(store, image.short_id)[0] == untagged("one:1")
    image = make(store, "a", tags=("one:1", "two:1"))
    with pytest.raises(ConflictError, match=r"must be forced\) - image is referenced in multiple repositories"):
        remove(store, image.id)
    assert store.image("one:1").id == store.image("two:1").id == image.id
    removed = remove(store, image.id, force=True)
    assert removed[:2] == [untagged("one:1"), untagged("two:1")]


def test_digests_go_with_the_last_tag_of_their_repository(store: Store) -> None:
    image = make(store, "a", tags=("app:1", "app:2"))
    digest = Reference.parse("app").with_digest(image.manifest.digest)
    store.add_manifest(image.manifest, digests=[digest])
    assert remove(store, "app:1") == [untagged("app:1")]
    assert remove(store, "app:2")[:2] == [untagged("app:2"), untagged(digest.familiar)]
    assert store.images() == []


def test_used_images_stay(store: Store) -> None:
    image = make(store, "a", "b", tags=("app",))
    stopped, running = Use("c" * 64, image.id, False), Use("d" * 64, image.id, True)
    with pytest.raises(
        ConflictError,
        match=r'unable to remove repository reference "app:latest" \(must force\) - container c{12} is using',
    ):
        remove(store, "app", uses=[stopped])
    with pytest.raises(ConflictError, match=r"must be forced.*stopped container c{12}"):
        remove(store, image.id, uses=[stopped])
    with pytest.raises(ConflictError, match=r"cannot be forced.*running container d{12}"):
        remove(store, image.id, uses=[running], force=True)
    assert store.image("app").id == image.id
    store.tag(image, "second")
    assert remove(store, "second", uses=[running]) == [untagged("second:latest")]
    store.tag(image, "third")
    assert remove(store, "third", uses=[running], force=True) == [untagged("third:latest")]
    store.hold("c" * 64, image)
    removed = remove(store, image.id, uses=[stopped], force=True)
    assert removed == [untagged("app:latest"), *deleted(image.id)]  # the container still needs the layers
    assert all(path.is_dir() for path in (layer.path for layer in image.layers))
    store.release("c" * 64)
    store.collect()
    assert not any(layer.path.exists() for layer in image.layers)


def test_parents_go_with_their_last_child(store: Store) -> None:
    base = make(store, "a", tags=("base",))
    step = image_on(store, base, [file("/s")], created=TIME)
    final = image_on(store, step, [file("/f")], created=TIME, tags=["final"])
    with pytest.raises(ConflictError, match=r"cannot be forced.*dependent child images"):
        remove(store, step.id, force=True)
    assert remove(store, "base") == [untagged("base:latest")]  # it stays, unnamed, because others were built on it
    assert store.image(base.id).intermediate
    store.tag(base.id, "base")
    chain = final.chain_ids
    assert remove(store, "final") == [
        untagged("final:latest"),
        *deleted(final.id, chain[2], step.id, chain[1]),
    ]
    assert [image.id for image in store.images(intermediate=True)] == [base.id]


def test_prune(store: Store) -> None:
    kept = make(store, "kept", tags=("kept",))
    used = make(store, "used")
    loose = make(store, "loose", settings={"Labels": {"keep": "no"}})
    uses = [Use("c" * 64, used.id, False)]
    assert not prune(store, uses=uses, wanted=lambda image: "keep" not in image.labels).removed
    pruned = prune(store, uses=uses)
    assert list(pruned.removed) == deleted(loose.id, loose.diff_ids[0])
    assert pruned.collected.layer_bytes == loose.size == 50
    assert {image.id for image in store.images()} == {kept.id, used.id}
    assert untagged("kept:latest") in prune(store, everything=True, uses=uses).removed
    assert [image.id for image in store.images()] == [used.id]


# -- collection


def test_a_lease_keeps_content(store: Store) -> None:
    with Store(store.root) as other, other.lease() as lease:
        layer = other.add_entries([file("/a", "text")], lease)
        assert store.collect().layers == 0
        assert layer.path.is_dir()
    assert store.collect().layers == 1


def test_leftovers_of_the_dead_are_collected(store: Store) -> None:
    dead = store.blobs.ingest / "0123456789abcdef-00"
    (dead / "deep" / "er").mkdir(parents=True)
    (store.blobs.ingest / "0123456789abcdef-01").write_text("half a blob")
    (store.root / "leases" / "0123456789abcdef").touch()
    (store.root / "trash" / "old").mkdir()
    living = store.blobs.writer(store.lease().name)
    store.collect()
    assert len(list(store.blobs.ingest.iterdir())) == 1
    assert not (store.root / "trash" / "old").exists()
    living.close()


def test_collecting_while_others_add(tmp_path: Path) -> None:
    stop = threading.Event()
    problems: list[BaseException] = []

    def collect() -> None:
        with Store(tmp_path) as store:
            while not stop.is_set():
                store.collect()

    def add(number: int) -> None:
        try:
            with Store(tmp_path) as store:
                for turn in range(8):
                    with store.lease() as lease:
                        layers = [
                            store.add_entries([file("/f", f"{number} {turn % 2}")], lease),
                            store.add_entries([file("/shared", "s")], lease),
                        ]
                        image = image_from_layers(store, layers, tags=[f"i{number}"], lease=lease)
                    assert all((layer.path).is_dir() for layer in store.image(image.id).layers)
                    remove(store, f"i{number}")
        except BaseException as problem:
            problems.append(problem)

    collector = threading.Thread(target=collect)
    adders = [threading.Thread(target=add, args=(number,)) for number in range(3)]
    for thread in (collector, *adders):
        thread.start()
    for thread in adders:
        thread.join()
    stop.set()
    collector.join()
    assert problems == []
    with Store(tmp_path) as store:
        assert store.images() == []
        store.collect()
        assert list((store.root / "layers").iterdir()) == []


# -- accounting

stacks = st.lists(st.lists(st.sampled_from("abcdef"), min_size=0, max_size=5), min_size=0, max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stacks, st.data())
def test_unique_and_shared_are_what_is_on_disk(
    tmp_path_factory: pytest.TempPathFactory, given_stacks: list[list[str]], data: st.DataObject
) -> None:
    with Store(tmp_path_factory.mktemp("store")) as store:
        images = {}
        for number, stack in enumerate(given_stacks):
            image = make(
                store,
                *stack,
                tags=(f"i{number}",),
                comment=str(number),
                created_by=str(number),
                settings={"User": str(number)},
            )
            images[image.id] = image
        removed = data.draw(st.sets(st.sampled_from(sorted(images)))) if images else set()
        for identity in removed:
            remove(store, identity, force=True)
            del images[identity]
        accounts = account(list(images.values()))
        assert sum(item.unique for item in accounts.images) + accounts.shared == on_disk(store) == accounts.total
        for item in accounts.images:
            assert item.shared + item.unique == item.size == images[item.id].size
        if images:
            gone = data.draw(st.sampled_from(sorted(images)))
            unique = next(item.unique for item in accounts.images if item.id == gone)
            usage = disk_usage(store, used=set(images) - {gone})
            assert usage.reclaimable == unique
            before = on_disk(store)
            remove(store, gone, force=True)
            assert before - on_disk(store) == unique


def test_hard_links_and_marks_in_the_accounts(store: Store) -> None:
    layer = store.add_entries([file("/a", "12345"), hardlink("/b", "/a"), whiteout("/c"), directory("/d")])
    image = image_from_layers(store, [layer])
    assert (image.size, on_disk(store), layer.entries) == (5, 5, 4)
    blobs = {blob.digest: store.blobs.size(blob.digest) for blob in layer.blobs}
    assert layer.compressed_size == min(blobs.values())


def test_order_of_images(store: Store) -> None:
    made = [make(store, text) for text in "abc"]
    assert [image.id for image in store.images()] == [image.id for image in reversed(made)]
    for image, later in itertools.pairwise(made):
        assert image.number < later.number


def test_prune_leaves_what_somebody_is_at_work_with(store: Store) -> None:
    base = make(store, "a", tags=("base",))
    with store.lease() as lease:
        layer = store.add_entries([file("/made", "x")], lease)
        configuration = layers_configuration(base.configuration, [layer], created=TIME)
        made = store.add_image(configuration, parent=base.id, lease=lease)
        assert prune(store).removed == ()
        assert store.image(made.id).id == made.id
    assert [item.deleted for item in prune(store).removed][:1] == [made.id]
