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
# # 4. Copy-up: the price of the first write
#
# A file in a read-only layer is opened for writing. Before the first byte can be written, the *whole file* is copied
# into the RW layer. This is **copy-up**. It must never be seen half done, so the copy is made aside and moved into
# place in one step.

# %%
from sim import figures, graph

lab = graph.Lab()
lab.layer("base", {"/etc/passwd": "root:x:0:0\n", "/var/lib/app/data.db": 8_000_000, "/var/lib/app/small.db": 4_000})
box = lab.start("web")
box.append("/var/lib/app/data.db", "one more row\n")
figures.copy_up(graph.copy_up(box.stack()))

# %%
print("This notebook ran on", lab.how)

# %% [markdown]
# Thirteen bytes were written. Eight million were copied.

# %%
cost = graph.copy_up_cost(box.stack())
print(
    f"{cost.copied:,} bytes copied, {cost.written} bytes written: {cost.amplification:,.0f} bytes copied for each written"
)

# %% [markdown]
# ## Only the first write pays

# %%
for number in range(20):
    box.append("/var/lib/app/data.db", f"row {number}\n")
box.append("/var/lib/app/small.db", "row\n")
figures.timeline(graph.timeline(box.stack()))

# %% [markdown]
# ## It is not only writing
#
# Changing the mode, the owner or a time of a file copies it up as well, with all its bytes. Truncating it to nothing
# copies none.

# %%
lab.layer("more", {"/bin/tool": 3_000_000, "/var/log/huge.log": 5_000_000})
other = lab.start("other")
other.chmod("/bin/tool", 0o700)
other.write("/var/log/huge.log", "")
for operation in other.operations():
    for effect in operation.effects:
        if effect.kind == "copied up" and effect.size:
            print(f"{operation.kind} {operation.path}: {effect.size:,} bytes copied")
for name in ("/bin/tool", "/var/log/huge.log"):
    events = ", ".join(event.what for event in graph.history(other.stack(), name))
    print(f"{name}: {events}")

# %% [markdown]
# ## Step by step
#
# Move the slider through what was done to `other`, and choose a path for its history. Where widgets cannot be shown,
# there is a picture of the last step.

# %%
figures.step_widget(graph.steps(other.stack()))

# %% [markdown]
# ## How long does it take?
#
# Files from 1 KiB to 16 MiB are written to for the first time. Both scales are logarithmic: where the line is flat
# the fixed cost of a copy-up rules, where it climbs the bytes do.

# %%
lab.layer("sizes", {f"/data/{index}-{power}": 2**power for power in range(10, 25) for index in range(3)})
measured = lab.start("sizes")
for name in measured.names("/data"):
    measured.append(f"/data/{name}", "x")
figures.latency(graph.latency(measured.stack(), series="first write"))

# %% [markdown]
# This is why databases do not belong in an image's layers, and why containers keep their data in volumes.
#
# **Try it.** Rename a large file of the base. Is it copied up? What would be needed so that it is not?

# %%
lab.close()
