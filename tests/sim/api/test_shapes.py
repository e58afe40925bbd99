"""How images, progress and builds are shown and read, in each version of the API."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.api.build import options_of
from sim.api.exchange import Request
from sim.api.imageshapes import configuration_document, history_document, image_document, list_entry
from sim.api.progress import error_line, progress_line
from sim.engine import BadParameterError, Engine, units
from sim.engine.errors import NotImplementedHereError
from sim.images import Image, file, image_from_layers, image_on
from sim.images.progress import Progress, Stage
from sim.images.registry import Credentials


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Return an engine with an empty data root."""
    with Engine(tmp_path / "root") as one:
        yield one


def asked(headers: dict[str, str] | None = None, **query: str) -> Request:
    """Return a request with a query."""
    return Request("POST", "/", (1, 50), headers or {}, iter(()), lambda call: contextlib.nullcontext(),
                   urlencode(query))  # fmt: skip


# -- images


def test_an_image_in_a_list(engine: Engine) -> None:
    layer = engine.store.add_entries([file("/a", "hello")])
    image = image_from_layers(engine.store, [layer], created="2024-01-01T00:00:00Z")
    new, old = list_entry(image, (1, 50)), list_entry(image, (1, 24))
    assert (new["RepoTags"], new["RepoDigests"]) == ([], [])
    assert (old["RepoTags"], old["RepoDigests"]) == (["<none>:<none>"], ["<none>@<none>"])
    assert (new["Created"], new["Size"], new["SharedSize"], new["Containers"]) == (1704067200, 5, -1, -1)
    assert "VirtualSize" not in new
    assert old["VirtualSize"] == 5


def test_a_configuration_is_whole_in_older_versions() -> None:
    settings = {"Cmd": ["sh"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}}
    assert configuration_document(settings, (1, 50)) == {
        "Env": None, "Cmd": ["sh"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}},
    }  # fmt: skip
    old = configuration_document(settings, (1, 41))
    assert (old["Hostname"], old["Tty"], old["User"], old["Volumes"]) == ("", False, "", None)


def test_history_tells_the_images_that_are_here(engine: Engine) -> None:
    base = image_from_layers(engine.store, [engine.store.add_entries([file("/a", "aa")])], tags=["base:1"])
    step: Image = image_on(engine.store, base, None, settings={"Env": ["A=1"]}, created_by="ENV A=1")
    top = image_on(engine.store, step, [file("/b", "bbb")], tags=["top:1"], created_by="COPY b /b")
    lines = history_document(engine, top)
    assert [(line["Id"], line["Size"], line["Tags"]) for line in lines] == [
        (top.id, 3, ["top:1"]),
        (step.id, 0, None),
        (base.id, 2, ["base:1"]),
    ]
    document = image_document(engine, top, (1, 41))
    assert document["Parent"] == step.id
    assert document["GraphDriver"]["Data"]["UpperDir"] == str(engine.store.layer_directories(top)[0])
    assert document["Metadata"]["LastTagTime"].startswith("20")


# -- progress


@given(st.integers(0, 10**18))
def test_sizes_have_at_most_four_digits(number: int) -> None:
    text = units.size(number)
    assert len(text.rstrip("kMGTPEB").replace(".", "")) <= 4 + text.startswith("0.")


def test_lines_of_progress() -> None:
    digest = "sha256:" + "ab" * 32
    half = progress_line(Progress(Stage.DOWNLOADING, digest, 1000, 2000))
    assert half == {
        "status": "Downloading",
        "progressDetail": {"current": 1000, "total": 2000},
        "progress": f"[{'=' * 25}>{' ' * 24}]      1kB/2kB",
        "id": "abababababab",
    }
    assert progress_line(Progress(Stage.STATUS, text="Digest: x")) == {"status": "Digest: x"}
    mounted = progress_line(Progress(Stage.MOUNTED, digest, text="lab/x"))
    assert mounted is not None
    assert mounted["status"] == "Mounted from lab/x"
    assert error_line("no", 7) == {"errorDetail": {"code": 7, "message": "no"}, "error": "no"}


# -- builds


def test_what_a_build_is_asked_for() -> None:
    who = {"lab.example:5000": {"username": "student", "password": "secret"}}
    header = base64.urlsafe_b64encode(json.dumps(who).encode()).decode()
    options = options_of(
        asked(
            {"x-registry-config": header},
            t="a:1", dockerfile="sub/Dockerfile", buildargs='{"A": "1", "B": null}', labels='{"l": "v"}', nocache="1",
            rm="0", q="true", target="stage", memory="1000000", cpuquota="150000", cpuperiod="100000",
            ulimits='[{"Name": "nofile", "Soft": 1, "Hard": 2}]', cachefrom='["x:1"]',
            extrahosts="a:10.0.0.1,b:10.0.0.2", networkmode="host", platform="linux/amd64", version="1",
            securityopt='["seccomp=unconfined"]',
        )
    )  # fmt: skip
    assert (options.tags, options.dockerfile, options.target) == (("a:1",), "sub/Dockerfile", "stage")
    assert options.buildargs == {"A": "1", "B": None}
    assert (options.labels, options.nocache, options.rm, options.quiet) == ({"l": "v"}, True, False, True)
    assert (options.limits.memory, options.limits.nano_cpus) == (1000000, 1_500_000_000)
    assert [(each.name, each.soft, each.hard) for each in options.ulimits] == [("nofile", 1, 2)]
    assert (options.cachefrom, options.extra_hosts) == (("x:1",), ("a:10.0.0.1", "b:10.0.0.2"))
    assert options.credentials == {"lab.example:5000": Credentials("student", "secret")}


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ({"version": "2"}, NotImplementedHereError),
        ({"buildargs": "["}, BadParameterError),
        ({"buildargs": '{"A": 5}'}, BadParameterError),
        ({"labels": "[]"}, BadParameterError),
        ({"memory": "much"}, BadParameterError),
        ({"isolation": "hyperv"}, BadParameterError),
        ({"securityopt": '["fly"]'}, BadParameterError),
        ({"ulimits": '[{"Name": 1}]'}, BadParameterError),
        ({"cachefrom": "x:1"}, BadParameterError),
    ],
)
def test_builds_that_are_refused(query: dict[str, str], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        options_of(asked(None, **query))


@pytest.mark.parametrize("header", ["", "%%%", "e30", "bm8", base64.b64encode(b'{"a": 5}').decode()])
def test_credentials_that_cannot_be_read_are_nobodys(header: str) -> None:
    assert options_of(asked({"x-registry-config": header})).credentials == {}
