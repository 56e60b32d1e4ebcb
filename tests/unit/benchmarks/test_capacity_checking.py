"""Predictions come from the fitted points alone, and the page's tables from nothing but points."""

from dataclasses import asdict, replace
from typing import Any

import pytest
from benchmarks.capacity_checking import check, is_fitted, sheet
from benchmarks.capacity_points import Point
from benchmarks.capacity_report import between_marks, report

IDLE = {"policy": 0.01, "hsm": 0.01, "projector": 0.0, "postgres": 0.0, "notary": 0.0, "scheduler": 0.0, "kafka": 0.05}
COST = {**dict.fromkeys(IDLE, 100.0), "client": 500.0, "policy": 300.0, "hsm": 900.0}


def point(**more: Any) -> Point:
    """The point that a sheet is fitted at: a tenth of a core does 100 commands a second."""
    made = Point(
        shape="batches",
        items=10,
        brokers=1,
        partitions=4,
        workers=1,
        cores=0.1,
        one_key=False,
        commands_per_s=100.0,
        p50_ms=1.0,
        p99_ms=2.0,
        failed=0,
        late_s=0.1,
        used=0.5,
        wire_bytes=10_000.0,
        busiest={"policy": 3, "hsm": 3},
        throttled={"policy": 0.2, "hsm": 0.99},
        cost_us=COST,
        idle=IDLE,
    )
    return replace(made, **more)


TWO = point(
    workers=2, busiest={"policy": 2, "hsm": 2}, idle={**IDLE, "policy": 0.02, "hsm": 0.02}, commands_per_s=160.0
)
FREE = point(cores=None, commands_per_s=900.0, throttled={}, cost_us=dict.fromkeys(COST, 1.0))
CLUSTER = point(cores=None, brokers=3, commands_per_s=700.0, throttled={}, cost_us={**COST, "kafka": 400.0})


def test_a_prediction_comes_from_the_fitted_point() -> None:
    """Two workers, the busiest with two of three partitions: (0.1 − 0.01) ÷ (900 µs × 2/3)."""
    fitted, predicted = check([point(), TWO], machine=2.0)
    assert (fitted.fitted, predicted.fitted) == (True, False)
    assert (predicted.predicted.part, predicted.predicted.per_second) == ("hsm", pytest.approx(150))
    assert predicted.error == pytest.approx(150 / 160 - 1)


def test_costs_measured_elsewhere_change_no_prediction() -> None:
    """What the predicted point itself cost is not looked at."""
    told = [
        check([point(), replace(TWO, cost_us=costs)], 2.0)[1].predicted for costs in (COST, dict.fromkeys(COST, 1.0))
    ]
    assert told[0] == told[1]


def test_a_free_machine_is_its_cores_by_the_sum_of_costs() -> None:
    """Of 2 cores, less 70 thousandths, by 2,200 µs."""
    predicted = check([point(), FREE], machine=2.0)[1].predicted
    assert (predicted.part, predicted.per_second) == ("machine", pytest.approx(1.93e6 / 2200))


def test_only_brokers_are_taken_from_the_cluster() -> None:
    """Their cost at replication 3; everything else stays the fitted point's."""
    found = sheet([point(), FREE, replace(CLUSTER, cost_us={**COST, "kafka": 400.0, "hsm": 1.0})], "batches")
    assert found is not None
    assert (found.broker_us, found.cost_us["hsm"]) == ({1: 100.0, 3: 400.0}, 900.0)


def test_what_one_process_idles_is_divided() -> None:
    """A point's figures are of all processes of a part."""
    found = sheet([replace(point(), workers=2, idle=TWO.idle, cores=None)], "batches")
    assert found is not None
    assert found.idle["hsm"] == pytest.approx(0.01)


def test_nothing_is_predicted_without_a_fitted_point() -> None:
    """Nor is the fitted point one where all load is at one key, or another number of partitions."""
    assert check([TWO, FREE], 2.0) == []
    assert not any(map(is_fitted, (point(one_key=True), point(partitions=12), point(brokers=3), FREE)))


def test_the_tables_say_what_was_measured() -> None:
    """Each point is a row, with its error; a cluster's rows come with costs at its replication."""
    tables = report([point(), TWO, FREE, CLUSTER], machine=2.0)
    assert "| batches | 1 | 4 | 2 | 10% | 2, 2 | 20%, 99% | 1,600 | 1,500 | -6% | HSM worker |" in tables
    assert "| batches | 1 | 4 | 1 | 10% | 3, 3 | 20%, 99% | 1,000 | 1,000 | fitted | HSM worker |" in tables
    assert "| brokers, replication 3 | 400 (40.0) | 50 |" in tables
    assert "| 12 | 1 | " in tables
    assert "What a cluster would do" in report([point()], 2.0)
    assert "| 12 | 1 | " not in report([point()], 2.0)


def test_tables_can_be_made_again_from_what_was_kept() -> None:
    """A point survives its JSON object."""
    assert Point(**asdict(TWO)) == TWO


def test_only_what_is_between_the_marks_is_replaced() -> None:
    """A page without marks is refused."""
    page = "a\n<!-- capacity:begin -->\nold\n<!-- capacity:end -->\nb\n"
    assert between_marks(page, "new\n") == page.replace("old", "new")
    with pytest.raises(ValueError, match="capacity:begin"):
        between_marks("nothing", "new\n")
