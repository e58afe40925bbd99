"""Instructions that change files: RUN, COPY, ADD, WORKDIR.

Decided here and only here: their cache keys and history texts, what of a stage a process sees, and where the files go.
Functions from job, state and instruction to the next state; a job belongs to one thread.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fusefs import UnionFS
from sim.build.copying import Copy, copy
from sim.build.download import download
from sim.build.errors import BuildError, CommandFailedError
from sim.build.expand import process_word
from sim.build.instructions import Run, Transfer, Workdir
from sim.build.job import Job
from sim.build.owners import owner_of
from sim.build.parser import Heredoc
from sim.build.paths import join, resolve
from sim.build.runner import RunRequest
from sim.build.source import Found, Source
from sim.build.state import State
from sim.build.tarsum import joined
from sim.build.tree import PlainTree
from sim.build.untar import make_directories
from sim.runtime.errors import ContainerError

__all__ = ["run", "transfer", "workdir"]

_BUILDKIT = (
    "the --{} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/"
    " to learn how to build images with BuildKit enabled"
)


# -- RUN


def run(job: Job, state: State, command: Run) -> State:
    """Run a process, and make a layer of what it changed.

    Raises
    ------
    BuildError
        It could not be started, or failed.
    """
    if command.flags:
        raise BuildError(_BUILDKIT.format(command.flags[0]))
    words, files = _command_line(state, command)
    # What a file says counts like an argument: its name is always the same.
    known = [*words, *(content.decode(errors="replace") for _, content in files)]
    arguments = state.arguments.beside(state.environment)
    saved = known
    if arguments:
        counted = sorted(f"{name}={value}" for name, value in arguments.items() if state.arguments.in_key(name))
        saved = [f"|{len(counted)}", *counted, *known]
    hit = job.probe(state, saved)
    if hit is not None:
        return hit
    identity = job.container(state, words)
    with job.directories() as (place, upper, work):
        request = RunRequest(
            identity=identity,
            args=tuple(words),
            env=(*state.environment, *(f"{name}={value}" for name, value in arguments.items())),
            cwd=str(state.settings.get("WorkingDir") or "/"),
            user=str(state.settings.get("User") or ""),
            layers=job.layers(state.image),
            upper=upper,
            work=work,
            place=place,
            volumes=tuple(state.settings.get("Volumes") or ()),
            files=files,
            options=job.options,
        )
        started = time.time_ns()
        try:
            code = job.runner.run(request, job.tell_output, job.cancelled)
        except ContainerError as error:
            raise BuildError(str(error)) from None
        job.end_output()
        job.check()
        job.ended(identity, code, started, upper)
        if code != 0:
            raise CommandFailedError(f"The command '{' '.join(words)}' returned a non-zero code: {code}", code)
        return job.commit(state, saved, job.keep(upper))


def _command_line(state: State, command: Run) -> tuple[list[str], tuple[tuple[str, bytes], ...]]:
    """Return what is executed, and files that it needs: a document with an interpreter of its own is one."""
    if not command.shell:
        return list(command.words), ()
    if not command.documents:
        return [*state.shell, *command.words], ()
    first, *rest = command.documents
    only = not rest and command.words and command.words[0].strip() in _marks(first.name)
    if only and first.content.startswith("#!"):
        path = f"/dev/pipes/{first.name}"
        return [path], ((path, first.content.encode(errors="surrogateescape")),)
    if only:
        return [*state.shell, first.content], ()
    text = "\n".join([command.words[0], *(f"{document.content}{document.name}" for document in command.documents)])
    return [*state.shell, text + "\n"], ()


def _marks(name: str) -> set[str]:
    return {f"<<{dash}{quote}{name}{quote}" for dash in ("", "-") for quote in ("", "'", '"')}


# -- WORKDIR


def workdir(job: Job, state: State, command: Workdir) -> State:
    """Set the working directory, and make it where it is missing."""
    path = process_word(command.path, state.variables(), job.escape)
    if not path:
        raise BuildError("cannot normalize nothing")
    whole = join(path) if path.startswith("/") else join(str(state.settings.get("WorkingDir") or "/"), path)
    state = replace(state, settings={**state.settings, "WorkingDir": whole})
    line = state.comment(f"WORKDIR {whole}", blank=False)
    hit = job.probe(state, line)
    if hit is not None:
        return hit
    job.container(state, line)
    with job.directories() as (_, upper, work):
        with UnionFS(job.layers(state.image), upper, work) as tree:
            try:
                make_directories(tree, resolve(tree, whole))
            except OSError:
                raise BuildError(f"Cannot mkdir: {whole} is not a directory") from None
        return job.commit(state, line, job.keep(upper))


# -- COPY and ADD


def transfer(job: Job, state: State, command: Transfer, context: Source | None, origin: Source | None) -> State:
    """Copy files into the image.

    Parameters
    ----------
    context
        The build's context; None where there is none.
    origin
        What `--from` names; None without it.

    Raises
    ------
    BuildError
        A source is not there, or the target cannot take it.
    """
    words = _expanded(state, command, job.escape)
    with contextlib.ExitStack() as stack:
        found = _sources(job, state, words, origin or context, stack)
        if len(found) > 1 and not words.target.endswith("/"):
            raise BuildError(
                f"When using {words.name} with more than one source file, the destination must be a directory"
                " and end with a /"
            )
        digest = found[0].digest if len(found) == 1 else joined("multi", [each.digest for each in found])
        options = f"--chown={words.chown}" if words.chown else ""
        if words.chmod:
            options += f"--chmod={words.chmod}"
        line = state.comment(f"{words.name} {options}{digest} in {words.target} ", blank=False)
        hit = job.probe(state, line)
        if hit is not None:
            return hit
        _, upper, work = stack.enter_context(job.directories())
        waiting = list(found)
        while waiting:
            with UnionFS(job.layers(state.image), upper, work) as tree:
                how = _how(state, words, tree, keep_owners=origin is not None and not words.chown)
                # Once a copy went past the union, that one knows no more what there is.
                while waiting and copy(tree, waiting.pop(0), how, job.check):
                    pass
        return job.commit(state, line, job.keep(upper))


def _expanded(state: State, command: Transfer, escape: str) -> Transfer:
    variables = state.variables()

    def one(word: str) -> str:
        return process_word(word, variables, escape)

    names = {document.name for document in command.documents}
    documents = tuple(
        replace(document, content=_document(document.content, variables, escape)) if document.expand else document
        for document in command.documents
    )
    return replace(
        command,
        sources=tuple(source if source in names else one(source) for source in command.sources),
        target=one(command.target),
        chown=one(command.chown),
        chmod=one(command.chmod),
        documents=documents,
    )


def _document(text: str, variables: dict[str, str], escape: str) -> str:
    """Replace the variables in a document; quotes are nothing special in it."""
    marked = text.replace(escape, escape * 2).replace(escape * 2 + "$", escape + "$")
    return process_word('"' + marked.replace('"', escape + '"') + '"', variables, escape)


def _sources(
    job: Job, state: State, words: Transfer, source: Source | None, stack: contextlib.ExitStack
) -> list[Found]:
    documents = {document.name: document for document in words.documents}
    found: list[Found] = []
    try:
        for written in words.sources:
            if written in documents:
                found.append(_document_source(job, documents[written], stack))
            elif written.startswith(("http://", "https://")):
                if words.name != "ADD":
                    raise BuildError(f"source can't be a URL for {words.name}")
                found.append(_downloaded(job, written, words.target, stack))
            elif source is None:
                raise BuildError("missing build context")
            else:
                found += source.find(written)
        if not found:
            raise BuildError("no source files were specified")
    except BuildError as error:
        raise BuildError(f"{words.name} failed: {error}") from None
    return found


@contextlib.contextmanager
def _directory_source(job: Job) -> Iterator[tuple[Path, Source]]:
    with job.directories() as (_, upper, _), PlainTree(upper) as tree:
        yield upper, Source(tree)


def _document_source(job: Job, document: Heredoc, stack: contextlib.ExitStack) -> Found:
    place, source = stack.enter_context(_directory_source(job))
    name = document.name.replace("/", "_")
    (place / name).write_bytes(document.content.encode(errors="surrogateescape"))
    (place / name).chmod(0o644)
    os.utime(place / name, ns=(job.moment(), job.moment()))
    return Found(source, f"/{name}", "file:" + source.digest(f"/{name}"), extract=False)


def _downloaded(job: Job, url: str, target: str, stack: contextlib.ExitStack) -> Found:
    place, source = stack.enter_context(_directory_source(job))
    name = download(url, place, target, job.output, job.check)
    return Found(source, f"/{name}", "file:" + source.digest(f"/{name}"), extract=False)


def _how(state: State, words: Transfer, tree: UnionFS, *, keep_owners: bool) -> Copy:
    target = words.target
    if not target.startswith("/"):
        whole = join(str(state.settings.get("WorkingDir") or "/"), target)
        target = whole + "/" if target.endswith("/") and whole != "/" else whole
    elif not target.endswith("/"):
        target = posixpath.normpath(target)
    owner: tuple[int, int] | None = (0, 0)
    if words.chown:
        owner = owner_of(tree, words.chown)
    elif keep_owners:
        owner = None
    mode = None
    if words.chmod:
        try:
            mode = int(words.chmod, 8)
            if not 0 <= mode <= 0o7777:
                raise ValueError
        except ValueError:
            raise BuildError(
                f"invalid chmod parameter: '{words.chmod}'. it should be octal string and between 0 and 07777"
            ) from None
    return Copy(target, owner, mode, extract=words.name == "ADD")
