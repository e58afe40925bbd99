"""References: how people name images, and the one full form behind it.

Decided here and only here: the grammar of `distribution/reference` with Docker's defaults (`ubuntu` means
`docker.io/library/ubuntu:latest`), and the short form that is shown. Frozen values, any thread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sim.images.errors import ReferenceError

__all__ = ["DEFAULT_DOMAIN", "DEFAULT_TAG", "Reference", "is_id_prefix"]

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")
_LONGEST = 255


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """The full name of an image.

    Attributes
    ----------
    domain
        The registry, with its port if it has one.
    path
        The repository in it.
    tag
        Empty where a digest alone was given.
    digest
        Empty where none was given.
    """

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str, *, default_tag: str = DEFAULT_TAG) -> Reference:
        """Read what a person wrote.

        Parameters
        ----------
        text
            `name`, `name:tag`, `name@sha256:…` or `name:tag@sha256:…`.
        default_tag
            The tag where neither a tag nor a digest was given; empty for none.

        Raises
        ------
        ReferenceError
            The text is no reference; says what is wrong with it.

        Examples
        --------
        >>> str(Reference.parse("ubuntu"))
        'docker.io/library/ubuntu:latest'
        >>> Reference.parse("localhost:5000/team/app:2").familiar
        'localhost:5000/team/app:2'
        """
        shown = text if len(text) <= 300 else text[:300] + "…"
        name, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise ReferenceError(f"{shown!r}: invalid reference format: what follows @ must be a digest, sha256:…")
        if digest.startswith("sha256:") and (len(digest) != 71 or digest != digest.lower()):
            raise ReferenceError(f"{shown!r}: invalid reference format: a sha256 digest has 64 lower-case digits")
        tag = ""
        last = name.rfind("/")
        colon = name.find(":", last + 1)
        if colon >= 0:
            name, tag = name[:colon], name[colon + 1 :]
            if not _TAG.fullmatch(tag):
                raise ReferenceError(f"{shown!r}: invalid reference format: {tag[:130]!r} is no tag")
        if re.fullmatch(r"[0-9a-f]{64}", name):
            raise ReferenceError(f"{shown!r}: invalid repository name: 64 hexadecimal digits are an image ID")
        domain, slash, path = name.partition("/")
        if not slash or not (set(".:[") & set(domain) or domain == "localhost" or domain != domain.lower()):
            domain, path = DEFAULT_DOMAIN, name
        if domain == "index.docker.io":
            domain = DEFAULT_DOMAIN
        if path != path.lower():
            raise ReferenceError(f"{shown!r}: invalid reference format: repository name must be lowercase")
        if not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path):
            raise ReferenceError(f"{shown!r}: invalid reference format")
        if domain == DEFAULT_DOMAIN and "/" not in path:
            path = "library/" + path
        if len(domain) + 1 + len(path) > _LONGEST:
            raise ReferenceError(f"{shown!r}: repository name must not be more than {_LONGEST} characters")
        return cls(domain, path, tag or ("" if digest else default_tag), digest)

    @property
    def repository(self) -> str:
        """The full name without tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """The name without tag and digest, shortened as it is shown."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        short = self.path.removeprefix("library/")
        return self.path if "/" in short else short

    @property
    def familiar(self) -> str:
        """The reference as it is shown: defaults of domain and `library/` left away."""
        return self.familiar_repository + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_tag(self, tag: str) -> Reference:
        """Return the same repository under a tag alone."""
        return replace(self, tag=tag, digest="")

    def with_digest(self, digest: str) -> Reference:
        """Return the same repository under a digest alone."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        """Return the full form, which parses to the same reference."""
        return self.repository + self._suffix


def is_id_prefix(text: str) -> bool:
    """Tell whether the text could be an image ID or the beginning of one.

    >>> is_id_prefix("sha256:ab12"), is_id_prefix("beef"), is_id_prefix("ubuntu")
    (True, True, False)
    """
    return bool(_ID.fullmatch(text))
