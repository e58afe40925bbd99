# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. An image is a stack of layers
#
# An image is not one archive of files. It is a list of **layers**, and each layer says only what it adds, changes or
# deletes. Two images that begin alike share their first layers: those are on disk once.
#
# Below, three images are made in a real image store. Follow the arrows down from each image to the base.

# %%
import tempfile

from sim import figures, graph
from sim.images import Store, file, image_from_layers, image_on, whiteout

home = tempfile.TemporaryDirectory()
store = Store(home.name)

base = image_from_layers(
    store,
    [
        store.add_entries(
            [
                file("/bin/sh", b"#" * 120_000),
                file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
                file("/etc/motd", "welcome\n"),
                file("/usr/share/doc/manual", b"." * 60_000),
            ]
        )
    ],
    tags=["base:1"],
)
python = image_on(
    store,
    base,
    [
        file("/usr/bin/python3", b"p" * 70_000),
        file("/usr/lib/python3/os.py", b"o" * 30_000),
    ],
    tags=["python:3"],
)
image_on(
    store,
    python,
    [
        file("/srv/shop.py", b"s" * 9_000),
        file("/etc/motd", "the shop\n"),
        whiteout("/usr/share/doc/manual"),
    ],
    tags=["shop:1"],
)
image_on(store, python, [file("/srv/blog.py", b"b" * 14_000)], tags=["blog:1"])

images = graph.store_graph(store)
figures.image_dag(graph.image_dag(images))

# %%
print("This notebook ran on an image store in a temporary directory; it needs no mount")

# %% [markdown]
# The rimmed discs are shared: the base layer has four users and is on disk once.
#
# ## A layer is known by what is in it
#
# Its name is the SHA-256 digest of its bytes. Whoever makes the same layer gets the same name, on any machine. That
# is why sharing needs no bookkeeping: the same name is the same content.

# %%
for layer in store.image("shop:1").layers:
    print(f"{layer.diff_id[:19]}…  {layer.size:>7,} bytes  {layer.entries} names")

# %% [markdown]
# ## Cut open
#
# Here is `shop:1` cut open. Each row is a layer, each column a path. Look down from the top: the first layer that has
# the path is the one a process sees. The top layer *changes* `/etc/motd` and *deletes* the manual. Neither is gone
# from the layer below. It is hidden.

# %%
shop = images.stack("shop:1")
figures.cross_section(graph.cross_section(shop))

# %% [markdown]
# What is hidden is still stored, and still pulled over the network by everybody who uses the image:

# %%
for wasted in graph.waste(shop):
    print(f"{wasted.bytes:>7,} bytes of {wasted.path}, {wasted.cause} by layer {wasted.by}")
print(f"{graph.efficiency(shop):.0%} of the image's bytes can be seen")

# %% [markdown]
# ## What fills a layer?

# %%
figures.icicle(graph.icicle(images.stack("base:1").layers[0]))

# %% [markdown]
# ## Who made this file what it is?

# %%
for event in graph.history(shop, "/etc/motd"):
    print(f"layer {event.layer} ({event.name}): {event.what}, {event.bytes} bytes")

# %% [markdown]
# **Try it.** Add a layer to `blog:1` that writes `/etc/motd` again. How many copies of it are stored now? How many
# can be seen?

# %%
store.close()
home.cleanup()
