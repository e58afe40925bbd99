"""The exceptions of the package.

Each text is one line that names the thing (reference, image, layer, file) and the mend or the cause, and is shown to
people as it is:

    ImagesError
    ├── ReferenceError       a name that is no image reference
    ├── NotFoundError        nothing has that name or ID
    ├── AmbiguousError       several images begin with that ID
    ├── ConflictError        an image that may not be removed now
    ├── ContentError         bytes that are not what their digest, size or format says
    │   └── LayerTarError    a layer's tar that cannot be unpacked safely, or a directory that cannot be packed
    ├── TooManyLayersError   more layers than any storage driver mounts
    ├── RegistryError        what a registry answered, or that it did not
    │   └── AuthenticationError
    ├── StoreError           a store that cannot be opened or written
    └── SettingsError        a daemon.json or config.json that cannot be used

Values only, any thread.
"""

from __future__ import annotations

__all__ = [
    "AmbiguousError",
    "AuthenticationError",
    "ConflictError",
    "ContentError",
    "ImagesError",
    "LayerTarError",
    "NotFoundError",
    "ReferenceError",
    "RegistryError",
    "SettingsError",
    "StoreError",
    "TooManyLayersError",
]


class ImagesError(Exception):
    """Base of everything that goes wrong with images."""


class ReferenceError(ImagesError):
    """A text that is no image reference."""


class NotFoundError(ImagesError):
    """Nothing in the store, the archive or the registry has this name."""


class AmbiguousError(ImagesError):
    """More than one image begins with this ID."""


class ConflictError(ImagesError):
    """An image that may not be removed: used by a container, the parent of another, or named several times."""


class ContentError(ImagesError):
    """Bytes that are not what their digest, their size or their format says."""


class LayerTarError(ContentError):
    """A layer's tar that is broken or not safe to unpack, or a directory that no tar can hold."""


class TooManyLayersError(ImagesError):
    """An image of more layers than storage drivers mount."""


class RegistryError(ImagesError):
    """What a registry answered, or that it did not answer.

    Attributes
    ----------
    status
        The HTTP status, 0 where there was none.
    code
        The registry's own word for it, such as MANIFEST_UNKNOWN; empty where it gave none.
    retry_after
        After how many seconds the registry wants to be asked again; None where it does not say.
    """

    def __init__(self, text: str, status: int = 0, code: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.retry_after: float | None = None


class AuthenticationError(RegistryError):
    """The registry wants other credentials, or any."""


class StoreError(ImagesError):
    """A store that cannot be opened or written."""


class SettingsError(ImagesError):
    """A settings file that cannot be used; the text says file, line and key."""
