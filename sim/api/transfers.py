"""The routes by which images come and go: pull, import, push, save, load, search, login.

A protocol adapter only: what is done is decided in `sim.engine.transfers`. Each of these answers with lines of
progress; what fails before the first line is an answer with a status of its own, what fails later is the last line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from sim.api.errors import message_of, status_of
from sim.api.exchange import Answer, ClientGoneError, Request, Streamed, Write, json_answer, json_lines
from sim.api.progress import error_line, progress_line
from sim.engine.errors import BadParameterError, CancelledError, EngineError
from sim.engine.filters import Filters
from sim.images.errors import AuthenticationError, ContentError
from sim.images.progress import Listener, Progress, Stage

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine
    from sim.images.registry import Credentials

__all__ = ["credentials_of", "lines_answer", "register"]

_SEARCH_FILTERS = ("is-automated", "is-official", "stars")
_LARGEST_ANSWER = 100


class _Login(msgspec.Struct):
    """What a client sends to log in."""

    username: str = ""
    password: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""
    auth: str = ""
    email: str = ""


def credentials_of(request: Request) -> Credentials | None:
    """Return who the client is at registries, as it says in a header; None for nobody."""
    from sim.images.registry import Credentials

    try:
        return Credentials.from_header(request.headers.get("x-registry-auth", ""))
    except AuthenticationError:
        # As Docker does: who cannot be read is nobody, and a registry may let nobody in.
        return None


def lines_answer(
    request: Request, work: Callable[[Callable[[Mapping[str, Any]], None], threading.Event], object]
) -> Streamed:
    """Return an answer of lines of JSON.

    Parameters
    ----------
    work
        Called with a function that writes a line, and an event that is set when the client went away.
    """

    def produce(write: Write) -> None:
        begun = False
        cancelled = threading.Event()
        write_line = json_lines(write)
        lock = threading.Lock()

        def line(value: Mapping[str, Any]) -> None:
            nonlocal begun
            with lock:
                if cancelled.is_set():
                    raise CancelledError("context canceled")
                begun = True
                write_line(value)

        try:
            with request.watch(cancelled.set):
                work(line, cancelled)
        except ClientGoneError:
            raise
        except CancelledError as error:
            raise ClientGoneError(str(error)) from None
        except Exception as error:
            if not begun or status_of(error) is None:
                raise
            write_line(error_line(message_of(error)))

    return Streamed(produce, late=True)


def _listener(
    line: Callable[[Mapping[str, Any]], None], word: Callable[[Progress], str | None] | None = None
) -> Listener:
    def tell(progress: Progress) -> None:
        found = progress_line(progress, word)
        if found is not None:
            line(found)

    return tell


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""
    transfers = engine.transfers

    @router.route("POST", "/images/create")
    def create(request: Request) -> Answer:
        query = request.query
        if query.get("fromImage"):
            return _pull(engine, request)
        if not query.get("fromSrc"):
            raise BadParameterError("either fromImage or fromSrc must be given")

        def work(line: Callable[[Mapping[str, Any]], None], cancelled: threading.Event) -> None:
            image = transfers.import_image(
                query["fromSrc"],
                request.chunks,
                _listener(line),
                repository=query.get("repo", ""),
                tag=query.get("tag", ""),
                message=query.get("message", ""),
                changes=request.queries.get("changes", ()),
                platform=query.get("platform", ""),
                cancelled=cancelled,
            )
            line({"status": image.id})

        return lines_answer(request, work)

    @router.route("POST", "/images/{name}/push")
    def push(request: Request) -> Answer:
        name, tag = request.parameters["name"], request.query.get("tag", "")

        def work(line: Callable[[Mapping[str, Any]], None], cancelled: threading.Event) -> None:
            tell = _pushing(engine, line)
            for pushed in transfers.push(name, tag, tell, credentials=credentials_of(request), cancelled=cancelled):
                aux = {"Tag": pushed.reference.tag, "Digest": pushed.digest, "Size": pushed.size}
                line({"progressDetail": {}, "aux": aux})

        return lines_answer(request, work)

    @router.route("GET", "/images/get")
    def save_several(request: Request) -> Answer:
        return _save(engine, request.queries.get("names", []))

    @router.route("GET", "/images/{name}/get")
    def save(request: Request) -> Answer:
        return _save(engine, [request.parameters["name"]])

    @router.route("POST", "/images/load")
    def load(request: Request) -> Answer:
        quiet = request.flag("quiet", default=True)

        def work(line: Callable[[Mapping[str, Any]], None], cancelled: threading.Event) -> None:
            try:
                engine.images.load(_body(request, cancelled), _loading(line, quiet))
            except ContentError as error:
                # As Docker does: the answer has begun with the first byte of the archive.
                line(error_line(f"Error processing tar file: {error}"))

        return lines_answer(request, work)

    @router.route("GET", "/images/search")
    def search(request: Request) -> Answer:
        filters = Filters.parse(request.query.get("filters"))
        for key in filters.values:
            if key not in _SEARCH_FILTERS:
                raise BadParameterError(f"invalid filter '{key}'")
        limit = request.number("limit") or 25
        if not 1 <= limit <= _LARGEST_ANSWER:
            raise BadParameterError(f"limit {limit} is outside the range of [1, {_LARGEST_ANSWER}]")
        try:
            stars = max((int(value) for value in filters["stars"]), default=0)
        except ValueError:
            raise BadParameterError("invalid filter 'stars=" + filters["stars"][0] + "'") from None
        official, automated = filters.truth("is-official"), filters.truth("is-automated")
        found = [
            each
            for each in transfers.search(request.query.get("term", ""), limit, credentials_of(request))
            if each.stars >= stars
            and (official is None or each.official is official)
            and (automated is None or each.automated is automated)
        ]
        return json_answer(
            [
                {
                    "star_count": each.stars,
                    "is_official": each.official,
                    "name": each.name,
                    "is_automated": each.automated,
                    "description": each.description,
                }
                for each in found
            ]
        )

    @router.route("POST", "/auth")
    def login(request: Request) -> Answer:
        from sim.images.registry import Credentials

        said = request.json(_Login)
        assert said is not None
        who = Credentials(said.username, said.password, said.identitytoken, said.registrytoken)
        transfers.login(said.serveraddress, who)
        return json_answer({"Status": "Login Succeeded", "IdentityToken": ""})


def _pull(engine: Engine, request: Request) -> Answer:
    name, tag = request.query["fromImage"], request.query.get("tag", "")

    def work(line: Callable[[Mapping[str, Any]], None], cancelled: threading.Event) -> None:
        def tell(progress: Progress) -> None:
            head, colon, rest = progress.text.partition(": ")
            if progress.stage is Stage.STATUS and colon and rest.startswith("Pulling from "):
                line({"status": rest, "id": head})
            elif (found := progress_line(progress)) is not None:
                line(found)

        engine.transfers.pull(
            name,
            tag,
            tell,
            platform=request.query.get("platform", ""),
            credentials=credentials_of(request),
            cancelled=cancelled,
        )

    return lines_answer(request, work)


def _pushing(engine: Engine, line: Callable[[Mapping[str, Any]], None]) -> Listener:
    """Tell of layers by their own digests, as Docker does, and not of what is no layer."""
    names: dict[str, str | None] = {}
    prepared: set[str] = set()

    def tell(progress: Progress) -> None:
        if progress.layer:
            if progress.layer not in names:
                names[progress.layer] = engine.store.diff_id_of(progress.layer)
            name = names[progress.layer]
            if name is None:
                return
            if progress.stage is Stage.PREPARING:
                if name in prepared:
                    return  # it is told for each form of a layer, and for each address that is tried
                prepared.add(name)
            progress = Progress(progress.stage, name, progress.current, progress.total, progress.text)
        if (found := progress_line(progress)) is not None:
            line(found)

    return tell


def _loading(line: Callable[[Mapping[str, Any]], None], quiet: bool) -> Listener:
    def word(progress: Progress) -> str | None:
        return "Loading layer" if progress.stage is Stage.EXTRACTING else None

    def tell(progress: Progress) -> None:
        if progress.stage is Stage.LOADED:
            line({"stream": f"Loaded image{'' if progress.text else ' ID'}: {progress.text or progress.layer}\n"})
        elif progress.stage is Stage.STATUS:
            line({"stream": f"{progress.text}\n"})
        elif not quiet and (found := progress_line(progress, word)) is not None:
            line(found)

    return tell


def _save(engine: Engine, names: Iterable[str]) -> Answer:
    wanted = list(names)
    if not wanted:
        raise BadParameterError("no image is named")
    return Streamed(lambda write: engine.images.save(wanted, write), "application/x-tar", late=True)


def _body(request: Request, cancelled: threading.Event) -> Iterator[bytes]:
    for chunk in request.chunks:
        if cancelled.is_set():
            raise EngineError("context canceled")
        yield chunk
