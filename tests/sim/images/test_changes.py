"""`--change`: instructions of a Dockerfile on an image's settings, as Docker's commit and import take them."""

from __future__ import annotations

from typing import Any

import pytest

from sim.images.changes import apply_changes
from sim.images.errors import ImagesError

BASE = {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Labels": {"a": "1"}, "WorkingDir": "/srv"}


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ('CMD ["a", "b"]', "Cmd", ["a", "b"]),
        ("CMD echo $HOME", "Cmd", ["/bin/sh", "-c", "echo $HOME"]),
        ('cmd ["not json', "Cmd", ["/bin/sh", "-c", '["not json']),
        ("ENV A=1 B='x y' PATH=/usr/bin", "Env", ["PATH=/usr/bin", "A=1", "B=x y"]),
        ("ENV OLD form here", "Env", ["PATH=/bin", "OLD=form here"]),
        ('LABEL b="2 3" a=4', "Labels", {"a": "4", "b": "2 3"}),
        (
            "EXPOSE 80 53/udp 8000-8002/TCP",
            "ExposedPorts",
            {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}},
        ),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ('VOLUME ["/a b"]', "Volumes", {"/a b": {}}),
        ("WORKDIR sub/../dir", "WorkingDir", "/srv/dir"),
        ("WORKDIR /abs", "WorkingDir", "/abs"),
        ("USER 1000:1000", "User", "1000:1000"),
        ("STOPSIGNAL SIGINT", "StopSignal", "SIGINT"),
        ("ONBUILD RUN true", "OnBuild", ["RUN true"]),
        ('SHELL ["/bin/ash", "-c"]', "Shell", ["/bin/ash", "-c"]),
        ("HEALTHCHECK NONE", "Healthcheck", {"Test": ["NONE"]}),
        (
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f http://x",
            "Healthcheck",
            {"Test": ["CMD-SHELL", "curl -f http://x"], "Interval": 90_000_000_000, "Retries": 3},
        ),
    ],
)
def test_changes(change: str, field: str, value: Any) -> None:
    found = apply_changes(BASE, [change])
    assert found[field] == value
    assert {key: item for key, item in found.items() if key != field} == {
        key: item for key, item in BASE.items() if key != field
    }


def test_an_entrypoint_forgets_the_command_unless_it_came_with_it() -> None:
    assert "Cmd" not in apply_changes(BASE, ['ENTRYPOINT ["a"]'])
    assert apply_changes(BASE, ['CMD ["b"]', 'ENTRYPOINT ["a"]'])["Cmd"] == ["b"]
    assert apply_changes(BASE, ['SHELL ["ash"]', "ENTRYPOINT x"])["Entrypoint"] == ["ash", "x"]


@pytest.mark.parametrize(
    "change",
    [
        *("RUN true", "", "CMD", "ENV A", "ENV A=1 B", "ENV 'A=1", "EXPOSE x", "EXPOSE 0", "EXPOSE 9-8", "SHELL sh"),
        *(
            "USER a b",
            "ONBUILD FROM x",
            "HEALTHCHECK now",
            "HEALTHCHECK --interval=soon CMD x",
            "HEALTHCHECK --x=1 CMD x",
        ),
    ],
)
def test_refused(change: str) -> None:
    with pytest.raises(ImagesError) as caught:
        apply_changes(BASE, [change])
    assert repr(change) in str(caught.value)
