"""Results that nobody measured, for what is made of results."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from sim.bench.noise import Noise, Verdict
from sim.bench.result import Case, Missing, Result, Series

QUIET = Noise(100, 0.0, 1.0, 1.1, 0.0, Verdict.QUIET)
NOISY = Noise(100, 0.6, 1.7, 3.0, 0.1, Verdict.NOISY)


def series(case: Case, driver: str, seconds: float, *, rounds: int = 9, seed: int = 1, space: int = -1) -> Series:
    """Return samples around a time, with a tail."""
    draw = random.Random(f"{seed}{driver}{case}")
    samples = tuple(seconds * (1 + 0.02 * draw.expovariate(1)) for _ in range(rounds))
    return Series(case, driver, samples, tuple(range(1, rounds + 1)), bytes=case.size, space=space)


def result(
    wanted: Sequence[Series], *, noise: Noise = QUIET, missing: Sequence[Missing] = (), finished: bool = True,
    machine: dict[str, str] | None = None,
) -> Result:  # fmt: skip
    """Return a result of these."""
    drivers = dict.fromkeys((one.driver for one in wanted), "made up")
    return Result(
        title="A test",
        machine=machine or {"processor": "Abacus", "processors": "2 of 2", "kernel": "Linux 7.0", "memory": "1 GiB"},
        drivers=drivers,
        filesystems={"here": "ext4 (rw)"},
        series=tuple(wanted),
        missing=tuple(missing),
        noise=noise,
        rounds=9,
        seconds=12.0,
        finished=finished,
        command="layerlab bench copy-up",
    )


SIZES = (1, 4096, 65536, 1 << 20, 1 << 24, 1 << 26)
DRIVERS = ("overlayfs", "plain", "devfuse", "devfuse-no-passthrough", "fuse-python", "in-process", "fuse-overlayfs",
           "fuse-overlayfs-best", "unionfs-fuse", "unionfs-fuse-best")  # fmt: skip


def whole(
    drivers: Sequence[str] = DRIVERS, *, noise: Noise = QUIET, scale: Callable[[str], float] = lambda _: 1.0
) -> Result:
    """Return a result with something of everything: `fixed + bytes / bandwidth` of known numbers."""
    found = []
    for index, name in enumerate(drivers):
        fixed, each = (1 + index) * 1e-4 * scale(name), 1 / 2e9 * (1 + index / 3)
        for filesystem in ("ext4", "xfs-reflink"):
            for size in SIZES:
                seconds = fixed + (size * each if filesystem == "ext4" else 0)
                space = size + 4096 if filesystem == "ext4" else 4096
                found.append(series(Case("append", size, filesystem=filesystem), name, seconds, space=space))
        for depth in (2, 8, 127):
            found.append(series(Case("append", 4096, depth=depth, filesystem="ext4"), name, fixed * (1 + depth / 200)))
        for way in ("chmod", "truncate", "mmap"):
            found.append(series(Case(way, 1 << 20, filesystem="ext4"), name, fixed))
        for cache in ("warm", "cold"):
            found.append(
                series(Case("stat", entries=1000, cache=cache), name, fixed / 50 * (20 if cache == "cold" else 1))
            )
        found.append(series(Case("open-read-close", 4096, 1000), name, fixed / 10))
        found.append(series(Case("write", 4096, 8192), name, fixed * 80))
        found.append(series(Case("find", entries=2000, depth=3), name, fixed * 200))
    return result(found, noise=noise, missing=[Missing("docker", "docker's server cannot be reached")])
