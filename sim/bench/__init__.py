"""Benchmarks: what copy-up costs, storage drivers side by side.

    from sim.bench import DRIVERS, Length, choose, measure, plans, table

    drivers, missing = choose(["in-process", "devfuse", "overlayfs"])
    result = measure(plans.copy_up(Length.QUICK), drivers, missing=missing)
    print(table(result))
    result.save(Path("result.json"))

`WORKLOADS` has the workloads by name, each a plain function with its question; `DRIVERS` and `ENGINES` what they can be
run with. `sim.bench.report` makes figures and a page, `sim.bench.model` fits the cost model, `sim.bench.trace` predicts
what a journal's operations would cost elsewhere, `sim.bench.compare` compares two results.

Importing this package is cheap: its modules are loaded when their names are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.bench import plans, report
    from sim.bench.drivers import DRIVERS, choose
    from sim.bench.engines import ENGINES
    from sim.bench.errors import BenchError, ResultError, Stopped, Unavailable
    from sim.bench.harness import Harness, measure
    from sim.bench.model import Fit, fits
    from sim.bench.noise import Noise, NoiseMeter, Verdict
    from sim.bench.places import FILESYSTEMS
    from sim.bench.plans import Length, Plan
    from sim.bench.registry import Workload
    from sim.bench.result import Case, Missing, Result, Series
    from sim.bench.stats import Estimate
    from sim.bench.tables import table
    from sim.bench.workloads import WORKLOADS

__all__ = [
    "DRIVERS",
    "ENGINES",
    "FILESYSTEMS",
    "WORKLOADS",
    "BenchError",
    "Case",
    "Estimate",
    "Fit",
    "Harness",
    "Length",
    "Missing",
    "Noise",
    "NoiseMeter",
    "Plan",
    "Result",
    "ResultError",
    "Series",
    "Stopped",
    "Unavailable",
    "Verdict",
    "Workload",
    "choose",
    "fits",
    "measure",
    "plans",
    "report",
    "table",
]

_HOMES = {
    "drivers": ("DRIVERS", "choose"),
    "engines": ("ENGINES",),
    "errors": ("BenchError", "ResultError", "Stopped", "Unavailable"),
    "harness": ("Harness", "measure"),
    "model": ("Fit", "fits"),
    "noise": ("Noise", "NoiseMeter", "Verdict"),
    "places": ("FILESYSTEMS",),
    "plans": ("Length", "Plan"),
    "registry": ("Workload",),
    "result": ("Case", "Missing", "Result", "Series"),
    "stats": ("Estimate",),
    "tables": ("table",),
    "workloads": ("WORKLOADS",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in ("plans", "report"):
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
