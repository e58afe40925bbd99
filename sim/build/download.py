"""Fetching by HTTP: what ADD names by a URL, and remote contexts.

Decided here and only here: the name and the time that a fetched file gets, and how much may come. httpx is loaded when
the first thing is fetched. Functions; any thread.
"""

from __future__ import annotations

import email.utils
import os
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sim.build.errors import BuildError
from sim.build.values import BuildMessage, MessageKind, Output
from sim.images.compression import LARGEST_LAYER
from sim.images.progress import Progress, Stage

__all__ = ["download", "fetched"]

_UNNAMED = "__unnamed__"


def fetched(url: str, output: Output, check: Callable[[], object]) -> Iterator[tuple[dict[str, str], bytes]]:
    """Yield the content of a URL as it comes, each part with the headers of the answer.

    Raises
    ------
    BuildError
        It cannot be fetched.
    """
    import httpx

    try:
        with (
            httpx.Client(follow_redirects=True, timeout=30) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer,
        ):
            if answer.status_code >= 400:
                raise BuildError(f"failed to GET {url} with status {answer.status_code} {answer.reason_phrase}: ")
            headers = {name.lower(): value for name, value in answer.headers.items()}
            size = headers.get("content-length", "")
            total = int(size) if size.isdigit() else 0
            done = 0
            yield headers, b""
            for part in answer.iter_raw(1 << 18):
                check()
                done += len(part)
                if done > LARGEST_LAYER:
                    raise BuildError(f"{url}: more than {LARGEST_LAYER} bytes")
                output(BuildMessage(MessageKind.STATUS, progress=Progress(Stage.DOWNLOADING, "", done, total)))
                yield headers, part
    except httpx.HTTPError as error:
        raise BuildError(f'Get "{url}": {error}') from None
    except httpx.InvalidURL as error:
        raise BuildError(f"parse {url}: {error}") from None


def download(url: str, place: Path, target: str, output: Output, check: Callable[[], object]) -> str:
    """Fetch what ADD names by a URL; return the name of the file.

    Raises
    ------
    BuildError
        It cannot be fetched, or has no name where the target needs one.
    """
    name = posixpath.basename(unquote(urlsplit(url).path))
    parts = fetched(url, output, check)
    headers, _ = next(parts)
    if name in ("", ".", ".."):
        name = _named(headers)
    if not name:
        if target.endswith("/"):
            raise BuildError(f"cannot determine filename for source {url}")
        name = _UNNAMED
    path = place / name
    with open(path, "wb") as file:
        for _, part in parts:
            file.write(part)
    path.chmod(0o600)
    changed = email.utils.parsedate_to_datetime(headers["last-modified"]) if "last-modified" in headers else None
    moment = int(changed.timestamp()) if changed else 0
    os.utime(path, (moment, moment))
    return name


def _named(headers: dict[str, str]) -> str:
    from email.message import Message

    message = Message()
    message["content-disposition"] = headers.get("content-disposition", "")
    name = posixpath.basename((message.get_filename() or "").replace("\\", "/"))
    return "" if name in (".", "..") else name
