"""The life of containers as the Docker SDK sees it: made, run, looked at, stopped, removed."""

from __future__ import annotations

import re
import threading
import time
from functools import partial
from typing import Any

import docker
import pytest
from docker.errors import APIError, ContainerError, NotFound

from tests.daemons import Daemon
from tests.patience import until
from tests.shared import client, engine, running

__all__ = ["client", "engine", "running"]


def test_a_command_is_run_and_its_output_comes_back(client: docker.DockerClient) -> None:
    assert client.containers.run("busybox", "echo hello", remove=True) == b"hello\n"
    with pytest.raises(ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert failed.value.exit_status == 3
    assert b"bad" in failed.value.stderr
    assert client.containers.list(all=True) == []


def test_its_life_is_told_in_states(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "sleep 100", name="life", stop_signal="SIGKILL")
    assert container.status == "created"
    container.start()
    container.reload()
    assert container.status == "running"
    assert container.attrs["State"]["Pid"] > 1
    container.pause()
    container.reload()
    assert (container.status, container.attrs["State"]["Paused"]) == ("paused", True)
    container.unpause()
    container.stop()
    container.reload()
    state = container.attrs["State"]
    assert (container.status, state["ExitCode"], state["Pid"]) == ("exited", 137, 0)
    assert state["FinishedAt"] > state["StartedAt"] > container.attrs["Created"]
    container.start()
    container.restart(timeout=0)
    container.reload()
    assert container.status == "running"
    container.rename("other")
    assert client.containers.get("other").id == container.id
    container.remove(force=True)
    with pytest.raises(NotFound):
        client.containers.get("other")


def test_exit_codes_and_ends_by_signals(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "kill -TERM $$"], init=True, detach=True)
    assert container.wait()["StatusCode"] == 143
    with pytest.raises(APIError, match=r'exec: "nosuch": executable file not found in \$PATH') as missing:
        client.containers.run("busybox", "nosuch", detach=True, name="missing")
    assert missing.value.status_code == 400
    state = client.containers.get("missing").attrs["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", 127)
    assert "executable file not found" in state["Error"]
    with pytest.raises(APIError, match=r"permission denied|is a directory"):
        client.containers.run("busybox", "/etc", detach=True, name="directory")
    assert client.containers.get("directory").attrs["State"]["ExitCode"] == 126


def test_waiting_for_each_condition(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "sh -c 'exit 4'", auto_remove=True)
    found: dict[str, Any] = {}

    assert container.wait(condition="not-running")["StatusCode"] == 0
    url = client.api._url("/containers/{0}/wait", container.id)
    # The head of the answer says that it waits.
    waiting = {
        condition: client.api.post(url, params={"condition": condition}, stream=True)
        for condition in ("next-exit", "removed")
    }
    threads = [
        threading.Thread(target=lambda c=condition, a=answer: found.update({c: a.json()["StatusCode"]}))
        for condition, answer in waiting.items()
    ]
    for thread in threads:
        thread.start()
    assert found == {}
    container.start()
    for thread in threads:
        thread.join(60)
    assert found == {"next-exit": 4, "removed": 4}
    with pytest.raises(NotFound):
        container.reload()


