"""What a result says of the machine that it was made on.

Decided here and only here: what a reader has to know to judge a time. Nothing that names the machine or its user.
Functions only; any thread.
"""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

__all__ = ["describe"]

#: What prints the version of a program that is compared with, and which line of it.
_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "fuse-overlayfs": ("fuse-overlayfs", "--version"),
    "unionfs-fuse": ("unionfs", "--version"),
    "fio": ("fio", "--version"),
    "git": ("git", "--version"),
    "tar": ("tar", "--version"),
    "cc": ("cc", "--version"),
    "podman": ("podman", "--version"),
    "docker": ("docker", "--version"),
    "runc": ("runc", "--version"),
}


def describe() -> dict[str, str]:
    """Return what is known of this machine, in words by name."""
    found = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "processors": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not told",
        "memory": _memory(),
        "virtual machine": "yes" if " hypervisor" in _read("/proc/cpuinfo") else "no",
        "kernel": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "user": "root" if os.geteuid() == 0 else "an ordinary user",
        "load before": " ".join(_read("/proc/loadavg").split()[:3]),
        "transparent huge pages": _chosen(_read("/sys/kernel/mm/transparent_hugepage/enabled")),
        "Python": platform.python_version(),
        "layerlab": _package("layerlab"),
        "commit": _commit(),
        "fuse-python": _package("fuse-python"),
    }
    for name, command in _PROGRAMS.items():
        version = _version(command)
        if version:
            found[name] = version
    return {name: text for name, text in found.items() if text}


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _chosen(text: str) -> str:
    """Return the word in brackets, as the kernel marks what is in force."""
    return text.partition("[")[2].partition("]")[0]


def _processor() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> str:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal"):
            return f"{int(line.split()[1]) / 2**20:.1f} GiB"
    return ""


def _distribution() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return ""


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _version(command: tuple[str, ...]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


def _commit() -> str:
    """Return the commit of the checkout that this runs from, with a mark if files of it were changed."""
    root = str(Path(__file__).resolve().parents[2])
    git = ("git", "-c", "safe.directory=*", "-C", root)
    try:
        done = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
        if done.returncode:
            return ""
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "fusefs", "sim"], check=False).returncode
    except OSError:
        return ""
    return done.stdout.strip() + (" and changes" if changed else "")
