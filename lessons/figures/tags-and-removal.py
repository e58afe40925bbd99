"""The figure of lesson 9: images, their names, and the layers that they share."""

import sys
import tempfile

from sim import figures, graph
from sim.images import Store, file, image_from_layers, image_on

with tempfile.TemporaryDirectory() as place:
    store = Store(place)
    base = image_from_layers(
        store,
        [store.add_entries([file("/bin/busybox", b"#" * 900_000), file("/etc/motd", "welcome\n")])],
        tags=["base:1"],
    )
    image_on(store, base, [file("/news", "yesterday\n")], tags=["news:yesterday"])
    image_on(store, base, [file("/news", "today\n")], tags=["news:latest"])
    shop = image_on(store, base, [file("/usr/share/library", b"\0" * 500_000)])
    image_on(store, shop, [file("/srv/shop.py", "print('open')\n")], tags=["shop:2", "shop:stable"])
    figures.save(
        figures.image_dag(graph.image_dag(graph.store_graph(store))),
        sys.argv[1] if sys.argv[1:] else "tags-and-removal.png",
    )
    store.close()
