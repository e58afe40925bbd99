"""Images by the docker command: what our daemon says is what Docker's says, once IDs and times are left out."""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemons import Daemon
from tests.dockerd import ReferenceEngine, busybox_tar, reference_engine
from tests.shared import daemon, empty

__all__ = ["daemon", "empty", "reference_engine"]

Engine = Daemon | ReferenceEngine


def said(engine: Engine, *words: str, stdin: bytes = b"") -> tuple[int, str]:
    """Run a command; return its status and what it said, with IDs and times replaced."""
    done = engine.docker(*words, stdin=stdin)
    text = done.stdout.decode() + done.stderr.decode()
    text = re.sub(r"sha256:[0-9a-f]{64}|\b[0-9a-f]{64}\b", "ID", text)
    text = re.sub(r"\b[0-9a-f]{12}\b", "SHORT", text)
    text = re.sub(r"\d+ (?:second|minute)s? ago|Less than a second ago|About a minute ago", "AGO", text)
    text = re.sub(r"invalid filter", "Invalid filter", text)
    text = re.sub(r"[ \t]+", " ", text).strip()
    if words[0] == "images":  # the command goes through the repositories of one image in any order
        text = "\n".join(sorted(text.splitlines()))
    return done.returncode, text


def tar_of(files: dict[str, bytes]) -> bytes:
    """Return a tar with some files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1_600_000_000
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


SMALL = tar_of({"etc/motd": b"hello\n"})

#: Commands that are run on both in turn. What is in braces is the tar on standard input.
TRANSCRIPT: list[tuple[tuple[str, ...], bytes]] = [
    (("import", "-c", 'CMD ["sh"]', "-c", "LABEL team=a", "-m", "a message", "-", "tr/one:1"), SMALL),
    (("images",), b""),
    (("tag", "tr/one:1", "tr/one:2"), b""),
    (("tag", "tr/one:1", "elsewhere.example:5000/tr/one:1"), b""),
    (("images", "tr/one"), b""),
    (("images", "tr/one:2"), b""),
    (("images", "--digests", "--no-trunc"), b""),
    (("images", "-q", "tr/one"), b""),
    (("images", "-f", "label=team=a", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}"), b""),
    (("images", "-f", "label=team=b"), b""),
    (("images", "-f", "reference=*/one:1"), b""),
    (("images", "-f", "reference=tr/*"), b""),
    (("images", "-f", "dangling=true"), b""),
    (("images", "-f", "dangling=perhaps"), b""),
    (("images", "-f", "colour=red"), b""),
    (("images", "-f", "since=none:1"), b""),
    (
        ("image", "inspect", "-f", "{{.RepoTags}} {{.Comment}} {{.Config.Cmd}} {{.Config.Labels}} {{.Os}}", "tr/one:1"),
        b"",
    ),
    (("image", "inspect", "-f", "{{.RootFS.Type}} {{len .RootFS.Layers}} {{.Size}} {{.Parent}}", "tr/one:1"), b""),
    (("history", "tr/one:1"), b""),
    (("history", "--format", "{{.Size}} {{.Comment}} {{.CreatedBy}}", "tr/one:1"), b""),
    (("import", "-", "tr/two"), tar_of({"etc/motd": b"other\n", "a": b"b" * 5000})),
    (("images", "-f", "before=tr/two:latest", "-q"), b""),
    (("images", "-f", "since=tr/one:1", "--format", "{{.Repository}}"), b""),
    (("tag", "tr/two", "tr/one:2"), b""),
    (("images", "tr/one"), b""),
    (("rmi", "tr/one:2"), b""),
    (("rmi", "tr/two:latest"), b""),
    (("rmi", "tr/two:latest"), b""),
    (("rmi", "elsewhere.example:5000/tr/one:1"), b""),
    (("save", "tr/none"), b""),
    (("load",), b""),
    (("load",), tar_of({"x": b"y"})),
    (("import", "-", "tr/Bad"), SMALL),
    (("import", "-c", "FLY away", "-", "tr/bad"), SMALL),
    (("import", "-", "tr/bad"), b"this is no tar"),
    (("tag", "tr/none", "tr/other"), b""),
    (("tag", "tr/one:1", "tr/other@sha256:" + "0" * 64), b""),
    (("image", "inspect", "tr/none"), b""),
    (("history", "tr/none"), b""),
    (("image", "prune", "-f"), b""),
    (("image", "prune", "-a", "-f", "--filter", "label=team=b"), b""),
    (("image", "prune", "-a", "-f", "--filter", "label!=team"), b""),
    (("image", "prune", "-a", "-f", "--filter", "colour=red"), b""),
    (("image", "prune", "-a", "-f", "--filter", "until=24h"), b""),
    (("image", "prune", "-a", "-f"), b""),
    (("images",), b""),
    (("system", "df"), b""),
]

#: What we say otherwise where it fails, and why it is meant to be so.
OTHERWISE = {
    "image": "an inspection says it once, as newer engines do",
    "save": "the tag that was looked for is named",
    "load": "a text that says what is wrong with the archive",
    "import": "a text that says what is wrong with the tar, or with the change, and which there are",
}


def test_the_transcript_is_dockers(daemon: Daemon, reference_engine: ReferenceEngine) -> None:
    found = []
    for words, stdin in TRANSCRIPT:
        ours, theirs = said(daemon, *words, stdin=stdin), said(reference_engine, *words, stdin=stdin)
        if ours != theirs and not (words[0] in OTHERWISE and ours[0] == theirs[0] != 0):
            found.append((words, ours, theirs))
    assert found == [], "\n\n".join(f"{words}:\n{ours[1]}\n-- not --\n{theirs[1]}" for words, ours, theirs in found)


@pytest.mark.parametrize("by", ["name", "id", "short id", "digest of the tag"])
def test_an_image_goes_by_each_of_its_names(daemon: Daemon, reference_engine: ReferenceEngine, by: str) -> None:
    answers = []
    for engine in (daemon, reference_engine):
        identity = engine.docker("import", "-", "rm/x:1", stdin=SMALL).stdout.decode().strip()
        name = {"name": "rm/x:1", "id": identity, "short id": identity[7:19], "digest of the tag": "rm/x@" + identity}[
            by
        ]
        answers.append((said(engine, "rmi", name), said(engine, "images", "-q", "rm/x")))
        engine.docker("rmi", "-f", identity)
    assert answers[0] == answers[1]


def test_an_id_of_two_repositories_is_removed_by_force_only(daemon: Daemon, reference_engine: ReferenceEngine) -> None:
    answers = []
    for engine in (daemon, reference_engine):
        identity = engine.docker("import", "-", "two/x:1", stdin=SMALL).stdout.decode().strip()
        engine.docker("tag", "two/x:1", "two/y:1")
        answers.append([said(engine, "rmi", identity), said(engine, "rmi", "-f", identity)])
    assert answers[0] == answers[1]
    assert "must be forced" in answers[0][0][1]


def test_the_fields_of_an_inspection_are_dockers(daemon: Daemon, reference_engine: ReferenceEngine) -> None:
    import docker

    found = []
    for address, engine in ((daemon.address, daemon), (reference_engine.address, reference_engine)):
        engine.docker("import", "-c", "EXPOSE 80", "-c", "ENV A=b", "-m", "m", "-", "in/x:1", stdin=SMALL)
        client = docker.DockerClient(base_url=address, version="1.41")
        try:
            document = client.api.inspect_image("in/x:1")
            for volatile in ("Id", "Created", "DockerVersion", "GraphDriver", "Metadata"):
                assert document.pop(volatile) is not None
            history = client.api.history("in/x:1")
            for line in history:
                del line["Id"], line["Created"]
            listed = client.api.images(name="in/x")
            for line in listed:
                del line["Id"], line["Created"]
            found.append((document, history, listed))
        finally:
            client.close()
        engine.docker("rmi", "in/x:1")
    assert found[0] == found[1]


def test_a_dangling_image_is_shown_as_each_version_of_the_api_has_it(daemon: Daemon) -> None:
    import docker

    daemon.docker("import", "-", stdin=SMALL)
    for version, tags in (("1.41", ["<none>:<none>"]), ("1.44", [])):
        client = docker.DockerClient(base_url=daemon.address, version=version)
        try:
            assert [image["RepoTags"] for image in client.api.images()] == [tags]
        finally:
            client.close()


# -- there and back


def test_archives_travel_between_the_engines(daemon: Daemon, reference_engine: ReferenceEngine) -> None:
    identity = daemon.busybox("away/bb:1")
    daemon.output("tag", "away/bb:1", "away/bb:2")
    archive = daemon.docker("save", "away/bb:1", "away/bb:2").stdout
    there = reference_engine.docker("load", stdin=archive).stdout.decode().splitlines()
    assert sorted(there) == ["Loaded image: away/bb:1", "Loaded image: away/bb:2"]
    shape = "{{.Id}} {{.Size}} {{json .RootFS}} {{json .RepoTags}} {{json .Config.Cmd}} {{.Created}}"
    ours, theirs = (
        said_plainly(each, "image", "inspect", "-f", shape, "away/bb:1") for each in (daemon, reference_engine)
    )
    assert ours == theirs
    assert identity in ours
    for lines in ("{{.ID}} {{.Size}} {{.CreatedBy}} {{.Comment}}",):
        ours, theirs = (
            said_plainly(each, "history", "--no-trunc", "-H=false", "--format", lines, "away/bb:1")
            for each in (daemon, reference_engine)
        )
        assert ours == theirs

    back = reference_engine.docker("save", "away/bb").stdout
    daemon.output("rmi", "away/bb:1", "away/bb:2")
    assert daemon.output("images", "-q") == ""
    assert sorted(daemon.output("load", stdin=back).splitlines()) == sorted(there)
    assert daemon.output("images", "-q", "--no-trunc").split() == [identity, identity]
    reference_engine.docker("rmi", "away/bb:1", "away/bb:2")


def said_plainly(engine: Engine, *words: str) -> str:
    """Return what a command printed, which must succeed."""
    done = engine.docker(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_built_images_travel_between_the_engines(daemon: Daemon, reference_engine: ReferenceEngine) -> None:
    reference_engine.busybox("chain/base:1")
    dockerfile = (
        b"FROM chain/base:1\nRUN echo one > /one && rm /etc/group\nENV A=1\nRUN echo two > /one; mkdir -p /d/e\n"
    )
    assert reference_engine.docker("build", "-t", "chain/x:1", "-", stdin=dockerfile).returncode == 0
    archive = reference_engine.docker("save", "chain/x:1").stdout
    assert daemon.output("load", stdin=archive) == "Loaded image: chain/x:1"
    shape = "{{.Id}} {{.Size}} {{json .RootFS}} {{json .Config.Env}}"
    ours, theirs = (
        said_plainly(each, "image", "inspect", "-f", shape, "chain/x:1") for each in (daemon, reference_engine)
    )
    assert ours == theirs
    sizes = ("history", "--no-trunc", "-H=false", "--format", "{{.Size}} {{.CreatedBy}}", "chain/x:1")
    ours, theirs = (said_plainly(each, *sizes) for each in (daemon, reference_engine))
    assert ours == theirs
    reference_engine.docker("rmi", "chain/x:1", "chain/base:1")


def test_save_of_several_and_of_whole_repositories(daemon: Daemon, tmp_path: Path) -> None:
    daemon.busybox("several/a:1")
    daemon.output("tag", "several/a:1", "several/a:2")
    daemon.docker("import", "-", "several/b:1", stdin=SMALL)
    target = tmp_path / "all.tar"
    daemon.output("save", "-o", str(target), "several/a", "several/b:1", "several/a:1")
    with tarfile.open(target) as tar:
        listed = tar.extractfile("manifest.json")
        assert listed is not None
        names = [item["RepoTags"] for item in json.load(listed)]
    assert names == [["several/a:1", "several/a:2"], ["several/b:1"]]


def test_a_tag_that_moves_leaves_a_dangling_image(daemon: Daemon) -> None:
    first = daemon.busybox("moving:1")
    daemon.docker("import", "-", "moving:1", stdin=SMALL)
    assert daemon.output("images", "-f", "dangling=true", "--no-trunc", "-q") == first
    assert "<none>" in daemon.output("images")
    removed = daemon.output("image", "prune", "-f")
    assert f"deleted: {first}" in removed


def test_events_tell_what_happened_to_images(daemon: Daemon) -> None:
    since = time.time()
    daemon.busybox("ev/x:1")
    daemon.output("tag", "ev/x:1", "ev/x:2")
    daemon.docker("save", "ev/x:2")
    daemon.output("rmi", "ev/x:1", "ev/x:2")
    until = str(int(time.time()) + 1)  # the command tells seconds only
    told = daemon.output("events", "--since", f"{since:.9f}", "--until", until, "--format", "{{.Type}} {{.Action}}")
    assert told.splitlines() == [f"image {each}" for each in ("import", "tag", "save", "untag", "untag", "delete")]


def test_sizes_in_df_are_exact(daemon: Daemon, reference_engine: ReferenceEngine) -> None:
    daemon.docker("import", "-", "df/x:1", stdin=tar_of({"a": b"x" * 12345, "b": b"y" * 55}))
    daemon.docker("import", "-", "df/y:1", stdin=tar_of({"a": b"x" * 100}))
    daemon.output("volume", "create", "data")
    (daemon.root / "volumes" / "data" / "_data" / "file").write_bytes(b"z" * 777)
    client = daemon.client()
    try:
        usage = client.df()
    finally:
        client.close()
    assert usage["LayersSize"] == 12500
    assert sorted((each["Size"], each["SharedSize"], each["Containers"]) for each in usage["Images"]) == [
        (100, 0, 0),
        (12400, 0, 0),
    ]
    assert [each["UsageData"] for each in usage["Volumes"]] == [{"RefCount": 0, "Size": 777}]


Maker = Callable[[], bytes]


@pytest.mark.parametrize("make", [busybox_tar], ids=["busybox"])
def test_the_same_tar_has_the_same_size_in_both(daemon: Daemon, reference_engine: ReferenceEngine, make: Maker) -> None:
    sizes = []
    for engine in (daemon, reference_engine):
        engine.docker("import", "-", "size/x:1", stdin=make())
        sizes.append(said_plainly(engine, "image", "inspect", "-f", "{{.Size}} {{json .RootFS}}", "size/x:1"))
        engine.docker("rmi", "size/x:1")
    assert sizes[0] == sizes[1]


def test_a_name_that_an_archive_takes_over_is_told_of(daemon: Daemon, reference_engine: ReferenceEngine) -> None:
    found = []
    for engine in (daemon, reference_engine):
        engine.docker("import", "-", "taken/x:1", stdin=SMALL)
        archive = engine.docker("save", "taken/x:1").stdout
        engine.docker("import", "-", "taken/x:1", stdin=tar_of({"other": b"x"}))
        found.append(said(engine, "load", stdin=archive))
        engine.docker("image", "prune", "-a", "-f")
    assert found[0] == found[1]
    assert "renaming the old one with ID ID to empty string" in found[0][1]
