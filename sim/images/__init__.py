"""Images: what one is, exactly, and how it travels.

The store
---------
>>> import tempfile
>>> from sim.images import Store, file, image_from_layers, image_on, whiteout
>>> with tempfile.TemporaryDirectory() as root, Store(root) as store:
...     below = image_from_layers(store, [store.add_entries([file("/etc/motd", "hello")])])
...     above = image_on(store, below, [whiteout("/etc/motd")], tags=["lesson:1"])
...     len(above.layers), [path.parent.name for path in store.layer_directories("lesson:1")]
(2, ['layers', 'layers'])

`Store(root)` opens or makes a store; any number of threads and processes may use one at once. It is an OCI image layout
(other tools read it as such) with each layer unpacked once beside it, in the kernel's overlay format.

- `store.image(name)`, `store.images()`: `Image` values (`id`, `tags`, `layers` bottom first, `settings`, `history`, …).
- `store.layer_directories(image)`: the layers' directories **topmost first**, as a mount's lower directories.
- `store.tag(image, name)`; `Reference.parse("ubuntu")`.
- `store.hold(owner, image)`, `store.release(owner)`: layers that a container needs stay, even if its image is removed.
- `store.lease()`: content added under a lease stays until an image refers to it; the work of a build.
- `store.collect()`: remove what nothing needs.

Making images
-------------
- `base_image(store)`: a root filesystem around the machine's static busybox; the same ID on each run.
- `image_from_rootfs(store, directory_or_tar, tags=["name"])`: one layer.
- `image_on(store, base, content, tags=[…])`: one layer more, from a directory in overlay format (a container's RW
  layer) or from plain entries: `file`, `directory`, `symlink`, `hardlink`, `whiteout`, `opaque`.

With `created` (and `modified` for a directory) given, the same input gives the same digests on each run.
"""

from __future__ import annotations

from sim.images.base import FIXED_TIME, base_entries
from sim.images.create import (
    architecture,
    base_image,
    image_from_layers,
    image_from_rootfs,
    image_on,
)
from sim.images.documents import MAX_LAYERS, Configuration, Descriptor, History, Manifest, Platform
from sim.images.entry import Entry, Kind, directory, file, hardlink, opaque, symlink, whiteout
from sim.images.errors import (
    AmbiguousError,
    AuthenticationError,
    ConflictError,
    ContentError,
    ImagesError,
    LayerTarError,
    NotFoundError,
    ReferenceError,
    RegistryError,
    SettingsError,
    StoreError,
    TooManyLayersError,
)
from sim.images.image import Image, Layer
from sim.images.lease import Lease
from sim.images.reference import Reference
from sim.images.store import Store

__all__ = [
    "FIXED_TIME",
    "MAX_LAYERS",
    "AmbiguousError",
    "AuthenticationError",
    "Configuration",
    "ConflictError",
    "ContentError",
    "Descriptor",
    "Entry",
    "History",
    "Image",
    "ImagesError",
    "Kind",
    "Layer",
    "LayerTarError",
    "Lease",
    "Manifest",
    "NotFoundError",
    "Platform",
    "Reference",
    "ReferenceError",
    "RegistryError",
    "SettingsError",
    "Store",
    "StoreError",
    "TooManyLayersError",
    "architecture",
    "base_entries",
    "base_image",
    "directory",
    "file",
    "hardlink",
    "image_from_layers",
    "image_from_rootfs",
    "image_on",
    "opaque",
    "symlink",
    "whiteout",
]
