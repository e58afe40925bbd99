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
# # 5. A container is one RW layer
#
# What makes a container different from its image? One directory: its RW layer, on top of the image's read-only
# layers. All that its processes change is there. Everything else is shared.
#
# Two containers of one image, each with its own changes:

# %%
from sim import figures, graph

lab = graph.Lab()
lab.layer(
    "base",
    {"/bin/sh": 900_000, "/etc/passwd": "root:x:0:0\n", "/etc/motd": "welcome\n", "/usr/share/doc/manual": 40_000},
)
lab.layer("app", {"/srv/app.py": 30_000, "/srv/config.toml": "debug = false\n"})
one, two = lab.start("one"), lab.start("two")
one.append("/etc/passwd", "app:x:1000:1000\n")
one.remove("/usr/share/doc")
one.write("/var.log", "started\n")
two.write("/srv/config.toml", "debug = true\n")
figures.sharing(graph.sharing(lab.graph()))

# %%
print("This notebook ran on", lab.how)

# %% [markdown]
# Neither sees what the other did:

# %%
print("one:", one.read("/srv/config.toml").decode().strip(), "| names in /:", one.names("/"))
print("two:", two.read("/srv/config.toml").decode().strip(), "| names in /:", two.names("/"))

# %% [markdown]
# ## What changed?
#
# `docker diff` answers from the RW layer alone. Here is the first container before its first operation, and now:

# %%
figures.change_tree(graph.change_tree(one.stack(at=0), one.stack(), names=("the image", "container one")))

# %% [markdown]
# ## Any moment of the past
#
# The journal takes us back. After each operation that changed something, this many bytes were in the RW layer:

# %%
for operation in one.operations():
    if operation.effects:
        rw = one.stack(at=operation.number).layers[0]
        print(
            f"{operation.number:>4} {operation.kind:<8} {operation.path:<24} {rw.bytes:>4} bytes in {len(rw.entries) - 1} entries"
        )

# %% [markdown]
# ## Where was it read, where was it written?

# %%
for _ in range(5):
    one.read("/srv/app.py")
one.read("/bin/sh")
figures.heat(graph.heat(one.stack()))

# %% [markdown]
# ## From container to image
#
# Take the RW layer and call it read-only: it is a layer like any other. This is `docker commit`, and it is how every
# step of a build becomes a layer.

# %%
one.close()
lab.layers["committed"] = one.upper
three = lab.start("three", ["committed", "app", "base"])
print(three.read("/etc/passwd").decode())
figures.cross_section(graph.cross_section(three.stack()))

# %% [markdown]
# **Try it.** What is lost when a container is removed? What is lost when its image is?

# %%
lab.close()
