"""daemon.json: every complaint says file, line and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.images.daemonjson import DaemonSettings, read_settings, reload_settings
from sim.images.errors import SettingsError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "daemon.json"


def test_all_keys(path: Path) -> None:
    path.write_text(
        json.dumps(
            {
                "registry-mirrors": ["https://mirror.example", "http://127.0.0.1:5000/"],
                "insecure-registries": ["old.example:5000", "10.0.0.0/8"],
                "data-root": "/srv/lab",
                "storage-driver": "devfuse",
                "hosts": ["unix:///run/lab.sock", "tcp://127.0.0.1:2375"],
                "debug": True,
                "labels": ["room=7", "empty="],
                "log-opts": {"max-size": "10m"},
            }
        )
    )
    found = read_settings(path, {"live-restore": True, "hosts": None, "labels": []})
    assert found.labels == ("room=7", "empty=")
    assert found.live_restore
    assert found.log_opts == {"max-size": "10m"}
    registries = found.registries()
    assert [endpoint.base for endpoint in registries.endpoints("docker.io")] == [
        "https://mirror.example",
        "http://127.0.0.1:5000",
        "https://registry-1.docker.io",
    ]
    assert registries.is_insecure("10.1.2.3:80")
    assert registries.is_insecure("localhost:5000")
    assert not registries.is_insecure("old.example:5001")


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("{", {}, r":1: invalid JSON"),
        ('{\n"debug": true,\n"labels": [}', {}, r":3: labels: invalid JSON"),
        ("[]", {}, r":1: it must hold a JSON object"),
        ('{\n\n "debug": "yes"}', {}, r":3: debug: must be true or false"),
        ('{\n "degub": true}', {}, r":2: degub: this is no setting"),
        ('{"debug": true,\n"debug": false}', {}, r":2: debug: the key stands twice, first in line 1"),
        ('{"a":{"debug":1},\n"debug": true}', {}, r":1: a: this is no setting"),
        (
            '{\n"debug": true}',
            {"debug": False},
            r":2: debug: .*both as a flag and in the file \(from flag: false, from file: true",
        ),
        ('{"hosts": ["unix:///a"]}', {"hosts": ["tcp://b"]}, r":1: hosts: .*both as a flag"),
        ('{"registry-mirrors": ["ftp://x"]}', {}, r":1: registry-mirrors: invalid mirror"),
        ('{"registry-mirrors": "https://x"}', {}, r":1: registry-mirrors: must be a list"),
        ('{"insecure-registries": ["http://x"]}', {}, r":1: insecure-registries: .*not valid"),
        ('{"labels": ["novalue"]}', {}, r":1: labels: 'novalue' must be of the form"),
        ('{"labels": ["a=1", "a=2"]}', {}, r":1: labels: the label 'a' stands twice"),
        ('{"log-opts": {"max-file": 3}}', {}, r":1: log-opts: must be an object of texts"),
        ('{"hosts": ["here"]}', {}, r":1: hosts: 'here' is no address"),
        ('{"data-root": ""}', {}, r":1: data-root: must be a text"),
    ],
)
def test_complaints(path: Path, text: str, flags: dict[str, Any], message: str) -> None:
    path.write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        read_settings(path, flags)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


def test_files_that_are_none(path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        read_settings(path)
    assert read_settings(path, must_exist=False) == read_settings(None) == DaemonSettings()
    path.write_bytes(b'{"debug":\n "\xff"}')
    with pytest.raises(SettingsError, match=":2: the file is not UTF-8"):
        read_settings(path)
    path.write_text(" \n")
    assert read_settings(path) == DaemonSettings()
    with pytest.raises(SettingsError, match="--storage-driver: must be a text"):
        read_settings(None, {"storage-driver": ""})


def test_reload(path: Path) -> None:
    old = DaemonSettings(debug=False, data_root="/a", registry_mirrors=("https://a",))
    new = DaemonSettings(debug=True, data_root="/b", hosts=("unix:///x",))
    taken, left = reload_settings(old, new)
    assert taken == DaemonSettings(debug=True, data_root="/a")
    assert left == ("data-root", "hosts")


keys = st.sampled_from(["debug", "labels", "hosts", "log-opts", "data-root", "unknown", "ünï", 'q"uote', "new\nline"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(keys, values, max_size=4), st.sampled_from([None, 1, 4]), st.binary(max_size=3), st.integers(0, 200)
)
def test_any_file_is_read_or_refused_in_one_line(
    path: Path, document: dict[str, Any], indent: int | None, noise: bytes, place: int
) -> None:
    data = json.dumps(document, indent=indent).encode()
    path.write_bytes(data[:place] + noise + data[place:])
    try:
        read_settings(path)
    except SettingsError as error:
        said = str(error)
    else:
        return
    assert said.startswith(f"{path}:")
    assert "\n" not in said
    assert said.removeprefix(f"{path}:").partition(":")[0].isdigit()
