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
# # 7. One instruction, one layer: the cache, and three classic mistakes
#
# Each instruction of a Dockerfile that changes files makes one layer on those before it. What an earlier layer has can
# be hidden by a later one, never removed. Most wasted bytes in the images of the world come from forgetting this.
#
# Below: a Dockerfile with all three mistakes, built, and the layers of its image cut open. Hatched is stored, shipped,
# and seen by nobody.

# %%
import os
import shutil
import tempfile
from pathlib import Path

from sim import figures, graph
from sim.build import BuildError, BuildOptions, LocalRunner, build
from sim.build.inprocess import InProcessRunner
from sim.images import Store, base_image, file, image_from_layers, image_on

home = tempfile.TemporaryDirectory()
store = Store(Path(home.name, "store"))
if shutil.which("busybox"):  # a root filesystem around it
    system, runner = base_image(store, "system:1"), LocalRunner(store)
else:
    system = image_from_layers(store, [store.add_entries([file("/etc/motd", "hello\n")])], tags=["system:1"])
    runner = InProcessRunner()
if os.geteuid() != 0:
    runner = InProcessRunner()
tools = [file(f"/opt/tools/tool-{n}", b"t" * 400_000, mode=0o644) for n in range(3)]
image_on(store, system, tools, tags=["base:1"])


def make(tag, dockerfile, files):
    """Build a Dockerfile with these files beside it; return what the builder told."""
    global runner
    context = Path(home.name, "context")
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    for name, content in {"Dockerfile": dockerfile, **files}.items():
        (context / name).write_text(content)
    told = []
    try:
        build(store, context, BuildOptions(tags=(tag,)), runner=runner, output=told.append)
    except BuildError:
        if isinstance(runner, InProcessRunner):
            raise
        runner = InProcessRunner()  # no container can be started here
        return make(tag, dockerfile, files)
    return "".join(one.text for one in told if one.kind == "stream")


CARELESS = """\
FROM base:1
COPY app.py id_rsa /srv/
RUN dd if=/dev/zero of=/opt/compiler bs=1000 count=1800
RUN rm -rf /opt/compiler /srv/id_rsa
RUN chmod -R +x /opt/tools
"""
FILES = {"app.py": "print('hello')\n" * 1000, "id_rsa": "-----BEGIN OPENSSH PRIVATE KEY-----\n"}

told = make("careless:1", CARELESS, FILES)
careless = graph.store_graph(store).stack("careless:1")
paths = ["/opt/compiler", *(f"/opt/tools/tool-{n}" for n in range(3)), "/srv/app.py", "/srv/id_rsa"]
figures.cross_section(graph.cross_section(careless, paths))

# %%
alone = isinstance(runner, InProcessRunner)
how = "in this process, without any container" if alone else "as real processes in containers"
print(f"The RUN instructions of this notebook ran {how}.\n")
for number, layer in enumerate(careless.layers, 1):
    print(f"layer {number}  {layer.bytes:>9,} bytes  {layer.command or layer.name}")

# %% [markdown]
# ## Who wasted what?
#
# For each hidden file: how many bytes, which layer still has them, and which layer hides them. In a terminal,
# `layerlab explore careless:1` shows the same, and `layerlab explore --ci` fails a build for it.

# %%
for one in graph.waste(careless):
    print(f"{one.bytes:>9,} bytes  {one.path:<20} in layer {one.layer}, {one.cause} by layer {one.by}")
wasted = sum(one.bytes for one in graph.waste(careless))
print(f"\n{wasted:,} of {graph.virtual_bytes(careless):,} bytes wasted: {graph.efficiency(careless):.0%} can be seen")

# %% [markdown]
# ### Mistake 1: clean up in a later layer
#
# The compiler was deleted by the *next* instruction. Its bytes stayed in the layer before.
# **Mend:** install, use and delete in one instruction.
#
# ### Mistake 2: `chmod -R`
#
# Not one byte of the tools was changed, only their mode. But a layer has whole files: all of them were stored again.
# **Mend:** set the mode where the file is made, before it is copied in.
#
# ### Mistake 3: delete a secret
#
# The key cannot be seen in the container. Anybody who has the image can read it: it is in the layer, in plain text.

# %%
for number, layer in enumerate(careless.layers, 1):
    entry = layer.entries.get("/srv/id_rsa")
    if entry is not None and not entry.is_whiteout:
        print(f"layer {number}: {layer.content(entry).decode().strip()}")

# %% [markdown]
# **Mend:** never copy a secret in (`.dockerignore`, build secrets). Once it is in an image that was pushed, change
# the key.
#
# ## The same image, made with care

# %%
CAREFUL = """\
FROM base:1
RUN dd if=/dev/zero of=/opt/compiler bs=1000 count=1800 && rm /opt/compiler
RUN chmod +x /opt/tools/tool-0
COPY app.py /srv/
"""
make("careful:1", CAREFUL, {"app.py": FILES["app.py"]})
figures.sharing(graph.sharing(graph.store_graph(store), ["careless:1", "careful:1"]))

# %%
for name in ("careless:1", "careful:1"):
    stack = graph.store_graph(store).stack(name)
    print(f"{name:<11} {graph.virtual_bytes(stack):>9,} bytes, {graph.efficiency(stack):.1%} of them can be seen")

# %% [markdown]
# ## The cache
#
# Built again with nothing changed, no instruction is done again: the builder finds for each an image that was made
# from the same one by the same instruction, and for `COPY` from the same files.

# %%
print(make("careful:1", CAREFUL, {"app.py": FILES["app.py"]}))

# %% [markdown]
# Now the application changes. The instructions before its `COPY` come from the cache, those after it would be done
# anew: **a step that misses the cache makes all steps after it miss, too**. So what changes most goes last. The
# careless Dockerfile copies the application first, and pays for it at every change.

# %%
CHANGED = {**FILES, "app.py": "print('hello, world')\n" * 1000}


def show(told):
    """Print for each step whether it came from the cache."""
    lines = told.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("Step "):
            found = after.startswith(" ---> Using cache") or line.split(" : ")[1].startswith("FROM")
            print(f"{'from the cache' if found else 'done anew':<15} {line.split(' : ')[1][:80]}")


print("careful")
show(make("careful:2", CAREFUL, {"app.py": CHANGED["app.py"]}))
print("\ncareless")
show(make("careless:2", CARELESS, CHANGED))

# %% [markdown]
# The figure shows what that means on disk and on the wire: what the two versions of each image share.

# %%
both = ["careless:1", "careless:2", "careful:1", "careful:2"]
figures.sharing(graph.sharing(graph.store_graph(store), both))

# %% [markdown]
# **Try it.** Move the `COPY` of the careful Dockerfile to the top, and change the application once more. Which steps
# are done anew? What does `graph.waste` say when the compiler is removed in a step of its own?

# %%
store.close()
home.cleanup()
