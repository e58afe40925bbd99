r"""Option strings, as mount(8) and overlayfs write them: words between commas, directories between colons.

Decided here and only here: what a backslash does. It keeps the comma or colon after it from separating, and two of them
are one (the kernel's document `filesystems/overlayfs`, section "Multiple lower layers"). A word in double quotes, as
podman writes SELinux contexts, is not separated either. Functions only: any thread.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["split", "unescape"]


def split(text: str, separator: str) -> Iterator[str]:
    r"""Yield the parts between separators, escapes and quotes kept.

    Examples
    --------
    >>> list(split(r"lowerdir=a\,b:c,volatile", ","))
    ['lowerdir=a\\,b:c', 'volatile']
    >>> list(split('context="u:r:t:s0:c1,c2",ro', ","))
    ['context="u:r:t:s0:c1,c2"', 'ro']
    """
    part = ""
    quoted = False
    characters = iter(text)
    for character in characters:
        if character == "\\":
            part += character + next(characters, "")
        elif character == separator and not quoted:
            yield part
            part = ""
        else:
            if character == '"':
                quoted = not quoted and part.endswith("=")
            part += character
    yield part


def unescape(text: str) -> str:
    r"""Return a part without its escapes.

    >>> unescape(r"one\:two\\three")
    'one:two\\three'
    """
    characters = iter(text)
    return "".join(next(characters, "\\") if character == "\\" else character for character in characters)
