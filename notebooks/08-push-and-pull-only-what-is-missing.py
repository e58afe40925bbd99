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
# # 8. Registry: push and pull only what is missing
#
# A registry keeps layers by the digest of their bytes. Who wants to send one asks first: *do you have this digest?*
# Who fetches an image learns the digests of its layers, and fetches those that are not here yet.
#
# Below: two images that stand on one system, in the store of a machine. Filled is what has to travel when both are
# sent to an empty registry; outlined is what does not have to travel again.

# %%
import contextlib
import hashlib
import http.server
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy

from sim import figures, graph
from sim.images import ImagesError, Store, file, image_from_layers, image_on
from sim.images.registry import Registries, pull, push

home = tempfile.TemporaryDirectory()
machine = Store(Path(home.name, "machine"))
noise = numpy.random.default_rng(8).bytes  # what cannot be compressed, so that sizes are easy to compare

system = image_from_layers(machine, [machine.add_entries([file("/bin/sh", noise(900_000))])], tags=["system:1"])
python = image_on(machine, system, [file("/usr/bin/python3", noise(1_500_000))], tags=["python:3"])
image_on(machine, python, [file("/srv/shop.py", noise(120_000))], tags=["shop:1"])
image_on(machine, python, [file("/srv/blog.py", noise(200_000))], tags=["blog:1"])

figures.sharing(graph.sharing(graph.store_graph(machine), ["shop:1", "blog:1"]))

# %% [markdown]
# ## A registry
#
# Where Debian's `docker-registry` is installed it is started, on a port of this machine only. Where it is not, the few
# lines below are a registry too: it knows blobs by their digests and manifests by their names, and that is all.


# %%
class Shelf(http.server.BaseHTTPRequestHandler):
    """A registry in memory."""

    protocol_version = "HTTP/1.1"
    blobs, manifests, uploads = {}, {}, {}

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def sent(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/v2/":
            self.answer(200)
        elif (digest := path.rpartition("/blobs/")[2]) in self.blobs:  # do you have this digest?
            self.answer(200, self.blobs[digest], Docker_Content_Digest=digest)
        elif path in self.manifests:
            kind, body, digest = self.manifests[path]
            self.answer(200, body, Content_Type=kind, Docker_Content_Digest=digest)
        else:
            self.answer(404)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self):  # an upload begins; or the blob is there, in another repository
        query = parse_qs(urlsplit(self.path).query)
        if query.get("mount", [""])[0] in self.blobs:
            self.answer(201, Location=self.path)
        else:
            number = str(len(self.uploads))
            self.uploads[number] = b""
            self.answer(202, Location=urlsplit(self.path).path + number, Range="0-0")

    def do_PATCH(self):
        number = self.path.rpartition("/")[2]
        self.uploads[number] += self.sent()
        self.answer(202, Location=self.path, Range=f"0-{len(self.uploads[number]) - 1}")

    def do_PUT(self):  # the last part of a blob, whose digest has to be right; or a manifest
        parts, data = urlsplit(self.path), self.sent()
        if "/manifests/" in parts.path:
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            kept = (self.headers["Content-Type"], data, digest)
            self.manifests[parts.path] = self.manifests[parts.path.rpartition("/")[0] + "/" + digest] = kept
        else:
            data = self.uploads.pop(parts.path.rpartition("/")[2]) + data
            digest = parse_qs(parts.query)["digest"][0]
            if digest != "sha256:" + hashlib.sha256(data).hexdigest():
                self.answer(400)
                return
            self.blobs[digest] = data
        self.answer(201, Location=self.path, Docker_Content_Digest=digest)

    def log_message(self, *words):
        pass


