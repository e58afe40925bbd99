"""The same Dockerfiles, built by the reference engine and by ours: lines, errors, history, settings and layers."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import docker
import pytest

from sim.build import BuildError
from sim.images import Store, load
from tests.dockerd import ReferenceEngine
from tests.sim.build.corpus import CASES
from tests.sim.build.worlds import Builds, Case, Made, by_engine, context, made, normal, without_base

#: Where ours says it otherwise, with the reason; the first is the reference's.
OTHERWISE = {
    "copy-directory-over-file": r"mkdir \S*/merged/",
}


@pytest.fixture(scope="module")
def reference(
    reference_engine: ReferenceEngine, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Made]]]:
    def make(client: docker.DockerClient, case: Case) -> Made:
        return by_reference(client, case, tmp_path_factory.mktemp("case"))

    with by_engine(reference_engine, request, "case", make) as results:
        yield results


def by_reference(client: docker.DockerClient, case: Case, place: Path) -> Made:
    options: dict[str, Any] = {"rm": True, "nocache": True, **case.options}
    if "buildargs" in options:
        options["buildargs"] = dict(options["buildargs"])
    try:
        answer = list(
            client.api.build(fileobj=io.BytesIO(context(case.dockerfile, case.files)), custom_context=True, **options)
        )
    except docker.errors.APIError as error:
        return Made((), error=str(error.explanation), code=error.response.status_code)
    messages = [json.loads(line) for part in answer for line in part.splitlines()]
    text = "".join(message.get("stream", "") for message in messages)
    lines = shown(text)
    if "error" in messages[-1]:
        return Made(lines, error=normal(messages[-1]["error"]), code=messages[-1]["errorDetail"].get("code"))
    identity = [message["aux"]["ID"] for message in messages if "aux" in message] or [text.strip()]
    with Store(place / "reference") as store:
        archive = client.api.get_image(identity[-1])
        load(store, archive)
        image = next(each for each in store.images(intermediate=True))
        return made(store, image, lines)


def shown(text: str) -> tuple[str, ...]:
    """Return what was printed, without IDs; what a process writes in red may come in other pieces."""
    lines = normal(re.sub(r"\x1b\[0m\x1b\[91m", "", text)).splitlines()
    # The reference names unused arguments in the order of Go's maps: in none.
    return tuple(
        " ".join(sorted(re.findall(r"\w+", line))) if line.startswith("[Warning] One") else line for line in lines
    )


def by_ours(builds: Builds, case: Case) -> Made:
    options: dict[str, Any] = {"nocache": True, **case.options}
    try:
        result = builds(case.dockerfile, case.files, **options)
    except BuildError as error:
        if not builds.messages:
            return Made((), error=str(error), code=error.status)
        return Made(shown(builds.text), error=normal(builds.messages[-1].text), code=error.code)
    return made(builds.store, builds.store.image(result.image), shown(builds.text))


def hashless(step: tuple[str, str, bool], case: Case) -> tuple[str, str, bool]:
    """Leave the hash of what `--from` copies away: the reference puts the names of the host's users into it."""
    command, author, empty = step
    if "--from" in case.dockerfile:
        command = re.sub(r"(file|dir|multi):[0-9a-f]{64}", r"\1:", command)
    return command, author, empty


@pytest.mark.usefixtures("overlayfs")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ours_is_the_reference_s(reference: Mapping[str, Future[Made]], builds: Builds, case: Case) -> None:
    theirs = without_base(reference[case.name].result())
    ours = without_base(by_ours(builds, case))
    error = theirs.error
    if case.name in OTHERWISE:
        error = re.sub(OTHERWISE[case.name], "mkdir /", error)
    assert ours.lines == theirs.lines
    assert (ours.error, ours.code) == (error, theirs.code)
    assert [hashless(step, case) for step in ours.history] == [hashless(step, case) for step in theirs.history]
    assert ours.settings == theirs.settings
    for mine, other in zip(ours.layers, theirs.layers, strict=True):
        assert mine == other
