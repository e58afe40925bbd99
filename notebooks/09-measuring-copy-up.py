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
# on? Here it is measured with the project's own harness, the one behind `layerlab bench`: all storage drivers of this
# machine side by side, in rounds and in random order, each round on an RW layer with nothing in it.

# %%
from sim import figures
from sim.bench import Length, choose, fits, measure, plans, report

SIZES = [4096 * 4**power for power in range(6)]

drivers, missing = choose(["overlayfs", "devfuse", "in-process", "plain"])
plan = plans.copy_up(Length.QUICK, sizes=SIZES, depths=[1], rounds=6, seconds=12)
result = measure(plan.only(["append"]), drivers, missing=missing)
drawn = dict(report.figures(result))
drawn["size-append"]

# %% [markdown]
# Both scales are logarithmic. On the left the lines are nearly flat: a copy-up has a fixed cost (find the parents, make
# the file aside, set owner, mode and times, wait for the disk, move it into place). On the right they climb with the
# size: there the time is the copying itself. The ring is the knee, where both are equal. `plain` is a directory without
# any union: what the write alone takes.
#
# ## Can this be believed?
#
# Each point is the median of some rounds, with the interval that holds the true median 19 times out of 20. Between the
# samples the harness times work that is always the same; where that takes longer than it should, something else was
# going on, and the run says so.

# %%
for name, words in {**result.drivers, **{one.what: f"missing: {one.why}" for one in result.missing}}.items():
    print(f"{name:12}{words}")
print(result.noise.words)

# %% [markdown]
# ## The two costs, told apart
#
# A straight line through the measurements: a fixed part, and so many seconds for each byte. The last column tells how
# far the line is from what was measured, in the middle.

# %%
for fit in fits(result):
    if fit.driver == "plain":
        continue  # nothing is copied there
    speed = "any size" if fit.knee is None else f"{fit.bandwidth / 2**20:9,.0f} MiB/s"
    print(f"{fit.driver:12}{fit.fixed * 1e6:8,.0f} µs and {speed}, ±{fit.error:.0%}")

# %% [markdown]
# ## Not every change needs the data
#
# Changing the mode copies the whole file as well, although not one byte of it changes. Opening it with `O_TRUNC` copies
# nothing: what is thrown away need not be copied first.

# %%
ways = plans.copy_up(Length.QUICK, sizes=[1 << 21], depths=[1], rounds=6, seconds=8)
found = measure(ways.only(["append", "chmod", "truncate", "rename"]), drivers, missing=missing)
dict(report.figures(found))["drivers-copy-up"]

# %% [markdown]
# ## Once, not again
#
# The second write to the same file is a write and nothing else, since the file is in the RW layer now.

# %%
import statistics
import time

from sim import graph

lab = graph.Lab(mounted=False)
lab.layer("data", {"/data": SIZES[-1]})
box = lab.start("again")
times = []
for _ in range(10):
    start = time.perf_counter()
    box.append("/data", "x")
    times.append(time.perf_counter() - start)
print(f"first: {times[0] * 1e3:.2f} ms, later: {statistics.median(times[1:]) * 1e3:.3f} ms")
figures.copy_up(graph.copy_up(box.stack()))

# %% [markdown]
# ## What another way of copying would have cost
#
# The journal of what was just done is a trace. From the two costs above follows what the trace takes where the whole
# file is copied, where its data is shared until it is written to (`reflink`), and where the device copies blocks.

# %%
from sim.bench.trace import parameters, predict

machine = parameters(result, "in-process")
for cost in predict(box.operations(), machine):
    print(f"{cost.way:10}{cost.copying * 1e3:8.2f} ms copying {cost.copied:12,} bytes in {cost.objects} copies")

# %% [markdown]
# ## What it means
#
# A database of 10 GiB in an image's layer stops for as long as the copying takes at its first write, and then takes
# its space twice. Keep data that is written to in a volume: there is no lower layer, so there is nothing to copy.
#
# **Try it.** Measure on a filesystem that can share data between files, as root:
# `plans.copy_up(Length.QUICK, sizes=SIZES, filesystems=["ext4", "xfs-reflink"], rounds=6)`. Which line has no knee?

# %%
lab.close()