def start():
    """Start a registry; return its address, what it is, and what ends it."""
    if shutil.which("docker-registry") is None:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_port}", "the registry of the lines above, in this process", server.shutdown
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Path(home.name, "registry.yml")
    settings.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {home.name}/registry}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    )
    process = subprocess.Popen(
        ["docker-registry", "serve", settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.05)

    def end():
        process.terminate()
        process.wait()

    return f"127.0.0.1:{port}", "Debian's docker-registry", end


host, what, end = start()
print(f"This notebook ran with {what}.")

# %% [markdown]
# ## Push
#
# Of the first image every layer has to travel. So does its configuration, which names the layers in their order.

# %%
known = Registries(config=Path(home.name, "nobody"), certificates=())
MOVED, STAYED = {"Pushed", "Pull complete"}, {"Layer already exists", "Mounted from", "Already exists"}


def called(digest):
    """Say which image's topmost layer has this digest, as it is or compressed."""
    for image in machine.images():
        top = image.layers[-1]
        if digest in {top.diff_id, *(blob.digest for blob in top.blobs)}:
            return image.name.partition("/")[2] or image.name
    return "configuration"


def travel(work, store, name):
    """Push or pull an image; print what became of each of its parts, and return the bytes that travelled."""
    ends, sizes = {}, {}

    def tell(told):
        sizes[told.layer] = max(told.total, sizes.get(told.layer, 0))
        if told.stage.value in MOVED | STAYED:
            ends[told.layer] = told.stage.value

    work(store, f"{host}/{name}", known, tell=tell)
    for digest, stage in ends.items():
        print(f"{digest[7:19]}  {called(digest):<14}  {stage:<21} {sizes[digest] if stage in MOVED else 0:>9,} bytes")
    total = sum(sizes[digest] for digest, stage in ends.items() if stage in MOVED)
    print(f"{'':<52}{total:>9,} bytes travelled\n")
    return total


for name in ("shop:1", "blog:1"):
    machine.tag(name, f"{host}/{name}")
travelled = {"push shop:1": travel(push, machine, "shop:1")}

# %% [markdown]
# Of the second image only the topmost layer travels. The registry has the others: in the repository `shop`, from where
# it can use them in the repository `blog` too (Docker says *mounted from*).

# %%
travelled["push blog:1"] = travel(push, machine, "blog:1")

# %% [markdown]
# Once more, and nothing travels at all: a push asks before it sends.

# %%
travelled["push blog:1 again"] = travel(push, machine, "blog:1")

# %% [markdown]
# ## Pull
#
# Another machine, with an empty store.

# %%
other = Store(Path(home.name, "other"))
travelled["pull shop:1"] = travel(pull, other, "shop:1")
travelled["pull blog:1"] = travel(pull, other, "blog:1")

# %% [markdown]
# ## A new version
#
# The application changes, the layers below it do not. Updating costs what changed, on the way there and back. That is
# why what changes most belongs into the topmost layer.

# %%
image_on(machine, machine.image("python:3"), [file("/srv/shop.py", noise(125_000))], tags=["shop:2", f"{host}/shop:2"])
travelled["push shop:2"] = travel(push, machine, "shop:2")
travelled["pull shop:2"] = travel(pull, other, "shop:2")

# %%
whole = {"shop": 2_520_000, "blog": 2_600_000}
for step, sent in travelled.items():
    print(f"{step:<18} {sent:>9,} bytes, {sent / whole[step.split()[1][:4]]:>7.1%} of the image")
figures.sharing(graph.sharing(graph.store_graph(other)))

# %% [markdown]
# ## Nobody has to be trusted with the bytes
#
# A digest says what the bytes have to be. Here one byte of a layer is changed on the registry's disk, as by a failing
# disk or somebody with bad intentions; a third machine pulls.

# %%
digest = next(blob.digest for blob in machine.image("shop:2").layers[-1].blobs if blob.media_type.endswith("gzip"))
kept = Path(home.name, "registry/docker/registry/v2/blobs/sha256", digest[7:9], digest[7:], "data")
if kept.exists():
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
else:
    data = bytearray(Shelf.blobs[digest])
    data[len(data) // 2] ^= 1
    Shelf.blobs[digest] = bytes(data)

third = Store(Path(home.name, "third"))
try:
    pull(third, f"{host}/shop:2", Registries(config=Path(home.name, "nobody"), certificates=(), attempts=1))
except ImagesError as error:
    print(str(error).replace(host, "REGISTRY"))
print(len(third.images()), "images in the third store")

# %% [markdown]
# **Try it.** Put the application *below* the interpreter, push both images, and compare what travels. And: what travels
# when a base image gets a security fix?

# %%
end()
for store in (machine, other, third):
    store.close()
home.cleanup()
