"""The README's section of results, from a result file.

Decided here and only here: which rows the README shows, and what it says around them. Functions only; any thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.bench.result import Case, Result
from sim.bench.tables import MARKS, Table, markdown, samples_text, table

__all__ = ["BEGIN", "END", "section"]

#: Between these two lines the README has what `section` returns.
BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"

#: The columns, as far as they are in the result: each driver at its best, without variants of one.
_DRIVERS = (
    "overlayfs",
    "plain",
    "devfuse",
    "devfuse-no-passthrough",
    "fuse-python",
    "fuse-overlayfs-best",
    "unionfs-fuse-best",
)

#: At most so many rows of each group.
_GROUPS = ("copy-up", "metadata", "data", "jobs", "runtime")


def section(result: Result) -> str:
    """Return the section: the machine in a sentence, a table a group, and the command that makes it again."""
    machine = result.machine
    words = [
        f"{machine.get('processors', '?')} processors ({machine.get('processor', 'unknown')})",
        machine.get("memory", ""),
        "a virtual machine" if machine.get("virtual machine") == "yes" else "",
        machine.get("kernel", ""),
        machine.get("distribution", ""),
        f"files on {result.filesystems['here'].split(' ')[0]}" if "here" in result.filesystems else "",
        machine.get("date", ""),
    ]
    parts = [
        f"Measured on {', '.join(filter(None, words))}; {samples_text(result)}; {result.noise.words}.",
        "The first column of numbers is a time, the median and how far its 95 % interval goes from it; the others are"
        f" how many times as long each took in the same rounds. {MARKS}.",
        "By default overlayfs and ours sync the data that they copy up byte by byte, fuse-overlayfs and unionfs-fuse do"
        " not; `durability on` (all of it is on the disk when the clock stops) and `off` (nobody syncs) are the same"
        " for all.",
    ]
    for group in _GROUPS:
        chosen = _cases(result, group)
        if chosen:
            parts.append(markdown(_table(result, chosen)))
    if result.command:
        parts.append(f"`{result.command} --json FILE` makes it again, `layerlab bench table FILE` these tables.")
    return "\n\n".join(parts) + "\n"


def _cases(result: Result, group: str) -> list[Case]:
    from sim.bench.workloads import WORKLOADS

    known = [case for case in dict.fromkeys(one.case for one in result.series) if case.workload in WORKLOADS]
    found = [case for case in known if WORKLOADS[case.workload].group == group]
    if group == "copy-up":  # a byte at the end, by size and filesystem, and other ways at one size
        sizes = sorted({case.size for case in found})
        middle = sizes[len(sizes) // 2] if sizes else 0
        usual = [case for case in found if case.depth == 1 and not case.sparse]
        return [
            case
            for case in usual
            if case.workload == "append" or (case.size == middle and case.workload in ("chmod", "truncate", "rename"))
        ]
    return [case for case in found if case.depth <= 3]


def _table(result: Result, cases: Sequence[Case]) -> Table:
    made = table(result, cases)
    keep = [0, 1] + [index for index, name in enumerate(made.head) if index > 1 and _shown(result, name)]
    rows = tuple(tuple(row[index] for index in keep) for row in made.rows)
    empty = [column for column in range(2, len(keep)) if all(row[column] == "-" for row in rows)]
    kept = [index for index in range(len(keep)) if index not in empty]
    return Table(
        made.title, tuple(made.head[keep[i]] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows)
    )


def _shown(result: Result, name: str) -> bool:
    return name in _DRIVERS or name in ("podman", "docker") or name.startswith("layerlab-")
