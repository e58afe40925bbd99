"""The workloads, by importing them all.

Decided here: which modules have workloads. Functions only.
"""

from sim.bench.registry import WORKLOADS, Workload
from sim.bench.workloads import copy_up, data, fio, jobs, metadata, runtime  # noqa: F401 - they enter themselves

__all__ = ["WORKLOADS", "Workload"]
