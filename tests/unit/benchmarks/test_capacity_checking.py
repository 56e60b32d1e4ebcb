"""Predictions come from the fitted points alone, and the page's tables from nothing but points."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.capacity_checking import check, is_fitted, sheet
from benchmarks.capacity_points import Point
from benchmarks.capacity_report import between_marks, report

PAGE = Path(__file__).resolve().parents[3] / "docs" / "capacity.md"
IDLE = {"policy": 0.01, "hsm": 0.01, "projector": 0.0, "postgres": 0.0, "notary": 0.0, "scheduler": 0.0, "kafka": 0.05}
COST = {**dict.fromkeys(IDLE, 100.0), "client": 500.0, "policy": 300.0, "hsm": 900.0}
CHEAP = dict.fromkeys(COST, 1.0)
TEN, FIFTY = ({"policy": number, "hsm": number} for number in (10.0, 50.0))


def point(**more: Any) -> Point:
    """One of the points that a sheet is fitted at: a tenth of a core does 100 commands a second."""
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
        batch=TEN,
        busiest={"policy": 3, "hsm": 3},
        throttled={"policy": 0.2, "hsm": 0.99},
        cost_us=COST,
        idle=IDLE,
    )
    return replace(made, **more)


SMALL = point()
ONE_KEY = point(one_key=True, batch=FIFTY, cost_us={**CHEAP, "policy": 220.0, "hsm": 500.0})
FREE = point(cores=None, commands_per_s=900.0, throttled={}, cost_us={**COST, "policy": 1.0, "hsm": 1.0})
CLUSTER = point(cores=None, brokers=3, commands_per_s=700.0, throttled={}, cost_us={**CHEAP, "kafka": 400.0})
FITTED = (SMALL, ONE_KEY, FREE, CLUSTER)
"""What a transaction costs the worker is 5,000 µs, a command 400 µs."""
TWO = point(
    workers=2,
    busiest={"policy": 2, "hsm": 2},
    idle={**IDLE, "policy": 0.02, "hsm": 0.02},
    commands_per_s=160.0,
    cost_us=CHEAP,
)


def test_a_command_and_a_transaction_cost_what_two_points_tell() -> None:
    """Ten and fifty commands to a transaction; all other parts are charged as where nothing is limited."""
    found = sheet(FITTED, "batches")
    assert found is not None
    assert (found.cost_us["hsm"], found.transaction_us["hsm"]) == pytest.approx((400, 5_000))
    assert (found.cost_us["policy"], found.transaction_us["policy"]) == pytest.approx((200, 1_000))
    assert (found.cost_us["notary"], found.cost_us["client"]) == (100, 500)
    assert found.broker_us == {1: 100.0, 3: 400.0}


@pytest.mark.parametrize(
    "one_key", [point(one_key=True), point(one_key=True, batch=FIFTY, cost_us={**COST, "hsm": 999.0})]
)
def test_where_two_points_do_not_tell_a_transaction_is_nothing(one_key: Point) -> None:
    """Transactions of the same size, or cheaper ones that are smaller: noise is no cost."""
    found = sheet([SMALL, one_key, FREE], "batches")
    assert found is not None
    assert found.transaction_us["hsm"] == 0
    assert found.cost_us["hsm"] == pytest.approx((900 + one_key.cost_us["hsm"]) / 2)


def test_a_prediction_comes_from_the_fitted_points() -> None:
    """Two workers, the busiest with two of three partitions: (0.1 − 0.01) ÷ (900 µs × 2/3)."""
    checked = check([*FITTED, TWO], machine=2.0)
    assert [each.fitted for each in checked] == [True, True, True, True, False]
    predicted = checked[-1]
    assert (predicted.predicted.part, predicted.predicted.per_second) == ("hsm", pytest.approx(150))
    assert predicted.error == pytest.approx(150 / 160 - 1)


def test_costs_measured_elsewhere_change_no_prediction() -> None:
    """What the predicted point itself cost is not looked at."""
    told = [check([*FITTED, replace(TWO, cost_us=costs)], 2.0)[-1].predicted for costs in (COST, CHEAP)]
    assert told[0] == told[1]


def test_larger_transactions_make_a_prediction_larger() -> None:
    """Fifty commands to each: (0.1 − 0.01) ÷ (500 µs × 2/3)."""
    assert check([*FITTED, replace(TWO, batch=FIFTY)], 2.0)[-1].predicted.per_second == pytest.approx(270)


def test_a_free_machine_is_its_cores_by_the_sum_of_costs() -> None:
    """Of 2 cores, less 120 thousandths with four workers of each kind, by 2,200 µs."""
    crowded = replace(FREE, workers=4, busiest={"policy": 1, "hsm": 1}, idle={**IDLE, "policy": 0.04, "hsm": 0.04})
    predicted = check([*FITTED, crowded], machine=2.0)[-1]
    assert not predicted.fitted
    assert (predicted.predicted.part, predicted.predicted.per_second) == ("machine", pytest.approx(1.87e6 / 2200))


def test_what_one_process_idles_is_divided() -> None:
    """A point's figures are of all processes of a part: of two workers, each idles half."""
    told = check([*FITTED, replace(TWO, idle={**TWO.idle, "hsm": 0.18})], 2.0)[-1].predicted
    assert told.per_second == pytest.approx(0.01 / (900e-6 * 2 / 3))


def test_nothing_is_predicted_without_the_fitted_points() -> None:
    """Costs alone can be told from the point without limits."""
    assert check([TWO, SMALL], 2.0) == []
    assert check([TWO, FREE], 2.0) == []
    assert sheet([FREE], "batches") is not None
    assert not any(map(is_fitted, (TWO, point(partitions=12), point(brokers=3), replace(FREE, workers=4))))


def test_the_tables_say_what_was_measured() -> None:
    """Each point is a row, with its error; a cluster's rows come with costs at its replication."""
    tables = report([*FITTED, TWO], machine=2.0)
    assert "| batches | 1 | 4 | 2 | 10% | 2, 2 | 10, 10 | 20%, 99% | 1,600 | 1,500 | -6% | HSM worker |" in tables
    assert "| batches | 1 | 4 | 1 | 10% | 3, 3 | 10, 10 | 20%, 99% | 1,000 | 1,000 | fitted | HSM worker |" in tables
    assert "| a transaction of the HSM worker | 5,000 | |" in tables
    assert "| brokers, replication 3 | 400 (40.0) | 50 |" in tables
    assert "Predictions: 1. Median of the errors' sizes 6%, greatest 6%." in tables
    assert "| one key, by its worker | 11,000 |" in tables
    assert "| 12 | 1 | " in tables
    assert "| 12 | 1 | " not in report([SMALL, ONE_KEY, FREE, TWO], 2.0)


def test_tables_can_be_made_again_from_what_was_kept() -> None:
    """A point survives its JSON object."""
    assert Point(**json.loads(json.dumps(asdict(TWO)))) == TWO


def test_only_what_is_between_the_marks_is_replaced() -> None:
    """A page without marks is refused."""
    page = "a\n<!-- capacity:begin -->\nold\n<!-- capacity:end -->\nb\n"
    assert between_marks(page, "new\n") == page.replace("old", "new")
    assert between_marks(PAGE.read_text("utf-8"), "new\n") != PAGE.read_text("utf-8")
    with pytest.raises(ValueError, match="capacity:begin"):
        between_marks("nothing", "new\n")
