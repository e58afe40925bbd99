"""Each workload with each driver. Nothing is asserted about times; that the work was done is."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from sim.bench import WORKLOADS, Length
from sim.bench.tables import case_text
from tests.benchmarks.conftest import Bench, cases, in_earnest


def test_workload(benchmark: BenchmarkFixture, bench: Bench, request: pytest.FixtureRequest) -> None:
    try:
        benchmark.group = case_text(bench.case)
        benchmark.extra_info.update(driver=bench.driver.name, question=bench.work.question, operations=bench.spot.count)
        benchmark.disabled = not in_earnest(request.config)  # then it is run once, and nothing is reported
        benchmark.pedantic(bench.run, setup=bench.ready, rounds=bench.rounds)  # type: ignore[no-untyped-call]
        assert bench.number >= 1
        bench.done()
    except OSError as error:
        # unionfs-fuse has no attributes: then there is nothing to measure, and nothing is claimed.
        if bench.driver.name.startswith(("unionfs-fuse", "fuse-overlayfs")):
            pytest.skip(f"{bench.driver.name} cannot: {error.strerror}")
        raise


def test_every_workload_has_a_case() -> None:
    for length in Length:
        assert set(cases(length)) | {"package-install"} >= {
            name for name, work in WORKLOADS.items() if work.group != "runtime"
        }
