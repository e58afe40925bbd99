"""The cost model finds the numbers that made the times, and the trace's costs are those counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusefs import Journal, JournalLayer, Recorder, UnionFS
from fusefs.operation import Effect, EffectKind, Kind, Operation
from sim.bench.errors import ResultError
from sim.bench.model import fit, fit_points, fits
from sim.bench.result import Case
from sim.bench.trace import WAYS, Cost, MachineParameters, check, parameters, predict, predictions
from tests.sim.bench.results import SIZES, result, series, whole


def test_it_finds_what_made_the_times() -> None:
    made = [series(Case("append", size), "x", 2e-4 + size / 3e9) for size in SIZES]
    found = fit(made)
    assert found is not None
    assert found.fixed == pytest.approx(2e-4, rel=0.05)
    assert found.bandwidth == pytest.approx(3e9, rel=0.05)
    assert found.knee == pytest.approx(6e5, rel=0.1)
    assert found.fixed_range[0] <= found.fixed <= found.fixed_range[1]
    assert found.bandwidth_range[0] <= found.bandwidth <= found.bandwidth_range[1]
    assert found.error < 0.02
    assert found.held_out < 0.05


def test_the_error_tells_of_times_that_are_no_line() -> None:
    bent = [series(Case("append", size), "x", 1e-4 + (size / 1e9) ** 2) for size in SIZES]
    found = fit(bent)
    assert found is not None
    assert found.worst[0] > 0.3


def test_where_the_size_does_not_matter_there_is_no_knee() -> None:
    found = fit([series(Case("append", size), "x", 3e-4, seed=2) for size in SIZES])
    assert found is not None
    assert found.seconds(1 << 30) < 4e-4 or found.knee is None or found.knee > 1 << 28


def test_neither_number_is_ever_below_nothing() -> None:
    assert fit_points([(1, 1e-9), (1 << 20, 1e-3), (1 << 21, 2.1e-3)])[0] >= 0
    assert fit_points([(1, 2.0), (100, 1.0), (10_000, 0.5)])[1] == 0


def test_two_sizes_are_not_enough() -> None:
    assert fit([series(Case("append", size), "x", 1.0) for size in (1, 2)]) is None


def test_each_driver_and_filesystem_has_its_own() -> None:
    found = fits(whole(("overlayfs", "devfuse")))
    assert {(one.driver, one.case.filesystem) for one in found} == {
        (driver, filesystem) for driver in ("overlayfs", "devfuse") for filesystem in ("ext4", "xfs-reflink")
    }


def test_parameters_come_from_the_result() -> None:
    found = parameters(whole(("overlayfs",)), "overlayfs", "ext4")
    assert found.fixed == pytest.approx(1e-4, rel=0.05)
    assert found.bandwidth == pytest.approx(2e9, rel=0.05)
    assert found.operation == pytest.approx(1e-5, rel=0.1)
    with pytest.raises(ResultError, match="there are: overlayfs on ext4"):
        parameters(whole(("overlayfs",)), "devfuse")
    with pytest.raises(ResultError, match="there are: none"):
        parameters(result([series(Case("stat"), "overlayfs", 1.0)]), "overlayfs")


# Traces

MACHINE = MachineParameters("x", fixed=1.0, bandwidth=1000.0, operation=0.0, write=1e30, block=10, chunk=100)


def opened(path: str, size: int) -> Operation:
    return Operation(Kind.OPEN, path, effects=(Effect(EffectKind.COPIED_UP, path, 1, size),))


def costs(*operations: Operation) -> dict[str, Cost]:
    return {cost.way: cost for cost in predict(operations, MACHINE)}


def test_a_write_in_the_middle() -> None:
    found = costs(opened("/db", 10_000), Operation(Kind.WRITE, "/db", size=4, offset=555))
    assert {way: cost.copied for way, cost in found.items()} == {
        "file": 10_000,
        "metacopy": 10_000,
        "reflink": 10,  # one block
        "block": 200,  # a chunk of data and one of metadata
    }
    assert found["file"].copying == pytest.approx(11.0)
    assert found["reflink"].copying == pytest.approx(1.01)
    assert found["block"].copying == pytest.approx(0.2)
    assert found["file"].amplification == (10_000 + 4) / 4
    assert found["file"].longest[1] == "/db"


def test_a_block_is_copied_once_and_not_if_it_is_overwritten_whole() -> None:
    writes = [Operation(Kind.WRITE, "/db", size=4, offset=offset) for offset in (0, 3, 8)]
    found = costs(opened("/db", 10_000), *writes)
    assert found["reflink"].copied == 20  # blocks 0 and 1
    found = costs(opened("/db", 10_000), Operation(Kind.WRITE, "/db", size=100, offset=200))
    assert found["reflink"].copied == 0
    assert found["block"].copied == 100  # its metadata alone
    past = costs(opened("/db", 50), Operation(Kind.WRITE, "/db", size=5, offset=1000))
    assert past["reflink"].copied == 0, "there is nothing old behind the end"


def test_metadata_alone() -> None:
    effects = (Effect(EffectKind.COPIED_UP, "/etc", 1, 0), Effect(EffectKind.COPIED_UP, "/etc/x", 1, 5000))
    chmod = Operation(Kind.CHMOD, "/etc/x", effects=effects)
    found = costs(chmod)
    assert {way: cost.copied for way, cost in found.items()} == {
        "file": 5000,
        "metacopy": 0,
        "reflink": 0,
        "block": 200,
    }
    later = costs(chmod, Operation(Kind.WRITE, "/etc/x", size=1), Operation(Kind.WRITE, "/etc/x", size=1))
    assert later["metacopy"].copied == 5000
    assert found["file"].amplification == float("inf")


def test_names_are_followed() -> None:
    moved = Operation(Kind.RENAME, "/a", target="/b", effects=(
        Effect(EffectKind.COPIED_UP, "/a", 1, 5000), Effect(EffectKind.RENAMED, "/a", target="/b"),
    ))  # fmt: skip
    found = costs(moved, Operation(Kind.WRITE, "/b", size=1, offset=7))
    assert found["metacopy"].copied == 5000
    assert found["reflink"].copied == 10


def test_what_failed_costs_nothing() -> None:
    failed = Operation(Kind.WRITE, "/db", size=4, offset=555, error=28)
    assert costs(failed)["file"].written == 0


def test_on_a_journal_of_a_real_union(tmp_path: Path) -> None:
    for name in ("base", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "base/large").write_bytes(b"x" * 3_000_000)
    (tmp_path / "base/small").write_bytes(b"x" * 100)
    layers = [JournalLayer(0, "rw", "upper", tmp_path / "upper"), JournalLayer(1, "ro", "base", tmp_path / "base")]
    with (
        Recorder(tmp_path / "journal.db", layers) as record,
        UnionFS([tmp_path / "base"], tmp_path / "upper", tmp_path / "work", record=record) as fs,
    ):
        fs.append_bytes("/large", b"12345")
        fs.append_bytes("/large", b"12345")
        fs.chmod("/small", 0o600)
    with Journal(tmp_path / "journal.db") as journal:
        operations = list(journal.operations())
    machine = MachineParameters("here", fixed=1e-4, bandwidth=1e9)
    found = {cost.way: cost for cost in predict(operations, machine)}
    assert list(found) == list(WAYS)
    assert found["file"].copied == 3_000_100
    assert found["metacopy"].copied == 3_000_000
    assert found["reflink"].copied == 4096
    assert found["file"].written == 10
    checked = check(operations, machine)
    assert checked is not None
    assert checked.count == 2
    assert checked.measured > 0
    assert [row[0] for row in predictions(list(found.values())).rows] == list(WAYS)
    assert check([operations[-1]] * 0, machine) is None
