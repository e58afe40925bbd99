"""`layerlab umount`: undo a mount.

Decided here: nothing but the words; how a mount ends is decided in `fusefs.mount`.
"""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("umount")
@click.argument("mountpoints", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MOUNTPOINT...")
def command(mountpoints: tuple[Path, ...]) -> None:
    """Unmount, and wait until the journal is complete.

    Works also where the process that served the mount is dead.
    """
    from fusefs import unmount

    for mountpoint in mountpoints:
        unmount(mountpoint)