def test_removing_what_runs_is_refused_in_the_words_that_clients_know(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", "sleep 100", detach=True)
    with pytest.raises(APIError) as refused:
        container.remove()
    assert refused.value.status_code == 409
    assert refused.value.explanation == (
        f"You cannot remove a running container {container.id}."
        " Stop the container before attempting removal or force remove"
    )
    container.pause()
    with pytest.raises(APIError, match="Unpause and then stop the container before attempting removal"):
        container.remove()


def test_names(client: docker.DockerClient) -> None:
    one = client.containers.create("busybox", name="one")
    with pytest.raises(APIError) as taken:
        client.containers.create("busybox", name="one")
    assert taken.value.status_code == 409
    assert taken.value.explanation == (
        f'Conflict. The container name "/one" is already in use by container "{one.id}".'
        " You have to remove (or rename) that container to be able to reuse that name."
    )
    for wrong in ("-a", "a", "a b", "ä1"):
        with pytest.raises(APIError, match=re.escape("only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")):
            client.containers.create("busybox", name=wrong)
    generated = client.containers.create("busybox")
    assert re.fullmatch(r"[a-z]+_[a-z]+\d*", generated.name)
    assert client.containers.get(one.id[:12]).id == one.id
    with pytest.raises(NotFound, match="No such container: none"):
        client.containers.get("none")


def test_what_the_image_says_is_put_below_what_is_asked_for(engine: Daemon, client: docker.DockerClient) -> None:
    engine.output("create", "--name", "base", "busybox")
    changes = (
        "ENV A=image B=image", "WORKDIR /work", "LABEL from=image also=image", "EXPOSE 80", "VOLUME /vol",
        'ENTRYPOINT ["echo"]', 'CMD ["of", "image"]', "USER 7:8", "STOPSIGNAL SIGINT",
    )  # fmt: skip
    engine.output("commit", *(word for change in changes for word in ("-c", change)), "base", "made:1")
    engine.output("rm", "base")
    try:
        assert client.containers.run("made:1", remove=True) == b"of image\n"
        assert client.containers.run("made:1", "mine", remove=True) == b"mine\n"
        shown = client.containers.run(
            "made:1",
            ["-c", "echo $A $B $PWD; id -u; id -g"],
            entrypoint="/bin/sh",
            environment={"A": "me"},
            remove=True,
        )
        assert shown == b"me image /work\n7\n8\n"
        container = client.containers.create("made:1", labels={"from": "me"}, entrypoint="")
        config = container.attrs["Config"]
        assert (config["Labels"], config["StopSignal"]) == ({"from": "me", "also": "image"}, "SIGINT")
        assert list(config["ExposedPorts"]) == ["80/tcp"]
        assert [mount["Destination"] for mount in container.attrs["Mounts"]] == ["/vol"]
        before = len(client.volumes.list())
        container.remove(v=True)
        assert len(client.volumes.list()) == before - 1
    finally:
        engine.output("rmi", "-f", "made:1")


def logged(container: Any, word: str) -> bool:
    return word.encode() in container.logs()


def test_logs_by_their_ends_and_times(client: docker.DockerClient) -> None:
    wait = "until test -e /$each; do sleep 0.01; done"
    script = f"for n in 1 2 3; do each=out$n; {wait}; echo $each; each=err$n; {wait}; echo $each >&2; done"
    container = client.containers.run("busybox", ["sh", "-c", script], detach=True)
    for word in ("out1", "err1", "out2", "err2", "out3", "err3"):
        container.exec_run(["touch", f"/{word}"])
        until(partial(logged, container, word))  # so that the order is that of this list
    container.wait()
    assert container.logs(stderr=False) == b"out1\nout2\nout3\n"
    assert container.logs(stdout=False) == b"err1\nerr2\nerr3\n"
    assert container.logs(tail=2) == b"out3\nerr3\n"
    assert container.logs(stdout=False, tail=1) == b"err3\n"
    assert container.logs(tail=0) == b""
    stamped = container.logs(stderr=False, timestamps=True).decode().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z out\d", line) for line in stamped)
    second = stamped[1].split()[0]
    raw = client.api._get(client.api._url("/containers/{0}/logs", container.id), params={"stdout": 1, "since": second})
    assert raw.content.count(b"out") == 2
    with pytest.raises(APIError, match="you must choose at least one stream"):
        container.logs(stdout=False, stderr=False)


def test_attaching_replays_the_log(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], detach=True)
    container.wait()
    for _ in range(5):
        assert sorted(container.attach(logs=True, stream=False).split()) == [b"err", b"out"]


def test_namespaces_of_another_container_are_joined(client: docker.DockerClient) -> None:
    client.containers.run("busybox", "sleep 1000", name="first", hostname="front", detach=True)
    shown = client.containers.run(
        "busybox", ["sh", "-c", "hostname; ip -o addr show eth0 | wc -l; ps -o args"], remove=True,
        network_mode="container:first", pid_mode="container:first", ipc_mode="container:first",
    ).decode()  # fmt: skip
    assert shown.splitlines()[0] == "front"
    assert "sleep 1000" in shown
    client.containers.create("busybox", name="idle")
    with pytest.raises(APIError, match="cannot join network of a non running container"):
        client.containers.run("busybox", network_mode="container:idle", remove=True)


