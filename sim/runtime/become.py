"""From a process in its namespaces to the command that was asked for: user, limits, privileges, and the exec.

Decided here and only here: the order in which privileges are given up, what is searched and executed, and in which
words a command that cannot be run is refused. Runs in a process with one thread, after the root filesystem is the
container's; nothing may be imported any more by then, since it would come from the image (CVE-2019-14271).
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import stat

from sim.runtime import syscalls
from sim.runtime.errors import CommandNotExecutableError, CommandNotFoundError, ContainerError, InvalidSpecError
from sim.runtime.spec import DEFAULT_PATH, ProcessSpec
from sim.runtime.users import Identity, resolve_user

__all__ = ["become", "find_command", "find_user"]

_LARGEST_FILE = 1 << 20  #: bytes read of a container's /etc/passwd and /etc/group, which may be anything
#: What may be ignored and is not to be; asked for once, in the process that all others are forked from.
_SIGNALS = tuple(int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def become(spec: ProcessSpec, seccomp: bytes, death_signal: int = 0) -> None:
    """Turn the calling process into the command of `spec`. Returns only by raising.

    Raises
    ------
    CommandNotFoundError, CommandNotExecutableError
        In runc's words.
    UnknownUserError
        The user is not one of the container's.
    ContainerError
        The working directory cannot be entered, or a privilege not given up.
    """
    identity = find_user(spec)
    environment = _environment(spec, identity)
    _set_rlimits(spec)
    os.umask(0o022)
    if seccomp and not spec.no_new_privileges:
        # Without no_new_privs a filter takes CAP_SYS_ADMIN, which is gone after the next step.
        syscalls.load_filter(seccomp)
    entered = _try_cwd(spec.cwd)
    _give_up(spec, identity)
    _enter_cwd(spec.cwd, entered)
    path = find_command(spec.args[0], environment.get("PATH", DEFAULT_PATH))
    # Python ignores some signals, and so may the caller; a child would inherit that.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if death_signal:  # a change of user clears it
        syscalls.set_death_signal(death_signal)
    if spec.no_new_privileges:
        syscalls.set_no_new_privileges()
        if seccomp:
            syscalls.load_filter(seccomp)
    try:
        os.execve(path, spec.args, environment)
    except OSError as error:
        text = f"exec {path}: {(error.strerror or '').lower()}"
        if error.errno == errno.ENOENT:  # the interpreter of a script, or the loader of a program, is missing
            raise CommandNotFoundError(text) from error
        raise CommandNotExecutableError(text) from error


def find_user(spec: ProcessSpec) -> Identity:
    """Resolve the spec's user in the files of the root that the calling process has."""
    return resolve_user(spec.user, _read("/etc/passwd"), _read("/etc/group"), spec.groups)


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            return ""
        return os.read(descriptor, min(state.st_size, _LARGEST_FILE)).decode("utf-8", "surrogateescape")
    finally:
        os.close(descriptor)


def _environment(spec: ProcessSpec, identity: Identity) -> dict[str, str]:
    environment = {"PATH": DEFAULT_PATH}
    if spec.hostname:
        environment["HOSTNAME"] = spec.hostname
    if spec.terminal:
        environment["TERM"] = "xterm"
    for each in spec.env:
        name, equals, value = each.partition("=")
        if equals:
            environment[name] = value
        else:
            environment.pop(name, None)  # a name alone takes the variable away, as Docker has it
    environment.setdefault("HOME", identity.home)
    return environment


def _set_rlimits(spec: ProcessSpec) -> None:
    for limit in spec.rlimits:
        kind = getattr(resource, f"RLIMIT_{limit.name.upper()}", None)
        if kind is None:
            raise InvalidSpecError(f"invalid ulimit type: {limit.name}")
        soft, hard = (resource.RLIM_INFINITY if each < 0 else each for each in (limit.soft, limit.hard))
        try:
            resource.setrlimit(kind, (soft, hard))
        except ValueError:
            # Without CAP_SYS_RESOURCE the hard limit cannot rise: give as much as there is.
            _, most = resource.getrlimit(kind)
            resource.setrlimit(kind, (_smaller(soft, most), _smaller(hard, most)))


def _smaller(one: int, other: int) -> int:
    if one == resource.RLIM_INFINITY:
        return other
    return one if other == resource.RLIM_INFINITY else min(one, other)


def _give_up(spec: ProcessSpec, identity: Identity) -> None:
    mask = spec.capabilities if not spec.privileged else -1
    highest = syscalls.last_capability()
    _, permitted, _ = syscalls.capabilities()
    for number in range(highest + 1):
        if not mask >> number & 1:
            syscalls.bounding_drop(number)
    try:
        try:
            # The group itself too: a file that is closed to it must not open by its not being listed (CVE-2022-36109).
            os.setgroups([identity.gid, *(group for group in identity.groups if group != identity.gid)])
        except PermissionError:
            if identity.groups:  # in a user namespace with a single group none can be set, nor need be
                raise
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        text = f"user {identity.uid}:{identity.gid} has no number in this container's user namespace: it maps too few"
        raise ContainerError(text) from error
    if identity.uid == 0:
        kept = permitted & mask
        syscalls.set_capabilities(kept, kept, 0)
    with contextlib.suppress(OSError):  # kernels before 4.3 have no ambient set
        syscalls.ambient_clear()


def _try_cwd(path: str) -> bool:
    """Enter the working directory as root, for the user may not be allowed to, as runc does."""
    with contextlib.suppress(OSError):
        os.chdir(path)
        return True
    return False


def _enter_cwd(path: str, entered: bool) -> None:
    try:
        if not entered:  # or only the user may, as on a filesystem of theirs
            os.chdir(path)
        inside = os.getcwd()
    except OSError as error:
        raise ContainerError(
            f'chdir to cwd ("{path}") set in config.json failed: {(error.strerror or "").lower()}'
        ) from error
    if not inside.startswith("/"):  # CVE-2024-21626: a directory of the host, by a descriptor left open
        raise ContainerError(f"the working directory {path} is outside of the container's root")


def find_command(name: str, path: str) -> str:
    """Return the path of a command as runc finds it.

    Raises
    ------
    CommandNotFoundError, CommandNotExecutableError
        In runc's words, from which clients tell 127 from 126.
    """
    if "/" in name:
        try:
            state = os.stat(name)
        except OSError as error:
            text = f'exec: "{name}": stat {name}: {(error.strerror or "").lower()}'
            raise (CommandNotFoundError if error.errno == errno.ENOENT else CommandNotExecutableError)(text) from error
        if stat.S_ISDIR(state.st_mode):
            raise CommandNotExecutableError(f'exec: "{name}": is a directory')
        if not os.access(name, os.X_OK):
            raise CommandNotExecutableError(f'exec: "{name}": permission denied')
        return name
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        with contextlib.suppress(OSError):
            if not stat.S_ISDIR(os.stat(candidate).st_mode) and os.access(candidate, os.X_OK):
                return candidate
    raise CommandNotFoundError(f'exec: "{name}": executable file not found in $PATH')
