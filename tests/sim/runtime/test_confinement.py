"""What a container's process may do: capabilities, seccomp, user, limits of its own."""

from __future__ import annotations

import json
import os
import resource
from typing import Any

import pytest

from sim.runtime import ContainerError, InvalidSpecError, Rlimit, capability_mask

DEFAULT = 0xA80425FB


def status(box: Any, **wishes: Any) -> dict[str, str]:
    text = box.sh("cat /proc/self/status", **wishes)
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_as_docker_has_it(box: Any) -> None:
    found = status(box)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(found[name], 16) == DEFAULT
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
    assert (found["NoNewPrivs"], found["Seccomp"], found["Seccomp_filters"]) == ("0", "2", "1")


def test_another_user_has_no_capabilities_but_the_bounding_set(box: Any, needs_root: None) -> None:
    found = status(box, user="www")
    assert found["Uid"].split() == found["Gid"].split() == ["33"] * 4
    assert found["Groups"].split() == ["26", "33"]
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == 0
    assert int(found["CapBnd"], 16) == DEFAULT


@pytest.mark.parametrize(
    ("user", "expected"), [("33", "33:33"), ("www:tape", "33:26"), ("7:9", "7:9"), ("1234", "1234:0")]
)
def test_users_by_name_and_number(box: Any, needs_root: None, user: str, expected: str) -> None:
    assert box.sh("echo $(id -u):$(id -g)", user=user).strip() == expected


def test_home_is_the_users(box: Any, needs_root: None) -> None:
    assert box.sh("echo $HOME", user="www") == "/srv\n"


def test_added_and_dropped(box: Any, needs_root: None) -> None:
    mask = capability_mask(add=["CAP_NET_ADMIN"], drop=["chown"])
    assert int(status(box, capabilities=mask)["CapEff"], 16) == (DEFAULT | 1 << 12) & ~1
    assert box.run("chown", "33", "/tmp", capabilities=mask).code == 1
    assert box.run("chown", "33", "/tmp").code == 0


def test_privileged_has_all_and_no_filter(box: Any, needs_root: None) -> None:
    found = status(box, privileged=True)
    own = status_of_self()
    assert found["CapEff"] == own["CapPrm"]
    assert found["Seccomp"] == "0"
    assert box.run("sh", "-c", "mount -t tmpfs none /tmp && echo 1 > /proc/sys/kernel/hostname").code == 1
    assert box.run("mount", "-t", "tmpfs", "none", "/tmp", privileged=True).code == 0


def status_of_self() -> dict[str, str]:
    with open("/proc/self/status") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def test_no_new_privileges(box: Any) -> None:
    found = status(box, no_new_privileges=True)
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_seccomp_refuses_what_capabilities_would_not(box: Any) -> None:
    # A new user namespace takes no capability at all: only the filter stands in the way.
    assert box.run("unshare", "-U", "true").code != 0
    assert box.run("unshare", "-U", "true", seccomp="unconfined").code == 0


def test_seccomp_call_by_call(debian: Any) -> None:
    code = """
        import ctypes, errno, socket
        libc = ctypes.CDLL(None, use_errno=True)
        def ask(*numbers):
            ctypes.set_errno(0)
            libc.syscall(*map(ctypes.c_long, numbers))
            return errno.errorcode.get(ctypes.get_errno(), "OK")
        print(ask(250, 0, 0, 0), ask(435, 0, 0), ask(135, 0x0400000), ask(999), ask(39), ask(155, 0, 0))
        try:
            socket.socket(40, socket.SOCK_STREAM)
        except OSError as error:
            print(errno.errorcode[error.errno])
    """
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86-64")
    # keyctl, clone3, personality with a flag that weakens, a call that no kernel has, getpid, pivot_root
    assert debian.python(code).split() == ["EPERM", "ENOSYS", "EPERM", "ENOSYS", "OK", "EPERM", "EPERM"]


def test_the_filter_also_holds_for_other_architectures(debian: Any, tmp_path: Any) -> None:
    """A program of 32 bits has other numbers for the same calls."""
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86-64")
    code = """
        import ctypes, errno, mmap
        # mov eax, 288 (keyctl by its i386 number); xor ebx, ebx; int 0x80; ret
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(bytes.fromhex("53b82001000031dbcd805bc3"))
        call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        print(errno.errorcode.get(-call()))
    """
    assert debian.python(code) == "EPERM"


def test_a_profile_of_ones_own(box: Any) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    result = box.run("mkdir", "/tmp/x", seccomp=json.dumps(profile))
    assert (result.code, b"No space left" in result.stderr) == (1, True)
    assert box.run("mkdir", "/tmp/x").code == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"defaultAction": "SCMP_ACT_NONSENSE"}', '{"syscalls": []}'])
def test_a_profile_that_is_none(box: Any, text: str) -> None:
    with pytest.raises(InvalidSpecError, match="Decoding seccomp profile failed"):
        box.run("true", seccomp=text)


def test_limits_are_cut_down_to_what_there_is(box: Any) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = box.sh("ulimit -Sn; ulimit -Hn; ulimit -c", rlimits=(Rlimit("nofile", 100, 200), Rlimit("core", 0, 0)))
    assert text.split() == ["100", "200", "0"]
    more = int(box.sh("ulimit -Hn", rlimits=(Rlimit("nofile", hard + 1, hard + 1),)))
    assert more in (hard, hard + 1)
    with pytest.raises(InvalidSpecError, match="invalid ulimit type: nonsense"):
        box.run("true", rlimits=(Rlimit("nonsense", 1, 1),))


def test_the_environment(box: Any) -> None:
    text = box.sh("env", env=("A=1", "B=", "PATH=/bin", "EMPTY"), hostname="h")
    found = dict(line.split("=", 1) for line in text.splitlines())
    assert (found["A"], found["B"], found["PATH"], found["HOSTNAME"], found["HOME"]) == ("1", "", "/bin", "h", "/root")
    assert "EMPTY" not in found
    assert not {name for name in os.environ if name.startswith("PYTEST")} & set(found)


def test_the_working_directory_is_made_or_refused(box: Any) -> None:
    assert box.sh("pwd", cwd="/a/b") == "/a/b\n"
    with pytest.raises(ContainerError, match="chdir to cwd"):
        box.run("true", cwd="/etc/passwd")


def test_signals_are_as_for_any_program(box: Any) -> None:
    text = box.run("grep", "-E", "SigIgn|SigBlk", "/proc/self/status").stdout.decode()
    assert [int(line.split()[1], 16) for line in text.splitlines()] == [0, 0]
