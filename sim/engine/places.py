"""Where a daemon keeps its things when nobody says otherwise, and where a client looks for it.

Decided here and only here. Imports nothing but the standard library: the command line asks it at each start.

With `LAYERLAB_ROOT` set everything is in that directory. Otherwise root's daemon has `/var/lib/layerlab` and
`/run/layerlab`, and an ordinary user's has the directories that the XDG base directory specification names.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_root", "default_host", "run_directory", "socket_path"]


def data_root() -> Path:
    """Return the directory of images, containers and volumes."""
    if chosen := os.environ.get("LAYERLAB_ROOT"):
        return Path(os.path.abspath(chosen))
    if os.geteuid() == 0:
        return Path("/var/lib/layerlab")
    home = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local/share")
    return Path(home) / "layerlab"


def run_directory() -> Path:
    """Return the directory of what ends with the machine: socket, lock, process number."""
    if chosen := os.environ.get("LAYERLAB_ROOT"):
        return Path(os.path.abspath(chosen)) / "run"
    if os.geteuid() == 0:
        return Path("/run/layerlab")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "layerlab" if runtime else Path(f"/tmp/layerlab-{os.geteuid()}")


def socket_path() -> Path:
    """Return the socket that a daemon listens on by default."""
    return run_directory() / "layerlab.sock"


def default_host() -> str:
    """Return the same as an address: `unix:///run/layerlab/layerlab.sock`."""
    return f"unix://{socket_path()}"
