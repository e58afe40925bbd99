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
# # 10. Write a union filesystem yourself
#
# In about sixty lines: lookup from the top down, merged listings, copy-up, whiteouts. First the idea in a picture,
# then the code, then a mount of your own with fuse-python.

# %%
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sim import figures, graph

home = Path(tempfile.mkdtemp(prefix="layerlab-lesson-"))
for name, text in {
    "base/motd": "welcome\n",
    "base/hosts": "localhost\n",
    "app/hosts": "shop\n",
    "app/shop.py": "print(1)\n",
}.items():
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text(text)
(home / "upper").mkdir()

stack = graph.directories_graph([home / "app", home / "base"], home / "upper", name="mine").stack()
figures.lookup_walk(graph.lookup_walk(stack, "/motd"))

# %% [markdown]
# ## The union
#
# One class, without any FUSE in it: so it can be tried here, in this process. It is written to a file of its own,
# since a mount needs a process of its own.

# %%
SOURCE = '''
import errno, os, shutil, stat
from pathlib import Path


class TinyUnion:
    """Layers, the topmost first; the first one is written to."""

    def __init__(self, *layers):
        self.layers = [Path(layer) for layer in layers]
        self.upper = self.layers[0]

    def find(self, path):
        """Return where the path really is: in the first layer that has it."""
        for layer in self.layers:
            real = layer / path.lstrip("/")
            try:
                status = real.lstat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                break  # a whiteout: look no further
            return real
        raise OSError(errno.ENOENT, "not in any layer", path)

    def names(self, path):
        """Merge the names of all layers, less those that a layer above has whited out."""
        self.find(path)
        seen, hidden = set(), set()
        for layer in self.layers:
            directory = layer / path.lstrip("/")
            if not directory.is_dir():
                continue
            here = {entry.name: entry.lstat() for entry in directory.iterdir()}
            gone = {name for name, s in here.items() if stat.S_ISCHR(s.st_mode) and s.st_rdev == 0}
            seen |= set(here) - gone - hidden
            hidden |= gone
        return sorted(seen)

    def copy_up(self, path):
        """Return the path in the upper layer, with a copy of what is below."""
        real, target = self.find(path), self.upper / path.lstrip("/")
        if real != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(target.name + ".copying")
            shutil.copy2(real, aside)
            os.rename(aside, target)  # in one step: never half a file
        return target

    def create(self, path):
        target = self.upper / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a whiteout may stand there
        target.touch()

    def unlink(self, path):
        self.find(path)
        target = self.upper / path.lstrip("/")
        target.unlink(missing_ok=True)
        try:
            self.find(path)  # still there, from below?
        except OSError:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(target, stat.S_IFCHR, 0)  # then hide it
'''
(home / "tiny.py").write_text(SOURCE)
sys.path.insert(0, str(home))
from tiny import TinyUnion

union = TinyUnion(home / "upper", home / "app", home / "base")
print(union.names("/"))
print(union.find("/hosts").relative_to(home), "→", union.find("/hosts").read_text().strip())

# %% [markdown]
# Change something, and look at what came of it. Our layers are in the format of the kernel's overlayfs, so the same
# graph and the same figures understand them.

# %%
with union.copy_up("/motd").open("a") as file:
    file.write("and goodbye\n")
union.unlink("/hosts")
union.create("/new")
print(union.names("/"))
mine = graph.directories_graph([home / "app", home / "base"], home / "upper", name="mine").stack()
figures.cross_section(graph.cross_section(mine))

# %% [markdown]
# ## The mount
#
# FUSE hands each system call to a process. The adapter only translates: a path and a call in, an answer or an error
# number out.

# %%
ADAPTER = """
import os, sys
import fuse
from tiny import TinyUnion

fuse.fuse_python_api = (0, 2)


class Mount(fuse.Fuse):
    def getattr(self, path): return os.lstat(self.union.find(path))
    def readdir(self, path, offset):
        for name in [".", "..", *self.union.names(path)]:
            yield fuse.Direntry(name)
    def read(self, path, size, offset):
        with open(self.union.find(path), "rb") as file:
            file.seek(offset)
            return file.read(size)
    def write(self, path, data, offset):
        with open(self.union.copy_up(path), "r+b") as file:
            file.seek(offset)
            return file.write(data)
    def truncate(self, path, size): os.truncate(self.union.copy_up(path), size)
    def mknod(self, path, mode, device): self.union.create(path)
    def unlink(self, path): self.union.unlink(path)


mount = Mount(dash_s_do="setsingle")
mount.union = TinyUnion(*sys.argv[2:])
mount.parse([sys.argv[1], "-f", "-s"])
mount.main()
"""
(home / "mount.py").write_text(ADAPTER)
root = home / "root"
root.mkdir()
try_it = "FUSE" in graph.Lab().how
if try_it:
    layers = [home / "upper", home / "app", home / "base"]
    server = subprocess.Popen([sys.executable, home / "mount.py", root, *layers], cwd=home)
    while not root.is_mount() and server.poll() is None:
        time.sleep(0.02)
    commands = "ls; cat motd; echo more >> shop.py; rm new; cat shop.py"
    print(subprocess.run(commands, shell=True, cwd=root, capture_output=True, text=True).stdout)
    subprocess.run(["fusermount", "-u", root], check=True)
    server.wait(10)
print(
    "This notebook ran on",
    "a real mount of its own" if try_it else "the union inside this process: there is no FUSE here",
)

# %%
mine = graph.directories_graph([home / "app", home / "base"], home / "upper", name="mine").stack()
figures.cross_section(graph.cross_section(mine))

# %% [markdown]
# ## What is missing
#
# Ours works, and is wrong in many ways. Each of these is a place where real union filesystems have had bugs:
#
# - A symlink in a layer leads out of it: `find` follows links of the *host*.
# - A file in a middle layer does not stop a directory of its name below from being merged.
# - There are no directories to make or remove, and so no opaque ones.
# - Copy-up loses owner, extended attributes, holes and hard links, and copies parents with default modes.
# - Two writers at once may copy up twice.
# - A file that is deleted while it is open is gone.
# - The inode number changes with the copy-up: `tar` and `git` notice.
#
# Now read `fusefs/`: one module for each of these.
#
# **Try it.** Mount your layers with the kernel's overlayfs and compare. Then add `mkdir`, and make it opaque where it
# must be.

# %%
sys.path.remove(str(home))
shutil.rmtree(home)
