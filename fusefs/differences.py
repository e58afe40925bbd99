"""Where a mount of ours differs from the kernel's overlayfs, as far as it is known: one table, with the reasons.

Decided here and only here: what counts as intended. The differential tests leave out exactly these.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DIFFERENCES", "Difference"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One known difference.

    Attributes
    ----------
    what
        The case.
    kernel, ours
        What each does.
    reason
        Why.
    drivers
        Where it holds: names of drivers, or `all`.
    """

    what: str
    kernel: str
    ours: str
    reason: str
    drivers: str = "all"


DIFFERENCES = (
    Difference(
        "listing a directory that only one layer has",
        "lists whiteouts in it by name, though they cannot be opened",
        "never lists a whiteout",
        "the kernel passes such a listing through unread; a name that cannot be opened helps nobody",
    ),
    Difference(
        "names that begin with .wh.",
        "are ordinary",
        "in a read-only layer they are whiteouts as in image layers; in a mount they cannot be made (EPERM)",
        "storage libraries leave them in layer directories, and ignoring them brings deleted files back",
    ),
    Difference(
        "marks of the other namespace (user.overlay.opaque under trusted, and the reverse) in a read-only layer",
        "are ignored",
        "are honoured",
        "layers written by an ordinary user must read the same as root",
    ),
    Difference(
        "the time of change of a directory out of which a rename onto a directory of the upper that is not empty fails",
        "is new on ext4, which has tried to leave a whiteout there before it refused",
        "is as it was",
        "nothing was renamed",
    ),
    Difference(
        "the same upper directory in two mounts",
        "is refused only with the index on",
        "is always refused",
        "two writers corrupt it",
    ),
    Difference(
        "hard links of a lower file, by default",
        "break at copy-up (index=off)",
        "stay linked (index=on)",
        "programs expect links to be links; the option index=off gives the kernel's default",
    ),
    Difference(
        "the opaque mark of a new directory",
        "is set in some cases where nothing lies below",
        "is set only where a read-only layer has something to hide",
        "layers stay smaller and say what they mean",
    ),
    Difference(
        "a fifo, device or symlink copied up with the marks 'user'",
        "changes its inode number, since it cannot carry user attributes",
        "keeps it until the mount ends",
        "the node is remembered; after a remount both show the new number",
    ),
    Difference(
        "truncating a lower file to a shorter length",
        "copies all of its data first",
        "copies only what stays",
        "the rest would be thrown away at once",
    ),
    Difference(
        "link count of an open file of a read-only layer after its last name is gone",
        "is that of the lower file",
        "is 0",
        "programs take 0 as the sign that a file was removed",
    ),
    Difference(
        "chown with neither owner nor group given",
        "copies the file up",
        "does nothing",
        "the kernel does not send it to a FUSE filesystem",
        "fuse-python, devfuse",
    ),
    Difference(
        "times of stat, a single time of utimens, flags of renameat2, fallocate, O_TMPFILE, SEEK_HOLE",
        "work",
        "whole seconds, both times, not supported",
        "libfuse 2 and fuse-python have no way to say them",
        "fuse-python",
    ),
    Difference(
        "ACLs, file capabilities, extended attributes that are not UTF-8 text",
        "work",
        "are kept by copy-up, but neither enforced nor passed through the mount",
        "libfuse 2 has no FUSE_POSIX_ACL; fuse-python takes values of attributes as text",
        "fuse-python",
    ),
    Difference(
        "a file removed while it is open",
        "is gone from its directory",
        "stays as .fuse_hidden… until it is closed",
        "libfuse 2 addresses open files by path",
        "fuse-python",
    ),
)
