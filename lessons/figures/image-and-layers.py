"""The figure of lesson 2: two images on one base, with the layers that they share."""

import sys
import tempfile

from sim import figures, graph
from sim.images import Store, file, image_from_layers, image_on

with tempfile.TemporaryDirectory() as place:
    store = Store(place)
    base = image_from_layers(
        store,
        [
            store.add_entries(
                [
                    file("/bin/busybox", b"#" * 900_000),
                    file("/etc/motd", "welcome to the base\n"),
                    file("/usr/share/doc/manual", b"." * 24_000),
                ]
            )
        ],
        tags=["base:1"],
    )
    image_on(store, base, [file("/usr/bin/tool", b"t" * 90_000)], tags=["tools:1"])
    image_on(store, base, [file("/srv/index.html", b"h" * 40_000)], tags=["site:1"])
    image_on(store, base, [file("/usr/share/doc/manual", b"!" * 24_000)], tags=["fat:1"])
    figures.save(
        figures.image_dag(graph.image_dag(graph.store_graph(store))),
        sys.argv[1] if sys.argv[1:] else "image-and-layers.png",
    )
    store.close()
