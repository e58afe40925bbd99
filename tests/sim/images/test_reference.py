"""References: the grammar of distribution/reference with Docker's defaults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.images.errors import ReferenceError
from sim.images.reference import Reference, is_id_prefix

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("index.docker.io/library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
        ("quay.io/a/b/c", "quay.io/a/b/c:latest", "quay.io/a/b/c:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        (f"ubuntu@{DIGEST}", f"docker.io/library/ubuntu@{DIGEST}", f"ubuntu@{DIGEST}"),
        (f"ubuntu:1@{DIGEST}", f"docker.io/library/ubuntu:1@{DIGEST}", f"ubuntu:1@{DIGEST}"),
        ("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f:latest", "a__b/c--d.e_f:latest"),
        ("Upper.example/app", "Upper.example/app:latest", "Upper.example/app:latest"),
        ("app:" + "t" * 128, "docker.io/library/app:" + "t" * 128, "app:" + "t" * 128),
    ],
)
def test_full_and_familiar(text: str, full: str, familiar: str) -> None:
    found = Reference.parse(text)
    assert (str(found), found.familiar) == (full, familiar)
    assert Reference.parse(full) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ubuntu",
        "ubuntu:",
        "ubuntu:a b",
        "ubuntu:" + "t" * 129,
        "ubuntu@",
        "ubuntu@sha256:abc",
        "ubuntu@sha256:" + "AB" * 32,
        "a//b",
        "/a",
        "a/",
        "-a",
        "a..b",
        "a___b",
        "../../etc/passwd",
        "a" * 256,
        "f" * 64,
        "example.com:port/app",
        "exa mple.com/app",
        "app\n",
        "app:tag\n",
        "\u00fcbung",
        "https://example.com/app",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ReferenceError, match=r"invalid|more than 255"):
        Reference.parse(text)


@given(st.text(max_size=80) | st.text("aA0._-:/@[]", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        found = Reference.parse(text)
    except ReferenceError:
        return
    assert Reference.parse(str(found)) == found
    assert Reference.parse(found.familiar) == found
    assert ".." not in found.path.split("/")


def test_id_prefixes() -> None:
    assert is_id_prefix("f" * 64)
    assert is_id_prefix("sha256:0")
    assert not is_id_prefix("f" * 65)
    assert not is_id_prefix("xyz")
    assert not is_id_prefix("")