def test_logs_are_followed_to_the_end(client: docker.DockerClient) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "echo first; sleep 0.3; echo second; sleep 0.2; printf third"], detach=True
    )
    assert b"".join(container.logs(follow=True, stream=True)) == b"first\nsecond\nthird"


def test_logs_that_are_rotated_are_followed(client: docker.DockerClient) -> None:
    options = docker.types.LogConfig(type="json-file", config={"max-size": "4k", "max-file": "3"})
    script = "sleep 0.2; for n in $(seq 2000); do echo line$n; done"
    container = client.containers.run("busybox", ["sh", "-c", script], detach=True, log_config=options)
    lines = b"".join(container.logs(follow=True, stream=True)).split()
    assert lines[-1] == b"line2000"
    kept = container.logs().split()
    assert kept[-1] == b"line2000"
    assert len(kept) < 600


def test_exec(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", "sleep 100", detach=True, environment=["A=1"], hostname="box")
    assert container.exec_run("hostname").output == b"box\n"
    done = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 5"], demux=True)
    assert (done.exit_code, done.output) == (5, (b"out\n", b"err\n"))
    assert container.exec_run("id -u", user="9").output == b"9\n"
    assert (
        container.exec_run(["sh", "-c", "echo $A$B $PWD"], environment={"B": "2"}, workdir="/etc").output
        == b"12 /etc\n"
    )
    missing = container.exec_run("nosuch")
    assert missing.exit_code == 127
    assert b"executable file not found" in missing.output
    made = client.api.exec_create(container.id, "sh -c 'exit 6'")["Id"]
    client.api.exec_start(made, detach=True)
    until(lambda: client.api.exec_inspect(made)["ExitCode"] is not None)
    shown = client.api.exec_inspect(made)
    assert (shown["ExitCode"], shown["Running"], shown["ContainerID"]) == (6, False, container.id)
    with pytest.raises(APIError, match="has already run"):
        client.api.exec_start(made)
    container.pause()
    with pytest.raises(APIError, match="is paused, unpause the container before exec"):
        container.exec_run("true")
    container.unpause()
    container.kill()
    with pytest.raises(APIError, match=f"{container.id} is not running"):
        container.exec_run("true")


def test_standard_input_ends_where_the_client_ends_it(engine: Daemon) -> None:
    data = bytes(range(256)) * 4096  # more than any pipe holds, and back again
    assert engine.docker("run", "-i", "--rm", "busybox", "cat", stdin=data).stdout == data
    engine.output("run", "-d", "--name", "box", "busybox", "sleep", "100")
    done = engine.docker("exec", "-i", "box", "sh", "-c", "cat; echo end >&2; exit 9", stdin=data)
    assert (done.returncode, done.stdout, done.stderr) == (9, data, b"end\n")


def test_restart_policies(client: docker.DockerClient) -> None:
    limited = {"Name": "on-failure", "MaximumRetryCount": 2}
    container = client.containers.run("busybox", "false", detach=True, restart_policy=limited)
    until(lambda: client.containers.get(container.id).attrs["RestartCount"] == 2)
    until(lambda: client.containers.get(container.id).status == "exited")
    well = client.containers.run("busybox", "true", detach=True, restart_policy=limited)
    well.wait()
    well.reload()
    assert (well.status, well.attrs["RestartCount"]) == ("exited", 0)
    always = client.containers.run("busybox", "sleep 0.05", detach=True, restart_policy={"Name": "always"})
    until(lambda: client.containers.get(always.id).attrs["RestartCount"] >= 2)
    always.stop()
    always.reload()
    assert always.status == "exited"
    count = always.attrs["RestartCount"]
    time.sleep(0.3)
    always.reload()
    assert always.attrs["RestartCount"] == count


def test_health(client: docker.DockerClient) -> None:
    check = {"test": ["CMD-SHELL", "echo looked; test -e /well"], "interval": 50_000_000, "retries": 2}
    container = client.containers.run("busybox", "sleep 100", detach=True, healthcheck=check)

    def health() -> dict[str, Any]:
        container.reload()
        found: dict[str, Any] = container.attrs["State"]["Health"]
        return found

    assert health()["Status"] in ("starting", "unhealthy")
    until(lambda: health()["Status"] == "unhealthy")
    assert health()["FailingStreak"] >= 2
    assert health()["Log"][-1]["Output"] == "looked\n"
    assert client.containers.list(filters={"health": "unhealthy"}) == [container]
    container.exec_run("touch /well")
    until(lambda: health()["Status"] == "healthy")
    assert len(health()["Log"]) <= 5


def test_a_health_check_that_takes_too_long_is_killed_with_its_children(client: docker.DockerClient) -> None:
    words = "echo so far; sleep 4321 & sleep 4321; true"
    check = {"test": ["CMD-SHELL", words], "interval": 50_000_000, "timeout": 1_000_000_000, "retries": 1}
    container = client.containers.run("busybox", "sleep 100", detach=True, healthcheck=check)

    def log() -> list[dict[str, Any]]:
        container.reload()
        return list(container.attrs["State"]["Health"]["Log"])

    # One whose time was over before its shell ran has said nothing.
    until(lambda: any("so far" in each["Output"] for each in log()))
    assert {each["ExitCode"] for each in log()} == {-1}
    assert "Health check exceeded timeout (1s): so far\n" in [each["Output"] for each in log()]
    until(lambda: container.exec_run("ps").output.count(b"sleep 4321") <= 2)  # of the one that runs now, if any


def test_limits_hold_and_can_be_changed(client: docker.DockerClient) -> None:
    hog = client.containers.run(
        "busybox", ["sh", "-c", "a=x; while :; do a=$a$a; done"], detach=True, mem_limit="16m", memswap_limit="16m"
    )
    assert hog.wait(timeout=60)["StatusCode"] != 0
    hog.reload()
    assert hog.attrs["State"]["OOMKilled"] is True
    container = client.containers.run("busybox", "sleep 100", detach=True, mem_limit="32m", pids_limit=20)
    container.update(mem_limit="64m", memswap_limit="128m")
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 64 << 20
    figures = container.stats(stream=False)
    assert figures["memory_stats"]["limit"] == 64 << 20
    assert figures["pids_stats"]["limit"] == 20
    with pytest.raises(APIError, match="Minimum memory limit allowed is 6MB"):
        container.update(mem_limit="1m")


def test_top_and_stats(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", "sleep 4711", detach=True)
    shown = container.top()
    assert "PID" in shown["Titles"]
    assert [row[-1] for row in shown["Processes"]] == ["sleep 4711"]
    assert container.top(ps_args="-o pid,comm")["Titles"] == ["PID", "COMMAND"]
    stream = container.stats(decode=True)
    first, second = next(stream), next(stream)
    assert first["name"] == f"/{container.name}"
    assert second["preread"] == first["read"]
    assert second["cpu_stats"]["system_cpu_usage"] > first["cpu_stats"]["system_cpu_usage"]
    assert second["networks"]["eth0"]["rx_bytes"] >= 0
    stream.close()


def test_changes(client: docker.DockerClient) -> None:
    script = "rm /etc/passwd; mkdir -p /new/dir; echo x >/new/dir/file; chmod 700 /bin"
    container = client.containers.run("busybox", ["sh", "-c", script], detach=True)
    container.wait()
    found = {change["Path"]: change["Kind"] for change in container.diff()}
    assert found == {"/bin": 0, "/etc": 0, "/etc/passwd": 2, "/new": 1, "/new/dir": 1, "/new/dir/file": 1}
    untouched = client.containers.run("busybox", "true", detach=True)
    untouched.wait()
    assert untouched.diff() is None


def test_lists_and_their_filters(client: docker.DockerClient) -> None:
    one = client.containers.run("busybox", "sleep 100", name="one", detach=True, labels={"a": "1", "b": "2"})
    two = client.containers.create("busybox", "true", name="two", labels={"a": "1"}, ports={"80/tcp": None})
    three = client.containers.run("busybox", "sh -c 'exit 3'", name="three", detach=True)
    three.wait()

    def names(**filters: Any) -> list[str]:
        return sorted(each.name for each in client.containers.list(all=True, filters=filters))

    assert [each.name for each in client.containers.list()] == ["one"]
    assert [each.name for each in client.containers.list(limit=2)] == ["three", "two"]
    assert names(label="a") == ["one", "two"]
    assert names(label=["a=1", "b"]) == ["one"]
    assert names(status="exited") == ["three"]
    assert names(exited=3) == ["three"]
    assert names(exited=0) == []
    assert names(name="t") == ["three", "two"]
    assert names(id=two.id[:5]) == ["two"]
    assert names(before="two") == ["one"]
    assert names(since="two") == ["three"]
    assert names(ancestor="busybox") == ["one", "three", "two"]
    assert names(expose="80") == ["two"]
    assert names(network="bridge") == ["one", "three", "two"]
    with pytest.raises(APIError, match=r"[Ii]nvalid filter 'bla'"):
        names(bla="x")
    with pytest.raises(APIError, match=r"[Ii]nvalid filter 'status=x'"):
        names(status="x")
    pruned = client.containers.prune(filters={"label": ["a=1"]})
    assert pruned["ContainersDeleted"] == [two.id]
    assert names() == ["one", "three"]
    assert one.id in {each.id for each in client.containers.list()}


def test_events_are_dockers(client: docker.DockerClient) -> None:
    began = int(time.time())
    container = client.containers.run("busybox", "sleep 100", name="told", labels={"l": "v"}, detach=True)

    def told() -> list[dict[str, Any]]:
        stream = client.events(since=began, until=time.time(), filters={"container": container.id}, decode=True)
        return [event for event in stream if event["Type"] == "container"]

    container.exec_run("true")
    until(lambda: told()[-1]["Action"] == "exec_die")  # its output ends before
    container.kill()
    container.wait()
    container.rename("retold")
    container.remove()
    until(lambda: told()[-1]["Action"] == "destroy")
    found = told()
    actions = [event["Action"] for event in found]
    assert actions == [
        "create", "start", "exec_create: true ", "exec_start: true ", "exec_die", "kill", "die", "rename", "destroy",
    ]  # fmt: skip
    details = {event["Action"]: event["Actor"]["Attributes"] for event in found}
    assert details["create"] == {"image": "busybox", "name": "told", "l": "v"}
    assert details["kill"]["signal"] == "9"
    assert details["die"]["exitCode"] == "137"
    assert details["rename"]["oldName"] == "/told"
    assert details["exec_die"]["exitCode"] == "0"


def test_volumes_keep_what_the_image_has_there(client: docker.DockerClient) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "echo new >/etc/added; ls /etc"], volumes={"kept": {"bind": "/etc"}}, detach=True
    )
    container.wait()
    assert b"passwd" in container.logs()
    assert client.containers.run("busybox", "cat /v/added", volumes=["kept:/v:ro"], remove=True) == b"new\n"
    with pytest.raises(APIError, match="volume is in use"):
        client.volumes.get("kept").remove()
    mount = container.attrs["Mounts"][0]
    assert (mount["Type"], mount["Name"], mount["RW"]) == ("volume", "kept", True)
    other = client.containers.create("busybox", volumes_from=[f"{container.id}:ro"])
    assert [(point["Name"], point["RW"]) for point in other.attrs["Mounts"]] == [("kept", False)]


def test_commit_and_export(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "echo data >/file"], detach=True)
    container.wait()
    image = container.commit("committed", "1", message="said", author="me", changes=['CMD ["cat", "/file"]'])
    try:
        assert client.containers.run("committed:1", remove=True) == b"data\n"
        assert image.attrs["Author"] == "me"
        assert image.history()[0]["Comment"] == "said"
    finally:
        client.images.remove("committed:1")
    assert b"file" in b"".join(container.export())
