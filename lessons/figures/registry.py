"""The figure of lesson 10: what images say they are worth, and what is stored."""

import sys
import tempfile

from sim import figures, graph
from sim.images import Store, file, image_from_layers, image_on

with tempfile.TemporaryDirectory() as place:
    store = Store(place)
    base = image_from_layers(store, [store.add_entries([file("/bin/busybox", b"#" * 900_000)])], tags=["base:1"])
    shop = image_on(store, base, [file("/usr/share/library", b"\0" * 500_000)])
    image_on(store, shop, [file("/srv/shop.py", b"p" * 30_000)], tags=["shop:1"])
    image_on(store, shop, [file("/srv/shop.py", b"q" * 31_000)], tags=["shop:2"])
    image_on(store, base, [file("/news", b"n" * 60_000)], tags=["news:1"])
    figures.save(
        figures.sharing(graph.sharing(graph.store_graph(store))), sys.argv[1] if sys.argv[1:] else "registry.png"
    )
    store.close()
