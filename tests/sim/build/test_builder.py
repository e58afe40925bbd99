"""Builds as a whole: results, documents, modes, limits, squashing, fixed times, many at once, the storage drivers."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fusefs import UnionFS
from sim.build import BuildMessage, BuildOptions, DockerfileError, LocalRunner, MessageKind, build
from sim.images import Store, image_from_layers, import_tar
from sim.runtime import Limits, Rlimit
from tests.conftest import User
from tests.sim.build.worlds import THEN, Builds, File, Files, context, failure, folder, layer_of, link, normal

pytestmark = pytest.mark.usefixtures("overlayfs")


def test_the_result_and_the_messages(builds: Builds) -> None:
    result = builds("FROM busybox\nRUN echo hi\n", tags=("one:1", "two", "one:1"))
    assert result.tags == ("docker.io/library/one:1", "docker.io/library/two:latest")
    assert (result.steps, result.cached) == (2, 0)
    assert result.base == builds.store.image("busybox").id
    assert builds.store.image("one:1").id == result.image
    assert builds.text.splitlines()[-3:] == [
        f"Successfully built {result.image[7:19]}",
        "Successfully tagged one:1",
        "Successfully tagged two:latest",
    ]
    (aux,) = [message for message in builds.messages if message.kind is MessageKind.AUX]
    assert aux.text == result.image


def test_intermediate_images_are_no_dangling_ones(builds: Builds) -> None:
    result = builds("FROM busybox\nENV a=1\nENV b=2\n", tags=("x",))
    shown = {image.id for image in builds.store.images()}
    assert shown == {result.image, builds.store.image("busybox").id}
    assert len(builds.store.images(intermediate=True)) == 3
    assert builds.store.image(result.image).parent in {image.id for image in builds.store.images(intermediate=True)}


def test_a_wrong_tag_is_found_before_anything_is_done(builds: Builds) -> None:
    for tag in ("UPPER", "a@sha256:" + "0" * 64, "a:b:c"):
        assert isinstance(failure(builds, "FROM busybox\n", tags=(tag,)), DockerfileError)
        assert builds.messages == []


def test_documents_of_run(builds: Builds) -> None:
    text = "FROM busybox\nENV x=env\nRUN <<EOF\necho one $x\nfalse\necho two\nEOF\n"
    text += "RUN cat <<A - <<'B'\nplain $x\nA\nquoted $x\nB\n"
    text += "RUN <<EOF\n#!/bin/cat\na\nb\nEOF\n"
    builds(text)
    assert "one env\ntwo\n" in builds.text
    assert "quoted $x\n" in builds.text
    assert "#!/bin/cat\na\nb\n" in builds.text
    builds(text)
    assert builds.steps()[-1] == "cached"
    builds(text.replace("\nb\n", "\nb b\n"))
    assert builds.steps()[-2:] == ["cached", "done"]


def test_a_document_that_fails(builds: Builds) -> None:
    error = failure(builds, "FROM busybox\nRUN <<EOF\nexit 7\nEOF\n")
    assert error.code == 7


def test_documents_of_copy(builds: Builds) -> None:
    result = builds(
        'FROM busybox\nENV x=env\nCOPY <<A <<"B" f /to/\n$x ${nope:-d} "q" \\$x\nA\n$x\nB\n'
        "COPY --chown=5:6 --chmod=750 <<EOF /script\n#!/bin/sh\nEOF\nRUN /script\n",
        {"f": "file"},
    )
    with UnionFS(builds.store.layer_directories(result.image)) as fs:
        assert fs.read_bytes("/to/A") == b'env d "q" $x\n'
        assert fs.read_bytes("/to/B") == b"$x\n"
        assert fs.read_bytes("/to/f") == b"file"
        status = fs.stat("/script")
        assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o750, 5, 6)
    builds('FROM busybox\nENV x=env\nCOPY <<A <<"B" f /to/\n$x ${nope:-d} "q" \\$x\nA\n$x\nB\n', {"f": "file"})
    assert builds.steps() == ["done", "cached", "cached"]


def test_chmod(builds: Builds) -> None:
    files = {"d": folder(0o700), "d/f": File(b"", 0o600), "d/l": link("f")}
    result = builds("FROM busybox\nCOPY --chmod=4711 d /x\nCOPY --chmod=644 d/f /y\n", files)
    layer = layer_of(builds.store.image(result.image).layers[1].path)
    assert {path: entry.mode for path, entry in layer.items()} == {"x": 0o4711, "x/f": 0o4711, "x/l": 0o777}
    for mode in ("9", "u+x", "77777"):
        assert "invalid chmod parameter" in str(failure(builds, f"FROM busybox\nCOPY --chmod={mode} d /x\n", files))


def test_a_directory_as_context(builds: Builds, tmp_path: Path) -> None:
    place = tmp_path / "context"
    (place / "keep/deep").mkdir(parents=True)
    (place / "drop").mkdir()
    for name in ("Dockerfile.other", "keep/a.txt", "keep/b.md", "keep/deep/c.txt", "drop/x", "drop/y", "top.md"):
        (place / name).write_text(name)
    (place / "Dockerfile.other").write_text("FROM busybox\nCOPY . /all/\n")
    (place / ".dockerignore").write_text("# comment\n**/*.md\ndrop\n!drop/y\nDockerfile*\n.dockerignore\n!top.md\n")
    options = BuildOptions(dockerfile="Dockerfile.other")
    told: list[BuildMessage] = []
    result = build(builds.store, place, options, runner=builds.runner, output=told.append)
    layer = layer_of(result_layer(builds, result.image))
    assert set(layer) == {
        *("all", "all/drop", "all/drop/y", "all/keep", "all/keep/a.txt", "all/keep/deep", "all/keep/deep/c.txt"),
        "all/top.md",
    }
    (place / "drop/x").write_text("changed, and left out")
    assert build(builds.store, place, options, runner=builds.runner, output=told.append).cached == 1
    (place / "drop/y").write_text("changed, and not left out")
    assert build(builds.store, place, options, runner=builds.runner, output=told.append).cached == 0


def result_layer(builds: Builds, image: str) -> Path:
    return builds.store.image(image).layers[-1].path


def test_the_lower_case_dockerfile(builds: Builds) -> None:
    from tests.sim.build.worlds import tar

    builds.tar(tar({"dockerfile": "FROM busybox\nENV a=1\n"}))
    builds.tar(tar({"sub/My.Dockerfile": "FROM busybox\nENV a=1\n"}), dockerfile="sub/My.Dockerfile")
    assert builds.steps() == ["done", "cached"]


def test_volumes_and_mount_points_are_no_part_of_a_layer(builds: Builds) -> None:
    result = builds("FROM busybox\nRUN mkdir -p /v && echo a >/v/a\nVOLUME /v\nRUN echo b >/v/b && echo c >/c\n")
    assert set(layer_of(result_layer(builds, result.image))) == {"c"}


@pytest.mark.parametrize("driver", ["devfuse", "fuse-python"])
@pytest.mark.usefixtures("fuse")
def test_the_drivers_make_the_same_layers(builds: Builds, driver: str) -> None:
    text = (
        "FROM busybox\nRUN mkdir -p /n/e && echo x >/n/file && chmod 600 /n/file && ln /n/file /n/hard\n"
        "RUN rm -r /n/e /etc/group && mkdir /n/e && touch -d @1600000000 /n/then && mv /n/file /n/g\n"
    )
    one = builds.store.image(builds(text).image)
    other = builds.store.image(builds(text, driver=driver, nocache=True).image)
    assert [layer_of(layer.path) for layer in one.layers] == [layer_of(layer.path) for layer in other.layers]


def test_squash(builds: Builds) -> None:
    text = (
        "FROM busybox\nCOPY d /d\nRUN rm /d/gone /etc/group && echo x >/x && ln /x /y && chmod 750 /var\n"
        "RUN rm -r /root && mkdir /root && rm /x && echo z >/z && chown 5 /z\nENV a=1\n"
    )
    files: Files = {"d": folder(0o711), "d/gone": "", "d/kept": "k", "d/l": link("kept")}
    plain = builds.store.image(builds(text, files).image)
    squashed = builds.store.image(builds(text, files, squash=True).image)
    assert len(squashed.layers) == 2
    assert squashed.settings == plain.settings
    assert squashed.history[-1].comment == f"merge {plain.id} to {builds.store.image('busybox').id}"
    assert [step.empty_layer for step in squashed.history] == [False, True, True, True, True, False]
    assert set(layer_of(squashed.layers[-1].path)) == {
        *("d", "d/kept", "d/l", "etc", "etc/.wh.group", "root", "var", "y", "z"),
    }
    with (
        UnionFS(builds.store.layer_directories(plain)) as one,
        UnionFS(builds.store.layer_directories(squashed)) as other,
    ):
        assert one.listdir("/") == other.listdir("/")
        assert other.stat("/z").st_uid == 5
        assert other.stat("/var").st_mode & 0o7777 == 0o750
        assert not other.exists("/etc/group")


def test_a_fixed_time_makes_the_same_image_twice(tmp_path: Path, base_tar: bytes) -> None:
    text = "FROM busybox\nARG SOURCE_DATE_EPOCH\nCOPY f /f\nRUN echo $SOURCE_DATE_EPOCH >/x && mkdir /y\nWORKDIR /w\n"
    text += "COPY <<EOF /doc\ntext\nEOF\nCMD a\n"
    found = []
    for name in ("one", "two"):
        with Store(tmp_path / name) as store:
            import_tar(store, [base_tar], tags=["busybox"], created="2020-01-01T00:00:00Z")
            builds = Builds(store)
            result = builds(text, {"f": File(b"x", mtime=THEN)}, buildargs={"SOURCE_DATE_EPOCH": str(THEN)})
            image = store.image(result.image)
            assert image.created == "2020-09-13T12:26:40Z"
            assert "not consumed" not in builds.text
            found.append((result.image, image.manifest.digest, builds("FROM busybox\nENV a=b\n", epoch=5).image))
    assert found[0] == found[1]


def test_the_environment_s_fixed_time(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    assert builds.store.image(builds("FROM busybox\nENV a=1\n").image).created == "1970-01-01T00:00:07Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    assert "SOURCE_DATE_EPOCH=soon" in str(failure(builds, "FROM busybox\n"))


@pytest.mark.usefixtures("root")
def test_a_run_has_the_limits_and_the_names_of_the_request(builds: Builds) -> None:
    builds(
        "FROM busybox\nRUN ulimit -n; df -k /dev/shm | tail -n 1; cat /etc/hosts; ls /sys/class/net\n"
        "RUN hostname; echo $HOSTNAME\n",
        ulimits=(Rlimit("nofile", 99, 99),),
        shm_size=1 << 20,
        extra_hosts=("there:192.0.2.7",),
        network="none",
    )
    lines = builds.text.splitlines()
    assert "99" in lines
    assert [line.split()[1] for line in lines if line.startswith("shm") or line.endswith("/dev/shm")] == ["1024"]
    assert "192.0.2.7\tthere" in lines
    assert "lo" in lines
    (at,) = [number for number, line in enumerate(lines) if line.startswith("Step 3/3")]
    assert [lines[at + 1].removeprefix(" ---> Running in ")] * 2 == lines[at + 2 : at + 4]
    builds("FROM busybox\nRUN readlink /proc/self/ns/net\n", network="host")
    assert os.readlink("/proc/self/ns/net") in builds.text
    assert "network nope not found" in str(failure(builds, "FROM busybox\nRUN true\n", network="nope"))


@pytest.mark.usefixtures("root")
def test_a_run_that_takes_too_much_memory_is_killed(builds: Builds) -> None:
    text = "FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=150M count=1\n"
    error = failure(builds, text, limits=Limits(memory=32 << 20, memory_swap=32 << 20))
    builds("FROM busybox\nRUN echo $(( 1 + 1 ))\n", limits=Limits(pids=20))
    assert error.code == 137


def test_platforms(builds: Builds) -> None:
    builds("FROM --platform=linux/amd64 busybox\n")
    assert "failed to parse platform" in str(failure(builds, "FROM --platform=a/b/c/d busybox\n"))


def test_many_builds_at_once(store: Store) -> None:
    failures: list[BaseException] = []
    images: list[str] = []

    def work(number: int) -> None:
        try:
            for turn in range(3):
                data = context(f"FROM busybox\nENV n={number}\nRUN echo {turn} >/t\nCOPY f /f\n", {"f": str(turn)})
                runner = LocalRunner(store, cgroup="")
                options = BuildOptions(tags=(f"app{number}:{turn}", "shared"), squash=turn == 2)
                result = build(store, io.BytesIO(data), options, runner=runner, output=lambda message: None)
                images.append(result.image)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    store.collect()
    for number in range(6):
        for turn in range(3):
            with UnionFS(store.layer_directories(f"app{number}:{turn}")) as fs:
                assert fs.read_bytes("/t") == f"{turn}\n".encode()
    assert os.listdir(store.root / "builds") == []


def test_a_build_with_more_layers_than_can_be_mounted(builds: Builds) -> None:
    layer = builds.store.image("busybox").layers[0]
    image_from_layers(builds.store, [layer] * 126, tags=["tall"])
    error = failure(builds, "FROM tall\nCOPY f /f0\nCOPY f /f1\n", {"f": ""})
    assert "max depth exceeded" in str(error)
    assert normal(builds.text).count(" ---> ID") == 2


_ORDINARY = """
import io, sys
from tests.dockerd import busybox_tar
from tests.sim.build.worlds import Builds
from sim.images import Store, import_tar
with Store("store") as store:
    import_tar(store, [busybox_tar()], tags=["busybox"])
    builds = Builds(store)
    text = "FROM busybox\\nCOPY f /d/f\\nWORKDIR /w\\nRUN rm /etc/group && echo x >/x && id -u\\nENV a=b\\n"
    result = builds(text, {"f": "x"})
    builds(text, {"f": "x"})
    print(result.cached, builds.steps()[1:].count("cached"), len(store.image(result.image).layers))
    print(list((store.root / "builds").iterdir()))
"""


def test_an_ordinary_user_builds(user: User, tool: Callable[[str, str], str]) -> None:
    tool("newuidmap", "uidmap")
    done = user.run([sys.executable, "-c", _ORDINARY])
    if "UnsupportedError" in done.stderr or "does not let the caller" in done.stderr:
        pytest.skip(f"needs user namespaces: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["0 4 4", "[]"]
