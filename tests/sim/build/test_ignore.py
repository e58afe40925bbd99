"""`.dockerignore`: a table of patterns, and the docker command as the judge of whole lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.build import BuildMessage, BuildOptions, build
from sim.build.errors import DockerfileError
from sim.build.ignore import IgnoreList, has_wildcards, wildcard
from tests.dockerd import ReferenceEngine
from tests.sim.build.worlds import Builds


@pytest.mark.parametrize(
    ("lines", "path", "excluded"),
    [
        (["a"], "a", True),
        (["a"], "a/b/c", True),
        (["a"], "b/a", False),
        (["*"], "a/b", True),
        (["*/b"], "a/b", True),
        (["*/b"], "a/c/b", False),
        (["**/b"], "a/c/b", True),
        (["**/b"], "b", True),
        (["a/**"], "a/b/c", True),
        (["a/**"], "a", False),
        (["a/**/c"], "a/c", True),
        (["a/**/c"], "a/b/b/c", True),
        (["**"], "a", True),
        (["a?"], "ab", True),
        (["a?"], "a/", False),
        (["a[b-d]"], "ac", True),
        (["a[^b-d]"], "ac", False),
        (["a\\*"], "a*", True),
        (["a\\*"], "ab", False),
        (["/a"], "a", True),
        (["./a/"], "a", True),
        (["a/../b"], "b", True),
        (["#a", "a"], "#a", False),
        (["  a  "], "a", True),
        (["a", "!a/b"], "a/b", False),
        (["a", "!a/b"], "a/c", True),
        (["a", "!a/b", "a/b/c"], "a/b/c", True),
        (["!a", "a"], "a", True),
        (["*.md", "!README*", "README-secret.md"], "README-secret.md", True),
        (["*.md", "!README*", "README-secret.md"], "README.md", False),
        (["a.b"], "axb", False),
        (["a+"], "aa", False),
        (["ü*"], "über", True),
    ],
)
def test_patterns(lines: list[str], path: str, excluded: bool) -> None:
    assert IgnoreList(lines).excludes(path) is excluded


@pytest.mark.parametrize("line", ["[", "a[", "a[b-", "a[]", "a\\", "[b-a]", "!"])
def test_what_is_no_pattern(line: str) -> None:
    with pytest.raises(DockerfileError):
        IgnoreList([line])


@given(st.text(alphabet="a*?[]\\^-/.!", max_size=12), st.text(alphabet="ab/", min_size=1, max_size=6))
def test_any_line_is_read_or_refused(line: str, path: str) -> None:
    try:
        IgnoreList([line]).excludes(path)
    except DockerfileError:
        return
    wildcard(line)


def test_wildcards_of_sources() -> None:
    assert [has_wildcards(text) for text in ("a*", "a?", "[a]", "a\\*", "a")] == [True, True, True, False, False]
    found = wildcard("a/*.t?t")
    assert found is not None
    assert found.fullmatch("a/x.txt")
    assert not found.fullmatch("a/b/x.txt")
    assert wildcard("a[") is None


_FILES = (
    *("a.md", "README.md", "README-secret.md", "src/a.py", "src/a.pyc", "src/deep/er/b.pyc", "src/deep/keep.me"),
    *("node_modules/x/y.js", "node_modules/z.js", "build/out", "build/keep/this", ".git/config", "dir.d/file"),
)

LISTS = (
    "*.md\n!README*\nREADME-secret.md\n.dockerignore\n",
    "**/*.pyc\n.git\nnode_modules\nDockerfile\n",
    "build\n!build/keep\nsrc/deep/**\n!src/deep/keep.me\n",
    "*\n!src\nsrc/*/\n",
    "**\n!**/keep*\n",
    "# nothing\n\n/src/\n./build\n!src/deep/er\ndir?d\n",
    "src/**/b.pyc\n[a-m]*\n!node_modules/z.js\nnode_modules/x\n",
)


@pytest.mark.usefixtures("overlayfs")
def test_lists_mean_what_the_docker_command_makes_of_them(
    builds: Builds, reference_engine: ReferenceEngine, tmp_path: Path
) -> None:
    reference_engine.busybox()
    text = "FROM busybox\nCOPY . /x/\nRUN cd /x && find . ! -name . | sort | sed s/^/FOUND/\n"
    for number, lines in enumerate(LISTS):
        place = tmp_path / str(number)
        for name in _FILES:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(name)
        (place / "Dockerfile").write_text(text)
        (place / ".dockerignore").write_text(lines)
        done = reference_engine.docker("build", "--no-cache", str(place))
        assert done.returncode == 0, done.stderr.decode()
        told: list[BuildMessage] = []
        build(builds.store, place, BuildOptions(nocache=True), runner=builds.runner, output=told.append)
        ours = "".join(message.text for message in told)
        assert re.findall("FOUND.*", ours) == re.findall("FOUND.*", done.stdout.decode()), lines
