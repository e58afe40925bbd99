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
# # 2. How a union filesystem finds a file
#
# A process opens `/etc/hosts`. Which layer is it read from? The union asks the layers from the top down, name by
# name. The numbers below are the order in which it asks.

# %%
from sim import figures, graph

lab = graph.Lab()
lab.layer("base", {"/etc/hosts": "127.0.0.1 localhost\n", "/etc/passwd": "root\n", "/usr/lib/libc.so": 400_000})
lab.layer("python", {"/usr/lib/python3/os.py": 30_000, "/usr/bin/python3": 60_000})
lab.layer("shop", {"/srv/shop.py": 5_000, "/etc/hosts": "10.0.0.7 shop\n"})
box = lab.start("web")
figures.lookup_walk(graph.lookup_walk(box.stack(), "/etc/hosts"))

# %%
print("This notebook ran on", lab.how)

# %% [markdown]
# `etc` is a **directory**, so the search goes on: directories of one name *merge*, and names from all of them are
# seen. `hosts` is a **file**, so the first layer that has it ends the search. The base's `hosts` is never looked at.
#
# For a name that nobody has, every layer that has the directory is asked before the answer is "no such file". Nothing
# ends that search early.

# %%
figures.lookup_walk(graph.lookup_walk(box.stack(), "/etc/shadow"))

# %% [markdown]
# ## Depth costs
#
# How many questions does each path take?

# %%
for path in ("/srv/shop.py", "/etc/hosts", "/etc/passwd", "/usr/lib/python3/os.py", "/etc/shadow"):
    print(f"{graph.lookup_depth(box.stack(), path):>3} questions for {path}")

# %% [markdown]
# Real drivers remember answers. That is allowed because lower layers never change: what was learnt about them stays
# true.
#
# ## Reading stays below
#
# Let a process read. Nothing is copied and nothing is written. Each operation stands in the lane of the layer that
# answered it.

# %%
for path in ("/etc/hosts", "/usr/lib/python3/os.py", "/etc/passwd", "/etc/hosts"):
    box.read(path)
try:
    box.read("/etc/shadow")
except FileNotFoundError as error:
    print("as expected:", error.strerror)
figures.timeline(graph.timeline(box.stack()))

# %%
for number, count in sorted(graph.served_by(box.stack()).items(), key=str):
    print("no layer" if number is None else f"layer {number}", "answered", count, "operations")

# %% [markdown]
# ## Deep stacks
#
# Sixty layers, one file in the lowest. Neighbours that give the same answers share a row.

# %%
for number in range(57):
    lab.layer(f"step {number}", {f"/opt/step-{number}": 10})
deep = lab.start("deep")
figures.lookup_walk(graph.lookup_walk(deep.stack(), "/usr/lib/libc.so"))

# %% [markdown]
# **Try it.** Put `/usr` into a middle layer *as a file*. What becomes of `/usr/lib/libc.so`, and how many questions
# does it take to know?

# %%
lab.close()
