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
# # 7. One instruction, one layer: three classic mistakes
#
# Each instruction of a Dockerfile makes one layer on those before it. What an earlier layer has can be hidden by a
# later one, never removed. Most wasted bytes in the images of the world come from forgetting this.
#
# Below: an image with all three mistakes. Hatched is stored, shipped, and seen by nobody.

# %%
import tempfile
from pathlib import Path

from sim import figures, graph
from sim.images import Store, file, image_from_layers, image_on, whiteout

home = tempfile.TemporaryDirectory()
store = Store(home.name)
tools = {f"/usr/bin/tool-{n}": b"t" * 40_000 for n in range(3)}

image = image_from_layers(
    store,
    [
        store.add_entries(
            [  # FROM base
                file("/bin/sh", b"#" * 90_000),
                *(file(path, data, mode=0o644) for path, data in tools.items()),
            ]
        )
    ],
    tags=["base:1"],
)
image = image_on(
    store,
    image,
    [  # COPY . /srv
        file("/srv/app.py", b"a" * 20_000),
        file("/srv/id_rsa", "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
    ],
)
image = image_on(
    store,
    image,
    [  # RUN apt-get install build-essential
        file("/usr/lib/gcc/cc1", b"c" * 180_000),
        file("/var/cache/apt/pkgcache.bin", b"p" * 120_000),
    ],
)
image = image_on(
    store,
    image,
    [  # RUN apt-get purge build-essential && rm -rf /var/cache/apt /srv/id_rsa
        whiteout("/usr/lib/gcc"),
        whiteout("/var/cache/apt"),
        whiteout("/srv/id_rsa"),
    ],
)
image = image_on(
    store,
    image,
    [  # RUN chmod -R +x /usr/bin
        file(path, data, mode=0o755) for path, data in tools.items()
    ],
    tags=["careless:1"],
)

images = graph.store_graph(store)
careless = images.stack("careless:1")
figures.cross_section(graph.cross_section(careless))

# %% [markdown]
# ## Who wasted what?
#
# For each hidden file: how many bytes, which layer still has them, and which layer hides them.

# %%
for one in graph.waste(careless):
    print(f"{one.bytes:>8,} bytes  {one.path:<30} in layer {one.layer}, {one.cause} by layer {one.by}")
wasted = sum(one.bytes for one in graph.waste(careless))
print(f"\n{wasted:,} of {graph.virtual_bytes(careless):,} bytes wasted: {graph.efficiency(careless):.0%} can be seen")

# %% [markdown]
# ### Mistake 1: clean up in a later layer
#
# The package cache and the compiler were deleted by the *next* instruction. Their bytes stayed in the layer before.
# **Mend:** install, use and delete in one instruction.
#
# ### Mistake 2: `chmod -R`
#
# Not one byte of the tools was changed, only their mode. But a layer has whole files: all of them were stored again.
# **Mend:** set the mode where the file is made (`COPY --chmod`).
#
# ### Mistake 3: delete a secret
#
# The key cannot be seen in the container. Anybody who has the image can read it: it is in the layer, in plain text.

# %%
for layer in store.image("careless:1").layers:
    for leaked in filter(Path.is_file, layer.path.rglob("id_rsa")):
        print(f"layer {layer.diff_id[7:19]}: {leaked.read_text().strip()}")

# %% [markdown]
# **Mend:** never copy a secret in (`.dockerignore`, build secrets). Once it is in an image that was pushed, change
# the key.
#
# ## The same image, made with care

# %%
built = image_on(
    store,
    store.image("base:1"),
    [
        *(
            file(path, data, mode=0o755) for path, data in list(tools.items())[:1]
        ),  # only the one that must be executable
    ],
)
image_on(store, built, [file("/srv/app.py", b"a" * 20_000)], tags=["careful:1"])
figures.sharing(graph.sharing(graph.store_graph(store), ["careless:1", "careful:1"]))

# %%
for name in ("careless:1", "careful:1"):
    stack = graph.store_graph(store).stack(name)
    print(f"{name:<11} {graph.virtual_bytes(stack):>9,} bytes, {graph.efficiency(stack):.0%} of them can be seen")

# %% [markdown]
# **Try it.** Put the compiler, its use and its removal into one layer. What does `graph.waste` say now?

# %%
store.close()
home.cleanup()
