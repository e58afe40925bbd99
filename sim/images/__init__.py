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

Living with images
------------------
- `remove(store, name, uses=…)`, `prune(store, …)`: what Docker untags, deletes and refuses; `Use` is a container.
- `select(images, since=…, label=…)`: the filters of `image ls`.
- `account(images)`, `disk_usage(store, used=…)`: which bytes belong to whom, exactly.
- `commit(store, image, upper, …)`, `export(view, write)`, `import_tar(store, tar)`; `apply_changes` is `--change`.
- `save(store, names, write)`, `load(store, chunks)`: archives, to and from a file or a pipe.

Beside this package, because they bring an HTTP library along: `sim.images.registry` (`pull`, `push`, `Registries`) and
`sim.images.daemonjson` (`read_settings`).

Every error is an `ImagesError` whose text is one line for people.
"""

from __future__ import annotations

from sim.images.accounting import Accounts, DiskUsage, ImageAccount, LayerAccount, account, disk_usage
from sim.images.archive import load, save
from sim.images.base import FIXED_TIME, base_entries
from sim.images.changes import apply_changes
from sim.images.commit import commit, export, import_tar
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
from sim.images.progress import Listener, Progress, Stage
from sim.images.reference import Reference
from sim.images.removal import Pruned, Removed, Use, prune, remove
from sim.images.selection import select
from sim.images.store import Store

__all__ = [
    "FIXED_TIME",
    "MAX_LAYERS",
    "Accounts",
    "AmbiguousError",
    "AuthenticationError",
    "Configuration",
    "ConflictError",
    "ContentError",
    "Descriptor",
    "DiskUsage",
    "Entry",
    "History",
    "Image",
    "ImageAccount",
    "ImagesError",
    "Kind",
    "Layer",
    "LayerAccount",
    "LayerTarError",
    "Lease",
    "Listener",
    "Manifest",
    "NotFoundError",
    "Platform",
    "Progress",
    "Pruned",
    "Reference",
    "ReferenceError",
    "RegistryError",
    "Removed",
    "SettingsError",
    "Stage",
    "Store",
    "StoreError",
    "TooManyLayersError",
    "Use",
    "account",
    "apply_changes",
    "architecture",
    "base_entries",
    "base_image",
    "commit",
    "directory",
    "disk_usage",
    "export",
    "file",
    "hardlink",
    "image_from_layers",
    "image_from_rootfs",
    "image_on",
    "import_tar",
    "load",
    "opaque",
    "prune",
    "remove",
    "save",
    "select",
    "symlink",
    "whiteout",
]
