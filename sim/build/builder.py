"""`build`: a Dockerfile and its context become an image, as moby's classic builder does it.

Decided here and only here: the order of things: stages, steps, their numbers, the lines that are told, names at last.
Any number of threads may build at once; each build belongs to one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from fusefs import UnionFS
from sim.build.arguments import BuildArguments
from sim.build.cache import Cache
from sim.build.context import Context, opened
from sim.build.errors import BuildError, DockerfileError
from sim.build.expand import process_word
from sim.build.instructions import (
    Arg,
    Command,
    Label,
    Run,
    Stage,
    Transfer,
    Workdir,
    command_of,
    stages_of,
)
from sim.build.job import Job
from sim.build.local import GROUP
from sim.build.metadata import described
from sim.build.parser import parse
from sim.build.places import discard
from sim.build.platforms import matches, platform_of
from sim.build.runner import Runner
from sim.build.source import Source
from sim.build.squash import squash
from sim.build.state import State, initial_settings
from sim.build.steps import run, transfer, workdir
from sim.build.values import BuildMessage, BuildOptions, BuildResult, MessageKind, Output
from sim.images import Image, Progress, Reference, Store
from sim.images.digest import short
from sim.images.errors import ImagesError, NotFoundError
from sim.runtime.cgroups import sweep

__all__ = ["build", "collect"]

_HOME = "builds"


def build(
    store: Store,
    context: Path | BinaryIO | Iterable[bytes] | None,
    options: BuildOptions,
    *,
    runner: Runner,
    output: Output,
    cancelled: Callable[[], bool] | threading.Event = lambda: False,
) -> BuildResult:
    """Build an image.

    Parameters
    ----------
    store
        Where images are.
    context
        A directory, or a tar (plain, gzip, bzip2, xz, zstd) as a stream or in chunks; None with `options.remote`.
    runner
        Runs processes and fetches images.
    output
        Takes what is told, as it comes; an error is raised, and told too once something else was told.
    cancelled
        Asked now and then whether nobody wants the build any more.

    Raises
    ------
    DockerfileError
        Dockerfile or options make no sense; nothing was begun.
    BuildError
        A step failed; its `code` is the command's.
    """
    began = time.monotonic()
    asked = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled
    tags = tuple(dict.fromkeys(_tag(tag) for tag in options.tags))
    told = _Told(output, quiet=options.quiet)
    try:
        with store.lease() as lease, _directory(store) as place:
            cache = Cache(store, lease, _cache_sources(store, options), off=options.nocache)
            job = Job(store, options, runner, told, asked, lease, place, cache, _epoch(options))
            with opened(context, options, place, told, job.check) as found:
                image, base, steps = _Build(job, found).run()
                if options.squash:
                    image = squash(job, image, base)
                for tag in tags:
                    store.tag(image, tag)
    except (BuildError, ImagesError, OSError) as error:
        failure = error if isinstance(error, BuildError) else BuildError(str(error))
        told.fail(failure)
        if failure is error:
            raise
        raise failure from error
    told.finish(image.id)
    told.line(f"Successfully built {short(image.id)}\n")
    for tag in tags:
        told.line(f"Successfully tagged {tag.familiar}\n")
    return BuildResult(
        image.id,
        base.id if base else "",
        tuple(str(tag) for tag in tags),
        steps,
        cache.hits,
        time.monotonic() - began,
    )


def collect(store: Store) -> int:
    """Remove what killed builds left: mounts, directories, control groups; return how many builds that were."""
    home = store.root / _HOME
    removed = 0
    if not home.is_dir():
        return removed
    for place in list(home.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                discard(place)
                removed += 1
            except BlockingIOError:
                pass  # it lives
            finally:
                os.close(descriptor)
    sweep(GROUP)
    return removed


@contextlib.contextmanager
def _directory(store: Store) -> Iterator[Path]:
    """Make the directory of a build, locked as long as it lives."""
    place = store.root / _HOME / secrets.token_hex(8)
    while True:
        place.mkdir(mode=0o700, parents=True)
        lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if place.is_dir():  # else a collection was faster than the lock
            break
        os.close(lock)
    try:
        yield place
    finally:
        try:
            discard(place)
        finally:
            os.close(lock)


def _tag(text: str) -> Reference:
    try:
        found = Reference.parse(text)
    except ImagesError as error:
        raise DockerfileError(f"Error parsing reference: {error}") from None
    if found.digest:
        raise DockerfileError("build tag cannot contain a digest")
    return found


def _epoch(options: BuildOptions) -> int | None:
    if options.epoch is not None:
        return options.epoch
    text = options.buildargs.get("SOURCE_DATE_EPOCH") or os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise DockerfileError(f"SOURCE_DATE_EPOCH={text}: seconds since 1970 are wanted, a whole number") from None


def _cache_sources(store: Store, options: BuildOptions) -> Sequence[Image] | None:
    if not options.cachefrom:
        return None
    found = []
    for name in options.cachefrom:
        with contextlib.suppress(ImagesError):  # moby passes over what is not there as well
            found.append(store.image(name))
    return found


class _Told:
    """Passes on what a build tells; when it should be quiet, only where the build fails."""

    def __init__(self, output: Output, *, quiet: bool) -> None:
        self._output = output
        self._quiet = quiet
        self._held: list[BuildMessage] = []
        self._any = False

    def __call__(self, message: BuildMessage) -> None:
        if self._quiet:
            self._held.append(message)
            return
        self._any = True
        self._output(message)

    def line(self, text: str) -> None:
        if not self._quiet:
            self._output(BuildMessage(MessageKind.STREAM, text))

    def finish(self, image: str) -> None:
        if self._quiet:
            self._output(BuildMessage(MessageKind.STREAM, f"{image}\n"))

    def fail(self, error: BuildError) -> None:
        for message in self._held:
            if message.kind is MessageKind.STREAM:
                self._any = True
                self._output(message)
        if self._any:
            self._output(BuildMessage(MessageKind.ERROR, str(error), error.code))


class _Build:
    """One build: the stages that are done, and where it stands."""

    def __init__(self, job: Job, context: Context) -> None:
        self._job = job
        self._context = context
        parsed = parse(context.dockerfile, context.name)
        job.escape = parsed.escape
        self._parsed = parsed
        self._first, self._stages = stages_of(parsed.instructions)
        self._arguments = BuildArguments(job.options.buildargs)
        self._done: list[Image | None] = []
        self._names: dict[str, int] = {}
        self._step = 0
        self._total = 0
        self._origins: dict[str, Source] = {}

    def run(self) -> tuple[Image, Image | None, int]:
        """Do it; return the image, what its last stage was built on, and the number of steps."""
        job = self._job
        stages = list(self._stages)
        if job.options.target:
            stages = stages[: self._target(job.options.target) + 1]
        if not stages:
            raise DockerfileError("dockerfile parse error: no build stage in current context")
        if job.options.labels:
            stages[-1] = _labelled(stages[-1], job.options.labels)
        self._total = len(self._first) + sum(1 + len(stage.commands) for stage in stages)
        if self._parsed.warnings:
            job.tell_error("".join(f"[WARNING]: {text}\n" for text in self._parsed.warnings))
        for command in self._first:
            self._announce(command.code)
            self._global(command)
        state: State | None = None
        base: Image | None = None
        with contextlib.ExitStack() as stack:
            for stage in stages:
                state, base = self._stage(stage, stack)
        unused = self._arguments.unused()
        if unused:
            job.tell(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n")
        if state is None or state.image is None:
            raise BuildError("No image was generated. Is your Dockerfile empty?")
        return state.image, base, self._total

    def _target(self, wish: str) -> int:
        for number, stage in enumerate(self._stages):
            if stage.name and stage.name == wish.lower():
                return number
        raise DockerfileError(f"failed to reach build target {wish} in Dockerfile")

    def _announce(self, code: str) -> None:
        self._step += 1
        self._job.tell(f"Step {self._step}/{self._total} : {code}")
        self._job.tell("\n")

    def _global(self, command: Arg) -> None:
        known = self._arguments.allowed()
        for name, value in command.pairs:
            found = None if value is None else process_word(value, known, self._job.escape)
            self._arguments.add_global(process_word(name, known, self._job.escape), found)

    # -- stages

    def _stage(self, stage: Stage, stack: contextlib.ExitStack) -> tuple[State, Image | None]:
        job = self._job
        if stage.name in self._names:
            raise BuildError(f"{stage.name} stage name already used")
        arguments = self._arguments.for_stage()
        self._announce(stage.code)
        job.cache.begin_stage()
        base = self._base(stage)
        state = State(base, initial_settings(base), arguments)
        state = self._triggers(state, stack)
        job.arrow(state)
        for command in stage.commands:
            if job.cancelled():
                job.tell("Build cancelled\n")
            job.check()
            self._announce(command.code)
            state = self._dispatch(state, command, stack)
            job.arrow(state)
        if state.identity:
            job.output(BuildMessage(MessageKind.AUX, state.identity))
        self._arguments.merge(arguments)
        if stage.name:
            self._names[stage.name] = len(self._done)
        self._done.append(state.image)
        return state, base

    def _base(self, stage: Stage) -> Image | None:
        job = self._job
        known = self._arguments.globals()
        platform = process_word(stage.platform, known, job.escape) if stage.platform else job.options.platform
        name = process_word(stage.base, known, job.escape)
        if not name:
            raise BuildError(f"base name ({stage.base}) should not be blank")
        if name.lower() in self._names:
            return self._done[self._names[name.lower()]]
        if name == "scratch":
            return None
        return self._image(name, platform)

    def _image(self, name: str, platform: str) -> Image:
        """Return an image by its name; it is fetched where it is not there, or has to be."""
        job = self._job
        wanted = platform_of(platform) if platform else None
        if not job.options.pull:
            with contextlib.suppress(NotFoundError):
                found = job.store.image(name)
                if wanted is None or matches(found.platform, wanted):
                    job.lease.add(found.id, found.manifest.digest, *found.diff_ids)
                    return found

        def tell(progress: Progress) -> None:
            job.check()
            job.output(BuildMessage(MessageKind.STATUS, progress=progress))

        found = job.runner.pull(Reference.parse(name), replace(job.options, platform=platform), tell)
        job.lease.add(found.id, found.manifest.digest, *found.diff_ids)
        return found

    def _triggers(self, state: State, stack: contextlib.ExitStack) -> State:
        """Run what the base has put off until now."""
        triggers = list(state.settings.get("OnBuild") or ())
        if not triggers:
            return state
        job = self._job
        state = replace(state, settings={name: value for name, value in state.settings.items() if name != "OnBuild"})
        job.tell(f"# Executing {len(triggers)} build trigger")
        if len(triggers) > 1:
            job.tell("s")
        job.tell("\n")
        for text in triggers:
            parsed = parse(text, "ONBUILD trigger").instructions
            if len(parsed) != 1:
                raise BuildError("onbuild trigger should be a single expression")
            try:
                command = command_of(parsed[0])
            except ValueError as error:
                raise BuildError(str(error)) from None
            state = self._dispatch(state, command, stack)
        return state

    # -- steps

    def _dispatch(self, state: State, command: Command, stack: contextlib.ExitStack) -> State:
        job = self._job
        failed = True
        try:
            state = self._do(state, command, stack)
            failed = False
        finally:
            job.remove_containers(failed=failed)
        return state

    def _do(self, state: State, command: Command, stack: contextlib.ExitStack) -> State:
        job = self._job
        if isinstance(command, Run):
            return run(job, state, command)
        if isinstance(command, Workdir):
            return workdir(job, state, command)
        if isinstance(command, Transfer):
            origin = self._origin(command.origin, stack) if command.origin else None
            return transfer(job, state, command, self._context.source, origin)
        changed, text = described(state, command, job.escape, job.tell)
        line = changed.comment(text)
        hit = job.probe(changed, line)
        if hit is not None:
            return hit
        job.container(changed, line)
        return job.commit(changed, line)

    def _origin(self, name: str, stack: contextlib.ExitStack) -> Source:
        """Return the tree that `--from` names: an earlier stage, by name or number, or an image."""
        try:
            image = self._named_stage(name)
        except (BuildError, ImagesError) as error:
            raise BuildError(f"invalid from flag value {name}: {error}") from None
        key = image.id if image else ""
        if key not in self._origins:
            tree = stack.enter_context(UnionFS(self._job.layers(image)))
            self._origins[key] = Source(tree, owners=True)
        return self._origins[key]

    def _named_stage(self, name: str) -> Image | None:
        if name.lower() in self._names:
            return self._done[self._names[name.lower()]]
        if name.lstrip("+-").isdigit():
            number = int(name)
            if number == len(self._done):
                raise BuildError("refers to current build stage")
            if not 0 <= number < len(self._done):
                raise BuildError("index out of bounds")
            return self._done[number]
        return self._image(name, self._job.options.platform)


def _labelled(stage: Stage, labels: Mapping[str, str]) -> Stage:
    """Return a stage with the labels of the request at its end, one step each."""
    more = [Label(f"LABEL {name}={labels[name]}", ((name, labels[name]),), expand=False) for name in sorted(labels)]
    return replace(stage, commands=(*stage.commands, *more))
