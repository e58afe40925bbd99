"""Selecting images by the filters of `image ls` and `image prune`.

Decided here and only here: what `reference`, `dangling`, `since`, `before`, `until` and `label` mean. Functions only;
any thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sim.images.documents import nanoseconds
from sim.images.errors import ImagesError
from sim.images.image import Image
from sim.images.reference import Reference

__all__ = ["has_labels", "matches", "matching", "select"]


def select(
    images: Iterable[Image],
    *,
    reference: Sequence[str] = (),
    dangling: bool | None = None,
    since: Image | None = None,
    before: Image | None = None,
    until: str | int | None = None,
    label: Sequence[str] = (),
    without_label: Sequence[str] = (),
) -> list[Image]:
    """Return the images that all the filters let through, in their order.

    Parameters
    ----------
    reference
        Patterns of names; one of them must match.
    dangling
        Only those without a tag (true), or only those that something names (false); one that registries know by its
        digest is both.
    since, before
        Only those made after, or before, another image; of one moment, those that came into the store after or before.
    until
        Only those made before this time: RFC 3339, or nanoseconds since the epoch.
    label, without_label
        `key` or `key=value`, of which all, or none, must be there.
    """
    moment = nanoseconds(until) if isinstance(until, str) else until
    if moment == 0:
        raise ImagesError(f"until={until}: this is no time of the form 2024-01-31T12:00:00Z")

    def order(image: Image) -> tuple[int, int]:
        return image.created_ns, image.number

    return [
        image
        for image in images
        if (not reference or any(matches(pattern, image) for pattern in reference))
        and (dangling is None or (not image.dangling if not dangling else not image.tags and not image.intermediate))
        and (since is None or order(image) > order(since))
        and (before is None or order(image) < order(before))
        and (moment is None or image.created_ns < moment)
        and has_labels(image.labels, label)
        and not any(has_labels(image.labels, [unwanted]) for unwanted in without_label)
    ]


def has_labels(labels: dict[str, str], wanted: Iterable[str]) -> bool:
    """Tell whether all of `key` or `key=value` are among the labels.

    >>> has_labels({"team": "a"}, ["team", "team=a"]), has_labels({"team": "a"}, ["team=b"])
    (True, False)
    """
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def matches(pattern: str, image: Image) -> bool:
    """Tell whether a pattern matches one of an image's names, as it is shown, with its tag or without.

    `*` and `?` stand for anything but a slash, as in Go's `path.Match`, which Docker uses.
    """
    return bool(matching([pattern], (*image.tags, *image.digests)))


def matching(patterns: Iterable[str], names: Iterable[Reference]) -> tuple[Reference, ...]:
    """Return the names that one of some patterns matches; see `matches`."""
    forms = [re.compile(_expression(pattern), re.DOTALL) for pattern in patterns]
    return tuple(
        name
        for name in names
        if any(form.fullmatch(text) for form in forms for text in (name.familiar, name.familiar_repository))
    )


def _expression(pattern: str) -> str:
    parts = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "[" and (end := pattern.find("]", at + 1)) > 0:
            inside = pattern[at:end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[{inside}]")
            at = end + 1
        elif char == "\\" and at < len(pattern):
            parts.append(re.escape(pattern[at]))
            at += 1
        else:
            parts.append(re.escape(char))
    try:
        re.compile("".join(parts))
    except re.error:
        raise ImagesError(f"reference={pattern}: syntax error in pattern") from None
    return "".join(parts)
