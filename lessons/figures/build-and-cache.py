"""The figure of lesson 8: an image with a secret that a later layer deletes."""

import sys
import tempfile

from sim import figures, graph
from sim.images import Store, file, image_from_layers, image_on, whiteout

with tempfile.TemporaryDirectory() as place:
    store = Store(place)
    base = image_from_layers(
        store,
        [store.add_entries([file("/bin/busybox", b"#" * 900_000), file("/etc/motd", "welcome\n")])],
        tags=["base:1"],
    )
    copied = image_on(store, base, [file("/srv/token", "s3cr3t\n")])
    used = image_on(store, copied, [file("/srv/config", "s3cr3t\n")])
    image_on(store, used, [whiteout("/srv/token")], tags=["leaky:1"])
    stack = graph.store_graph(store).stack("leaky:1")
    figures.save(
        figures.cross_section(graph.cross_section(stack)), sys.argv[1] if sys.argv[1:] else "build-and-cache.png"
    )
    store.close()
