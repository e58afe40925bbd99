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
# # 6. Sharing, and what it saves
#
# A hundred containers of one image do not take a hundred times its bytes. The image's layers are on disk once; each
# container adds what it wrote. Here a hundred are started, each does a little work, and what they take is counted.

# %%
from sim import figures, graph

lab = graph.Lab(mounted=False)  # a hundred real mounts would work as well, but not within a minute
lab.layer("debian", {"/bin/sh": 1_200_000, "/usr/lib/libc.so": 2_100_000, "/etc/passwd": "root:x:0:0\n"})
lab.layer("python", {"/usr/bin/python3": 6_000_000, "/usr/lib/python3/os.py": 900_000})
lab.layer("shop", {"/srv/shop.py": 60_000, "/srv/data.db": 200_000})
image = sum(layer.bytes for layer in lab.start("idle").stack().layers[1:])

rw = []
for number in range(100):
    box = lab.start(f"shop-{number}")
    box.write("/run.pid", str(number))
    if number % 10 == 0:
        box.append("/srv/data.db", "one order\n")  # copies the database up
    rw.append(box.stack().layers[0].bytes)
    box.close()
figures.savings_curve(graph.savings_curve("the shop", image, rw))

# %%
print("This notebook ran on", lab.how)

# %% [markdown]
# Every tenth container writes to its database, and pays for a copy of it. The others take a few bytes each.
#
# ## Exactly
#
# The same from the graph of all layers. *Virtual* is what a container seems to take, *unique* what removing it would
# free.

# %%
whole = lab.graph()
for size in sorted(graph.sizes(whole), key=lambda size: -size.unique)[:3] + list(graph.sizes(whole)[-2:]):
    print(f"{size.name:<9} virtual {size.virtual:>12,}  shared {size.shared:>12,}  unique {size.unique:>8,}")
print(f"on disk, all together: {graph.disk_bytes(whole.all_stacks()):,} bytes")

# %%
figures.waterfall(graph.waterfall(whole))

# %% [markdown]
# ## Images share, too
#
# Three images on one base, and a container of each. Filled: on disk for the first time. Outlined: the same layer
# again, which costs nothing.

# %%
shelf = graph.Lab(mounted=False)
shelf.layer("debian", {"/bin/sh": 1_200_000, "/usr/lib/libc.so": 2_100_000})
shelf.layer("python", {"/usr/bin/python3": 4_000_000})
shelf.layer("node", {"/usr/bin/node": 5_500_000})
for name in ("shop", "blog", "chat"):
    shelf.layer(name, {f"/srv/{name}": 700_000})
shelf.start("web-shop", ["shop", "python", "debian"]).write("/log", "x" * 200_000)
shelf.start("web-blog", ["blog", "python", "debian"]).write("/log", "x" * 90_000)
shelf.start("web-chat", ["chat", "node", "debian"]).write("/log", "x" * 400_000)
figures.sharing(graph.sharing(shelf.graph()))

# %% [markdown]
# ## The order matters
#
# Layers are shared from the bottom up. If the application were *below* the interpreter, no two images would have a
# layer in common above the base: what is on top is different for everybody. Put what changes least at the bottom.

# %%
wrong = graph.Lab(mounted=False)
wrong.layer("debian", {"/bin/sh": 1_200_000, "/usr/lib/libc.so": 2_100_000})
for name in ("shop", "blog"):
    wrong.layer(f"{name} and python", {f"/srv/{name}": 700_000, "/usr/bin/python3": 4_000_000})
    wrong.start(f"web-{name}", [f"{name} and python", "debian"])
figures.sharing(graph.sharing(wrong.graph()))

# %% [markdown]
# **Try it.** How many bytes would a hundred containers take if each of them ran `chmod -R` over `/usr` at its start?

# %%
for bench in (lab, shelf, wrong):
    bench.close()
