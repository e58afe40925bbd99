"""`LocalRunner`: the runner that needs no engine: processes by `sim.runtime`, images by `sim.images.registry`.

Decided here and only here: what a RUN's container looks like. Its root is mounted by a driver of `fusefs`, or by the
runtime with the kernel's overlayfs, which is gone with the process. A layer of its own between image and RW layer holds
the mount points that the image lacks, so that they are no part of what is committed. What a killed builder leaves (a
mount, a control group) is found by `collect`. Any thread may call.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from fusefs import UnionFS
from fusefs.errors import FusefsError
from fusefs.mount import mount
from fusefs.stack import Stack
from sim.build.copying import Copy, copy
from sim.build.networks import Network, Networks, plain_networks
from sim.build.paths import join, resolve, status_of
from sim.build.platforms import platform_of
from sim.build.runner import LeftContainer, RunRequest
from sim.build.source import Found, Source
from sim.build.untar import make_directories
from sim.build.values import BuildOptions
from sim.images import Image, Progress, Reference, Store
from sim.runtime.errors import ContainerError
from sim.runtime.etcfiles import write_etc_files
from sim.runtime.process import Process
from sim.runtime.spec import Bind, Limits, Namespaces, Overlay, ProcessSpec

__all__ = ["GROUP", "LocalRunner"]

#: The control group below which each RUN has its own.
GROUP = "layerlab-build"

#: What every container's root has: moby's init layer.
_DIRECTORIES = ("/dev", "/dev/pts", "/dev/shm", "/etc", "/proc", "/sys")
_SHM_SIZE = 64 << 20
_FILES = ("/.dockerenv", "/dev/console", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")


class LocalRunner:
    """Runs processes and fetches images.

    Parameters
    ----------
    store
        The image store.
    driver
        "overlayfs" for the kernel's own, mounted with the process; or a driver of `fusefs.mount`, or "auto".
    networks
        Called with the name of a network and the container's ID; a context manager that gives a `Network` and takes
        it away again. Without it there are "none" (also as "default") and "host".
    registries
        How to speak to registries, for the options of a build; the user's own settings where None.
    journals
        Where journals of mounts are kept, one for each RUN, named by its container; none without it.
    cgroup
        Below which control group each process has its own; empty for none, unless limits are wanted.
    started
        Is told the ID of each container, and its process's number, once it runs.
    """

    def __init__(
        self,
        store: Store,
        *,
        driver: str = "overlayfs",
        networks: Networks = plain_networks,
        registries: Callable[[BuildOptions], object] | None = None,
        journals: Path | None = None,
        cgroup: str = GROUP,
        started: Callable[[str, int], object] = lambda identity, pid: None,
    ) -> None:
        self._store = store
        self._driver = driver
        self._networks = networks
        self._registries = registries
        self._journals = journals
        self._cgroup = cgroup
        self._started = started

    def run(self, request: RunRequest, write: Callable[[int, bytes], object], cancelled: Callable[[], bool]) -> int:
        """Run a process to its end and return its exit status; see `Runner`."""
        init = request.place / "init"
        _prepare(init, request)
        binds = [Bind(path, target) for target, path in _volumes(request)]
        for number, (target, content) in enumerate(request.files):
            path = request.place / f"file{number}"
            path.write_bytes(content)
            path.chmod(0o755)
            binds.append(Bind(path, target))
        layers = (init, *request.layers)
        with self._networks(request.options.network, request.identity) as network:
            etc = write_etc_files(
                request.place,
                request.identity[:12] if network.namespace != "host" else "",
                hosts=[*_hosts(request.options.extra_hosts), *network.hosts],
                dns=network.dns,
                search=network.search,
                own_network=network.namespace != "host",
            )
            with self._root(request, layers) as root:
                spec = self._spec(request, root, network, (*etc, *binds))
                with Process(spec) as process:
                    return self._attend(process, request.identity, write, cancelled)

    def leave(self, container: LeftContainer) -> None:
        """Keep nothing: there are no containers here beside those of builds; see `Runner`."""

    def pull(self, reference: Reference, options: BuildOptions, tell: Callable[[Progress], object]) -> Image:
        """Fetch an image; see `Runner`."""
        from sim.images.registry import Registries, pull

        given = self._registries(options) if self._registries else None
        registries = given if isinstance(given, Registries) else None
        wanted = platform_of(options.platform) if options.platform else None
        return pull(self._store, reference, registries, platform=wanted, tell=tell).image

    @contextlib.contextmanager
    def _root(self, request: RunRequest, layers: tuple[Path, ...]) -> Iterator[Path | Overlay]:
        if self._driver == "overlayfs":
            yield Overlay(layers, request.upper, request.work)
            return
        merged = request.place / "merged"
        merged.mkdir()
        journal = self._journals / f"{request.identity}.db" if self._journals else None
        try:
            mounted = mount(Stack(layers, request.upper, request.work), merged, driver=self._driver, journal=journal)
        except FusefsError as error:
            raise ContainerError(str(error)) from None
        with mounted:
            yield merged

    def _spec(
        self, request: RunRequest, root: Path | Overlay, network: Network, mounts: tuple[Bind, ...]
    ) -> ProcessSpec:
        options = request.options
        group = options.cgroup_parent.rstrip("/") or self._cgroup or (GROUP if options.limits != Limits() else "")
        own_names = network.namespace != "host"
        return ProcessSpec(
            request.args,
            root,
            env=(f"HOSTNAME={request.identity[:12]}", *request.env) if own_names else request.env,
            cwd=request.cwd or "/",
            user=request.user,
            hostname=request.identity[:12],
            mounts=mounts,
            seccomp="unconfined" if "seccomp=unconfined" in options.security else "default",
            no_new_privileges="no-new-privileges" in options.security,
            rlimits=options.ulimits,
            namespaces=Namespaces(network=network.namespace),
            interfaces=network.interfaces,
            limits=options.limits,
            cgroup=f"{group}/{request.identity}" if group else "",
            shm_size=options.shm_size or _SHM_SIZE,
        )

    def _attend(
        self,
        process: Process,
        identity: str,
        write: Callable[[int, bytes], object],
        cancelled: Callable[[], bool],
    ) -> int:
        """Start a process and pass on what it writes until it ends or nobody wants it any more."""
        with contextlib.ExitStack() as stack:
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, null)
            streams = {}
            ends = []
            for number in (1, 2):
                reading, writing = os.pipe()
                stack.callback(os.close, reading)
                streams[reading] = number
                ends.append(writing)
            try:
                process.start(null, *ends)
            finally:
                for end in ends:
                    os.close(end)
            self._started(identity, process.pid)
            poll = select.poll()
            for descriptor in streams:
                poll.register(descriptor, select.POLLIN)
            ended = False
            while streams:
                for descriptor, _ in poll.poll(100):
                    part = os.read(descriptor, 1 << 16)
                    if part:
                        write(streams[descriptor], part)
                    else:
                        poll.unregister(descriptor)
                        del streams[descriptor]
                if cancelled():
                    process.close()
                    return 137
                if ended:
                    break
                with contextlib.suppress(TimeoutError):
                    process.wait(0)
                    ended = True  # one more round for what is in the pipes; somebody else may hold them open
            while True:
                with contextlib.suppress(TimeoutError):
                    return process.wait(0.2)
                if cancelled():
                    process.close()
                    return 137


def _hosts(extra: tuple[str, ...]) -> list[tuple[str, str]]:
    found = []
    for each in extra:
        name, _, address = each.partition(":")
        found.append((address, name))
    return found


def _prepare(init: Path, request: RunRequest) -> None:
    """Make the layer with the mount points that the image lacks."""
    work = request.place / "initwork"
    for directory in (init, work):
        directory.mkdir()
    init.chmod(0o755)
    with UnionFS(request.layers, init, work) as tree:
        for path in _DIRECTORIES:
            make_directories(tree, resolve(tree, path))
        for path in _FILES:
            if status_of(tree, resolve(tree, path)) is None:
                tree.write_bytes(os.fsencode(resolve(tree, path)), b"")
        if status_of(tree, "/etc/mtab") is None:
            tree.symlink(b"/proc/mounts", b"/etc/mtab")


def _volumes(request: RunRequest) -> Iterator[tuple[str, Path]]:
    """Yield a directory for each volume that the image declares, with what the image has there."""
    for number, path in enumerate(sorted(request.volumes)):
        home, work = request.place / f"volume{number}", request.place / f"volumework{number}"
        home.mkdir()
        work.mkdir()
        with UnionFS(request.layers) as image:
            at = resolve(image, join(path))
            status = status_of(image, at)
            if status is not None and stat.S_ISDIR(status.st_mode):
                with UnionFS((), home, work) as target:
                    copy(target, Found(Source(image), at, ""), Copy("/", owner=None))
                os.chown(home, status.st_uid, status.st_gid)
                home.chmod(stat.S_IMODE(status.st_mode))
        yield join(path), home
