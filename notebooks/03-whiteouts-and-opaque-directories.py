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
# # 3. Deleting what cannot be deleted
#
# A read-only layer cannot lose a file. So to delete, the union *adds* something: a **whiteout**, a mark in the RW
# layer that says "nothing of this name, whatever is below". A directory that is deleted and made anew is **opaque**:
# it hides all that lower layers have in it.

# %%
import html
import stat

from IPython.display import HTML

from sim import figures, graph

lab = graph.Lab()
lab.layer(
    "base",
    {
        "/etc/motd": "welcome\n",
        "/etc/hosts": "localhost\n",
        "/usr/share/doc/manual": 3_000,
        "/usr/share/doc/licence": 900,
    },
)
box = lab.start("web")
box.remove("/etc/motd")
box.remove("/usr/share/doc")
box.mkdir("/usr/share/doc")
box.write("/usr/share/doc/readme", "short\n")
figures.cross_section(graph.cross_section(box.stack()))

# %%
print("This notebook ran on", lab.how)

# %% [markdown]
# The process sees one file in `/usr/share/doc`. The base still has two.
#
# ## What a whiteout is on disk
#
# In the format of the kernel's overlayfs a whiteout is a character device with the number 0/0, and an opaque
# directory has an extended attribute. Look into the RW layer itself, past the union:

# %%
for path in sorted(box.upper.rglob("*")):
    status = path.lstat()
    mark = "  ← whiteout: character device 0/0" if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0 else ""
    print(stat.filemode(status.st_mode), "/" + str(path.relative_to(box.upper)) + mark)

# %% [markdown]
# ## One step at a time
#
# The journal has every operation. The arrows that point down are the marks: each begins in the RW layer and points at
# what it hides.

# %%
figures.timeline(graph.timeline(box.stack()))

# %% [markdown]
# The directory could only be removed once it *looked* empty. First each file in it got its whiteout; then the
# directory got one, and those inside were no longer needed. Go back to the moment before:

# %%
operations = box.operations()
rmdir = next(operation.number for operation in operations if operation.kind == "rmdir")
figures.cross_section(graph.cross_section(box.stack(at=rmdir - 1)))

# %% [markdown]
# ## Step through it yourself
#
# Move the slider, or use the arrow keys. A click on a path shows its history. (This works without a running kernel.)

# %%
page = figures.stepper(graph.steps(box.stack()))
HTML(f'<div><iframe srcdoc="{html.escape(page)}" width="100%" height="780" style="border: 0"></iframe></div>')

# %% [markdown]
# ## Why the new directory must be opaque
#
# Without the mark, `mkdir` would take away the whiteout and the old manual would be back. The union asks for it here:

# %%
figures.lookup_walk(graph.lookup_walk(box.stack(), "/usr/share/doc/manual"))

# %%
for event in graph.history(box.stack(), "/usr/share/doc/manual"):
    where = f"operation {event.operation}" if event.operation else f"layer {event.layer} ({event.name})"
    print(f"{where}: {event.what}", f"by {event.detail}" if event.detail else "")

# %% [markdown]
# **Try it.** Make a new file and delete it again. Is there a whiteout for it? Why not?

# %%
lab.close()
