"""`layerlab base`: a small base image for the engine, made of what this machine has; no network is needed.

Decided here: that it comes as an archive, by the same way as any other image. What is in it is decided in
`sim.images.base`.
"""

from __future__ import annotations

import tempfile

from sim.cli.commands.archives import pieces
from sim.cli.commands.registries import reference
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker

__all__ = ["base"]


@docker(
    "[NAME[:TAG]]",
    "Give the engine a small base image, made around this machine's busybox",
    most=1,
    examples=("layerlab base", "layerlab base busybox && layerlab run -it --rm busybox"),
)
def base(call: Call) -> None:
    """Make the base image and load it."""
    from sim.images import ImagesError, Store, base_image, save

    name = call.arguments[0] if call.arguments else "base"
    reference(name)
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as archive:
        try:
            with Store(directory) as store:
                image = base_image(store, name)
                save(store, [image.tags[0].familiar], archive.write)
        except ImagesError as error:
            raise Failure(str(error)) from None
        archive.seek(0)
        with call.engine.stream(
            "POST", "/images/load", pieces(archive), {"Content-Type": "application/x-tar"}, quiet=True
        ) as stream:
            for said in stream.objects():
                if "error" in said:
                    raise Failure(str(said["error"]))
    print(f"{image.tags[0].familiar}  {image.short_id}")
