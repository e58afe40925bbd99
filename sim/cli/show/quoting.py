"""Texts put into quotes as Go does, and the short forms of identities and image names.

Decided here and only here. Pure functions; any thread.
"""

from __future__ import annotations

__all__ = ["familiar", "quoted", "short_id"]

_LETTERS = {
    '"': '\\"',
    "\\": "\\\\",
    **{chr(code): f"\\{letter}" for code, letter in zip(range(7, 14), "abtnvfr", strict=True)},
}


def quoted(text: str) -> str:
    r"""Return a text as Go's `strconv.Quote`.

    >>> print(quoted('sh -c "a\tb\x1b"…'))
    "sh -c \"a\tb\x1b\"…"
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(_one(one) for one in text)}"'


def _one(one: str) -> str:
    if one in _LETTERS:
        return _LETTERS[one]
    if one.isprintable():
        return one
    code = ord(one)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def short_id(identity: str) -> str:
    """Return the first twelve digits of an ID or digest.

    >>> short_id("sha256:0123456789abcdef")
    '0123456789ab'
    """
    return identity.partition(":")[2][:12] if ":" in identity else identity[:12]


def familiar(name: str) -> str:
    """Return an image's name as it is shown: without the default registry.

    >>> familiar("docker.io/library/redis:7"), familiar("docker.io/team/app"), familiar("localhost:5000/a")
    ('redis:7', 'team/app', 'localhost:5000/a')
    """
    short = name.removeprefix("docker.io/")
    return short.removeprefix("library/") if short.count("/") == 1 else short
