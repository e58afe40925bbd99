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
# # 9. Measuring copy-up
#
# The first write to a file of a lower layer copies the whole file. How long does that take, and what does it depend
# on? Here it is measured: in this process, and through a real FUSE mount where this machine has one.

# %%
import statistics
import time

from sim import figures, graph
from sim.graph.views import Latency

SIZES = [2**power for power in range(10, 25)]
REPEAT = 3


def first_writes(lab: graph.Lab, name: str) -> Latency:
    """Write one byte to the end of files of each size; return what the journal says it took."""
    lab.layer("data", {f"/data/{size}-{number}": size for size in SIZES for number in range(REPEAT)})
    box = lab.start(name)
    for size in SIZES:
        for number in range(REPEAT):
            box.append(f"/data/{size}-{number}", "x")
    for _ in range(30):
        box.append(f"/data/{SIZES[0]}-0", "x")  # no longer a first write
    return graph.latency(box.stack(), series=name)


labs = {"in process": graph.Lab(mounted=False)}
mounted = graph.Lab()
if "FUSE" in mounted.how:
    labs["FUSE mount"] = mounted
found = {name: first_writes(lab, name) for name, lab in labs.items()}
points = tuple(point for one in found.values() for point in one.points)
figures.latency(Latency(points, found["in process"].later))

# %%
print("This notebook ran on", " and ".join(lab.how for lab in labs.values()))

# %% [markdown]
# Both scales are logarithmic. On the left the line is nearly flat: a copy-up has a fixed cost (find the parents, make
# the file aside, set owner, mode and times, move it into place). On the right it climbs with the size: there the time
# is the copying itself. The dotted line is a write that copies nothing.
#
# ## The two costs, told apart
#
# A straight line through the measurements: a fixed part, and so many seconds for each byte.

# %%
for name, one in found.items():
    slope, fixed = statistics.linear_regression([p.bytes for p in one.points], [p.seconds for p in one.points])
    print(f"{name}: {max(fixed, 0) * 1e6:,.0f} µs and {1 / slope / 2**20:,.0f} MiB a second")

# %% [markdown]
# ## Once, not again
#
# The same file, written to ten times:

# %%
box = labs["in process"].start("again")
times = []
for _ in range(10):
    start = time.perf_counter()
    box.append(f"/data/{SIZES[-1]}-0", "x")
    times.append(time.perf_counter() - start)
print("milliseconds:", ", ".join(f"{seconds * 1e3:.2f}" for seconds in times))
figures.copy_up(graph.copy_up(box.stack()))

# %% [markdown]
# ## What it means
#
# A database of 10 GiB in an image's layer stops for as long as the copying takes at its first write, and then takes
# its space twice. Keep data that is written to in a volume: there is no lower layer, so there is nothing to copy.
#
# **Try it.** Measure a file with one byte at its beginning, one at its end and a gigabyte of nothing between. Is the
# hole copied?

# %%
for lab in {*labs.values(), mounted}:
    lab.close()
