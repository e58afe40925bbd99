"""The registry client: images from and to other machines, by the OCI distribution protocol.

- `pull(store, reference, registries)`, `push(store, reference, registries)`: whole images, with progress.
- `Registries`: where registries are and how to speak to them: mirrors, insecure ones, CA directories, credentials.
- `RegistryClient`: the protocol's single requests: manifests, blobs, tags, catalog, delete.

No client library does this fully (the known Python ones have no resume, mirrors, cross-repository mounts or checks
while streaming), so the protocol is spoken here, on httpx.
"""

from __future__ import annotations

from sim.images.registry.client import RegistryClient
from sim.images.registry.credentials import Credentials, DockerConfig
from sim.images.registry.endpoints import Endpoint, Registries
from sim.images.registry.pull import Pulled, pull, pull_all
from sim.images.registry.push import Pushed, push

__all__ = [
    "Credentials",
    "DockerConfig",
    "Endpoint",
    "Pulled",
    "Pushed",
    "Registries",
    "RegistryClient",
    "pull",
    "pull_all",
    "push",
]
