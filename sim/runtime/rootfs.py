"""The container's root filesystem: mounts in a new mount namespace, then the old root is gone.

Decided here and only here: what is mounted where in a container, in which order, and how a hostile image is kept from
leading a mount astray. Runs in the process that becomes the container's first, which has one thread.

The order is the protection. What comes from the host is taken hold of first, as detached trees (open_tree); then the
root is pivoted away and unmounted; only then targets are resolved, so a symlink in the image ends inside the image
(CVE-2021-30465). Targets are opened once, without magic links, and mounted on by descriptor (CVE-2021-30465 and the
2025 kin of runc); what is written in /proc is first proven to be procfs; what masks is proven to be the null device.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import socket
import stat

from sim.runtime import syscalls as sys
from sim.runtime.devices import COMMON, Node, nodes
from sim.runtime.errors import ContainerError, InvalidSpecError, UnsupportedError
from sim.runtime.spec import Bind, Mapping, Overlay, ProcessSpec, Tmpfs, number_outside

__all__ = ["Rootfs"]

_PROC_MAGIC = 0x9FA0
#: What tools that show a container its own limits put in the place of the kernel's.
_PROC_ALLOWED = {
    f"/proc/{name}"
    for name in ("cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps", "uptime")
}
#: What moby adds where the two do not fit.
_MIXED = (
    "Are you trying to mount a directory onto a file (or vice-versa)?"
    " Check if the specified host path exists and is the expected type"
)
_INITIAL_USERS = 0xEFFFFFFD  #: number of the first user namespace's file (linux/proc_ns.h)
_QUIET = sys.MOUNT_NOSUID | sys.MOUNT_NODEV | sys.MOUNT_NOEXEC
_LINKS = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"))
_MORE_LINKS = (("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"))
#: What moby sets in a network of the container's own, so that ports below 1024 and ping need no privilege.
_NETWORK_SYSCTLS = (("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647"))


class Rootfs:
    """The steps from a fresh copy of the host's mounts to the container's own.

    Parameters
    ----------
    spec
        What is wished for.
    mapped
        Whether this process is in a user namespace of its own, where devices cannot be made.
    cgroups
        Directories of the container's control groups by the name they have below /sys/fs/cgroup; "" stands for a
        single tree of version 2.
    """

    def __init__(self, spec: ProcessSpec, *, mapped: bool, cgroups: dict[str, str]) -> None:
        self.spec = spec
        self.mapped = mapped
        self.cgroups = cgroups
        # Whether all but `adopt` is done from a user namespace around the container's, which has the host's numbers.
        self._outer = spec.namespaces.user == "new"
        self._root = -1
        self._trees: dict[str, tuple[int, bool]] = {}
        self._nodes: dict[str, int] = {}
        self._made: list[Node] = []
        self._shared = -1
        self._kernel: dict[str, int] = {}
        self._held = False
        self._tree = -1

    def hold(self) -> None:
        """Take hold of what comes from the host, as detached trees.

        Root does this before it enters a user namespace, where it may not reach all of it any more; an ordinary user
        can do it only inside.
        """
        self._held = True
        for mount in self.spec.mounts:
            if isinstance(mount, Bind):
                self._hold(mount)
        made = nodes(self.spec, all_of_host=self.spec.privileged and not self.mapped)
        if self.mapped:
            shown = {f"/dev/{name}": f"/dev/{name}" for name, _, _ in COMMON} | {
                node.target: node.source for node in made
            }
            self._nodes = {target: sys.clone_tree(source) for target, source in shown.items()}
        else:
            self._made = made
        self._shared = _shared_memory(self.spec.namespaces.ipc)
        for name, path in self.cgroups.items():
            tree = sys.clone_tree(path)
            sys.tree_attributes(tree, _QUIET | (0 if self.spec.privileged else sys.MOUNT_RDONLY), private=True)
            self._trees[f"/sys/fs/cgroup/{name}".rstrip("/")] = (tree, True)
        self._tree = self._hold_rootfs()

    def enter(self) -> None:
        """Pivot into the root filesystem and let go of the host's."""
        if not self._held:
            self.hold()  # before all is private, or nothing could be shared with the host
        sys.make_private("/")
        self._kernel = {"/proc": self._procfs(), "/sys": self._sysfs()}
        self._pivot()
        self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def adopt(self) -> None:
        """Take over what another process has entered and furnished, in a copy of its namespace.

        What that cannot give is done here: terminals whose directory is one of this user namespace's root.
        """
        self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.chdir("/")
        self._mount_terminals()

    def _hold(self, mount: Bind) -> None:
        source = os.fspath(mount.source)
        if not os.path.isabs(source):
            raise InvalidSpecError(f"bind source {source!r} must be absolute")
        try:
            tree = sys.clone_tree(source, recursive=mount.recursive)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise InvalidSpecError(f"invalid mount config: bind source path does not exist: {source}") from error
            raise ContainerError(f"cannot take hold of {source} to mount it on {mount.target}: {error}") from error
        kind = mount.propagation.removeprefix("r")
        if kind != "private":
            _check_propagation(source, kind)
        deep = mount.propagation.startswith("r")
        sys.tree_attributes(tree, sys.MOUNT_RDONLY if mount.read_only else 0, recursive=mount.read_only_recursive)
        sys.tree_attributes(tree, recursive=deep, private=kind == "private", slave=kind == "slave")
        self._trees[mount.target] = (tree, stat.S_ISDIR(os.fstat(tree).st_mode))

    def _shares_network_of_others(self) -> bool:
        """Whether a new sysfs is forbidden: it shows network interfaces, so the network must be of one's own users."""
        return self.mapped and self.spec.namespaces.network == "host"

    def _hold_rootfs(self) -> int:
        rootfs = self.spec.rootfs
        if isinstance(rootfs, Overlay):
            return _mount_overlay(rootfs, userxattr=os.stat("/proc/self/ns/user").st_ino != _INITIAL_USERS)
        place = os.fspath(rootfs)
        try:
            tree = sys.clone_tree(place)
        except OSError as error:
            raise ContainerError(f"cannot use {place} as root filesystem: {error.strerror}") from error
        if not stat.S_ISDIR(os.fstat(tree).st_mode):
            raise InvalidSpecError(f"cannot use {place} as root filesystem: it is no directory")
        sys.tree_attributes(tree, private=True)
        return tree

    def _pivot(self) -> None:
        tree = self._tree
        target = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        sys.attach_tree(tree, target)
        os.close(target)
        os.fchdir(tree)
        sys.make_private(".")
        old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        sys.pivot_root(".", ".")
        os.fchdir(old)
        sys.make_private(".", slave=True)
        sys.umount(".")
        os.close(old)
        os.close(tree)
        os.chdir("/")

    def furnish(self) -> None:
        """Mount the kernel's filesystems, the devices and what the spec asks for; then mask and protect."""
        spec = self.spec
        flags = sys.MOUNT_NOSUID | sys.MOUNT_STRICTATIME
        devices = sys.new_filesystem("tmpfs", {"mode": "755", "size": "65536k"}, flags)
        for target, tree in {**self._kernel, "/dev": devices}.items():
            # A link here would put the kernel's files where the image wants them (CVE-2019-19921).
            self._attach(tree, self._open(target, directory=True, links=False))
        self._furnish_dev()
        if self.cgroups and "" not in self.cgroups:
            tree = sys.new_filesystem("tmpfs", {"mode": "755"}, _QUIET)
            self._attach(tree, self._open("/sys/fs/cgroup", directory=True))
        targets = {**dict.fromkeys(self._trees), **{m.target: m for m in spec.mounts if isinstance(m, Tmpfs)}}
        for target in sorted(targets, key=lambda path: posixpath.normpath(path).count("/")):
            mount = targets[target]
            if mount is not None:
                owner = self._number(self.spec.uid_map, mount.uid), self._number(self.spec.gid_map, mount.gid)
                tree, is_directory = _new_tmpfs(mount, *owner), True
            else:
                tree, is_directory = self._trees[target]
            place = self._open(target, directory=is_directory)
            if not is_directory and stat.S_ISDIR(os.fstat(place).st_mode):
                raise InvalidSpecError(f"cannot mount a file on {target}: it is a directory in the container: {_MIXED}")
            if sys.filesystem_type(place) == _PROC_MAGIC and posixpath.normpath(target) not in _PROC_ALLOWED:
                raise InvalidSpecError(f'"{target}" cannot be mounted because it is inside /proc')
            self._attach(tree, place)
        if self.cgroups and "" not in self.cgroups:
            self._protect("/sys/fs/cgroup", recursive=False)
        self._write_sysctls()
        self._make_cwd()
        if not spec.privileged:
            for path in spec.read_only_paths:
                self._protect(path)
            for path in spec.masked_paths:
                self._mask(path)
        if spec.read_only:
            root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            sys.tree_attributes(root, sys.MOUNT_RDONLY, recursive=False)
            os.close(root)

    def _number(self, maps: tuple[Mapping, ...], inside: int) -> int:
        """Return what a user or group of the container is called where its mounts are made."""
        return number_outside(maps, inside) if self._outer else inside

    def _procfs(self) -> int:
        """Make the container's /proc, while the host's can still be seen: in a user namespace it must be."""
        try:
            return sys.new_filesystem("proc", attributes=_QUIET)
        except PermissionError as error:
            text = (
                "the kernel allows no new /proc in a user namespace, since parts of the caller's own /proc are hidden"
            )
            raise UnsupportedError(text) from error

    def _sysfs(self) -> int:
        protect = 0 if self.spec.privileged else sys.MOUNT_RDONLY
        if self._shares_network_of_others():
            tree = sys.clone_tree("/sys")
            sys.tree_attributes(tree, _QUIET | protect, private=True)
            return tree
        return sys.new_filesystem("sysfs", attributes=_QUIET | protect)

    def _furnish_dev(self) -> None:
        directory = os.open("/dev", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name, major, minor in COMMON:
            if f"/dev/{name}" not in self._nodes:
                os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=directory)
                os.chmod(name, 0o666, dir_fd=directory)
        for name, text in (*_LINKS, *_MORE_LINKS):
            os.symlink(text, name, dir_fd=directory)
        if os.path.exists("/proc/kcore"):
            os.symlink("/proc/kcore", "core", dir_fd=directory)
        os.close(directory)
        if self._outer:
            os.mkdir("/dev/pts", 0o755)
        else:
            self._mount_terminals()
        try:
            queues = sys.new_filesystem("mqueue", attributes=_QUIET)
        except PermissionError:  # the queues are those of the host, which a user namespace may not show
            if self.spec.namespaces.ipc == "new":
                raise
        else:
            self._attach(queues, self._open("/dev/mqueue", directory=True))
        shared = self._shared
        if shared < 0:
            shared = sys.new_filesystem("tmpfs", {"mode": "1777", "size": str(self.spec.shm_size)}, _QUIET)
        self._attach(shared, self._open("/dev/shm", directory=True))
        for path, tree in self._nodes.items():
            self._attach(tree, self._open(path, directory=False))
        for node in self._made:
            self._make_node(node)

    def _mount_terminals(self) -> None:
        options: dict[str, str | None] = {"mode": "0620", "ptmxmode": "0666"}
        if not self.mapped or any(m.inside <= 5 < m.inside + m.count for m in self.spec.gid_map):
            options["gid"] = "5"
        terminals = sys.new_filesystem("devpts", options, sys.MOUNT_NOSUID | sys.MOUNT_NOEXEC)
        self._attach(terminals, self._open("/dev/pts", directory=True))

    def _make_node(self, node: Node) -> None:
        place, name = posixpath.split(posixpath.normpath(node.target))
        parent = self._open(place, directory=True)
        try:
            os.mknod(name, node.mode, node.number, dir_fd=parent)
            os.chown(name, node.uid, node.gid, dir_fd=parent, follow_symlinks=False)
            os.chmod(name, stat.S_IMODE(node.mode), dir_fd=parent)
        except FileExistsError:  # of the image, or of an earlier start: what it leads to, the rules decide
            pass
        except OSError as error:
            raise ContainerError(f"cannot make the device {node.target} in the container: {error.strerror}") from error
        finally:
            os.close(parent)

    def mount_console(self, terminal: int) -> None:
        """Show a terminal as /dev/console, on a file made for it and on nothing else (CVE-2025-52565)."""
        made = os.open("/dev/console", os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.close(made)
        target = os.open("/dev/console", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        name = os.ttyname(terminal)
        slave = sys.open_in(self._root, name, os.O_PATH | os.O_NOFOLLOW)
        if os.fstat(slave).st_rdev != os.fstat(terminal).st_rdev:
            raise ContainerError(f"{name} is not the terminal that it was")
        self._attach(sys.clone_tree("", slave), target)
        os.close(slave)

    def _write_sysctls(self) -> None:
        given = {name.replace("/", ".") for name, _ in self.spec.sysctls}
        if self.spec.namespaces.network in ("new", "user"):
            for name, value in _NETWORK_SYSCTLS:
                if name not in given:
                    with contextlib.suppress(ContainerError):  # with few groups, or an old kernel, it is as it is
                        self._write_sysctl(name, value)
        for name, value in self.spec.sysctls:
            self._write_sysctl(name, value)

    def _write_sysctl(self, name: str, value: str) -> None:
        path = f"/proc/sys/{name.replace('.', '/')}"
        file = -1
        try:
            file = sys.open_in(self._root, path, os.O_WRONLY, sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_SYMLINKS)
            if sys.filesystem_type(file) != _PROC_MAGIC:
                raise ContainerError(f"{path} is not of the kernel's /proc: somebody mounted over it")
            os.write(file, value.encode())
        except OSError as error:
            raise ContainerError(f"cannot set sysctl {name}={value}: {error.strerror}") from error
        finally:
            if file >= 0:
                os.close(file)

    def _make_cwd(self) -> None:
        if self.spec.cwd != "/":
            with contextlib.suppress(OSError, ContainerError):  # changing into it reports what is wrong
                os.close(self._open(self.spec.cwd, directory=True))

    def _open(self, path: str, *, directory: bool, links: bool = True) -> int:
        """Open a target in the container's root, and make it when it is missing."""
        resolve = sys.RESOLVE_IN_ROOT | (sys.RESOLVE_NO_MAGICLINKS if links else sys.RESOLVE_NO_SYMLINKS)
        flags = os.O_PATH | (os.O_DIRECTORY if directory else 0)
        try:
            return sys.open_in(self._root, path, flags, resolve)
        except OSError as error:
            if error.errno == errno.ENOTDIR and directory:
                text = f"cannot mount a directory on {path}: it is a file in the container: {_MIXED}"
                raise InvalidSpecError(text) from error
            if error.errno == errno.ELOOP:
                raise InvalidSpecError(f"cannot mount on {path}: the image leads it through a symlink there") from error
            if error.errno != errno.ENOENT:
                raise
        parent_path, name = posixpath.split(posixpath.normpath(path))
        parent = self._open(parent_path, directory=True, links=links)
        try:
            if directory:
                os.mkdir(name, 0o755, dir_fd=parent)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
        except OSError as error:
            what = "it is a symlink to nothing" if error.errno == errno.EEXIST else error.strerror
            raise ContainerError(f"cannot make the mount point {path} in the container: {what}") from error
        finally:
            os.close(parent)
        return sys.open_in(self._root, path, flags, resolve)

    @staticmethod
    def _attach(tree: int, target: int) -> None:
        sys.attach_tree(tree, target)
        os.close(tree)
        os.close(target)

    def _protect(self, path: str, *, recursive: bool = True) -> None:
        try:
            target = sys.open_in(self._root, path, os.O_PATH, sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return
            raise
        if recursive:
            tree = sys.clone_tree("", target)
            sys.tree_attributes(tree, sys.MOUNT_RDONLY)
            self._attach(tree, target)
        else:
            sys.tree_attributes(target, sys.MOUNT_RDONLY, recursive=False)
            os.close(target)

    def _mask(self, path: str) -> None:
        try:
            target = sys.open_in(self._root, path, os.O_PATH, sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return
            raise
        if stat.S_ISDIR(os.fstat(target).st_mode):
            self._attach(sys.new_filesystem("tmpfs", None, sys.MOUNT_RDONLY | _QUIET & ~sys.MOUNT_NODEV), target)
            return
        null = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        state = os.fstat(null)
        if not stat.S_ISCHR(state.st_mode) or state.st_rdev != os.makedev(1, 3):  # CVE-2025-31133
            raise ContainerError("/dev/null of the container is not the null device: nothing can be masked with it")
        self._attach(sys.clone_tree("", null), target)
        os.close(null)


def _new_tmpfs(mount: Tmpfs, uid: int, gid: int) -> int:
    options: dict[str, str | None] = {"mode": f"{mount.mode:o}"}
    if mount.size:
        options["size"] = str(mount.size)
    if mount.uid or mount.gid:
        options |= {"uid": str(uid), "gid": str(gid)}
    denied = [
        0 if mount.executable else sys.MOUNT_NOEXEC,
        0 if mount.devices else sys.MOUNT_NODEV,
        0 if mount.setuid else sys.MOUNT_NOSUID,
        sys.MOUNT_RDONLY if mount.read_only else 0,
    ]
    return sys.new_filesystem("tmpfs", options, sum(denied))


def _shared_memory(ipc: str) -> int:
    """Return the /dev/shm that belongs to a namespace which is not new; -1 where a new one is to be made."""
    if ipc == "new":
        return -1
    if ipc == "host":
        with contextlib.suppress(OSError):
            tree = sys.clone_tree("/dev/shm")
            sys.tree_attributes(tree, private=True)
            return tree
        return -1
    return _tree_of(ipc.removesuffix("/ipc") + "/mnt", "/dev/shm") if ipc.endswith("/ns/ipc") else -1


def _tree_of(namespace: str, path: str) -> int:
    """Take hold of a directory in another mount namespace; -1 where that may not be.

    By a process of its own, which joins that namespace and hands the tree over.
    """
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            mounts = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            sys.setns(mounts, sys.CLONE_NEWNS)
            tree = sys.clone_tree(path)
            sys.tree_attributes(tree, private=True)
            socket.send_fds(there, [b"t"], [tree])
        finally:
            os._exit(0)
    there.close()
    _, found, _, _ = socket.recv_fds(here, 1, 1)
    here.close()
    os.waitpid(child, 0)
    return found[0] if found else -1


def _check_propagation(source: str, kind: str) -> None:
    """Refuse what cannot propagate, in moby's words: only a shared mount tells others of what is mounted below it."""
    place, fields = "/", ""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            words = line.partition(" - ")[0].split()
            if source == words[4] or source.startswith(words[4].rstrip("/") + "/"):
                place, fields = words[4], " ".join(words[6:])
    if "shared:" not in fields and (kind == "shared" or "master:" not in fields):
        what = "shared" if kind == "shared" else "shared or slave"
        raise ContainerError(f"path {source} is mounted on {place} but it is not a {what} mount")


def _mount_overlay(overlay: Overlay, *, userxattr: bool) -> int:
    """Mount a stack, naming its layers by descriptor: so they may have any name, and fit the kernel's 256 bytes."""
    directories = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in overlay.lower]
    names = [f"/proc/self/fd/{directory}" for directory in directories]
    options: dict[str, str | None] = {"lowerdir": ":".join(names)}
    if overlay.upper is not None and overlay.work is not None:
        for option, path in (("upperdir", overlay.upper), ("workdir", overlay.work)):
            directories.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            options[option] = f"/proc/self/fd/{directories[-1]}"
    if userxattr:
        options["userxattr"] = None
    try:
        return sys.new_filesystem("overlay", options)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENODEV):
            raise UnsupportedError(f"this kernel does not let the caller mount overlayfs: {error.strerror}") from error
        layers = ", ".join(os.fspath(path) for path in overlay.lower)
        raise ContainerError(f"cannot mount the layers {layers}: {error.strerror}") from error
    finally:
        for directory in directories:
            os.close(directory)
