"""Predictions come from the fitted points alone, and the page's tables from nothing but points."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.capacity_checking import check, is_fitted, sheet
from benchmarks.capacity_model import Cost
from benchmarks.capacity_points import Point
from benchmarks.capacity_report import between_marks, report

PAGE = Path(__file__).resolve().parents[3] / "docs" / "capacity.md"
IDLE = {"policy": 0.0, "hsm": 0.0, "projector": 0.0, "postgres": 0.0, "notary": 0.0, "scheduler": 0.0, "kafka": 0.05}
COST = {**dict.fromkeys(IDLE, 100.0), "client": 500.0, "policy": 300.0, "hsm": 900.0}
CHEAP = dict.fromkeys(COST, 1.0)
TEN, FIFTY = ({"policy": number, "hsm": number} for number in (10.0, 50.0))


def point(**more: Any) -> Point:
    """A point with small cores that a sheet is fitted at; its core does nine tenths of what it should."""
    made = Point(
        shape="batches",
        items=10,
        brokers=1,
        partitions=4,
        workers=1,
        cores=0.1,
        one_key=False,
        callers=64,
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
        cost_us=CHEAP,
        idle=IDLE,
    )
    return replace(made, **more)


SMALL = point()
FREE = point(cores=None, commands_per_s=800.0, throttled={}, cost_us=COST)
LARGE = replace(FREE, batch=FIFTY, cost_us={**COST, "policy": 220.0, "hsm": 500.0})
CLUSTER = replace(FREE, brokers=3, cost_us={**CHEAP, "kafka": 400.0})
FITTED = (SMALL, FREE, LARGE, CLUSTER)
"""What a transaction costs the worker is 5,000 µs, a command 400 µs."""
TWO = point(workers=2, busiest={"policy": 2, "hsm": 2}, commands_per_s=160.0)


def test_a_command_and_a_transaction_cost_what_two_points_tell() -> None:
    """Ten and fifty commands to a transaction, where nothing is limited."""
    found = sheet(FITTED, "batches", 2.0)
    assert found is not None
    assert (found.costs["hsm"].own, found.costs["hsm"].transaction) == pytest.approx((400, 5_000))
    assert (found.costs["policy"].own, found.costs["policy"].transaction) == pytest.approx((200, 1_000))
    assert (found.costs["notary"], found.costs["client"]) == (Cost(100), Cost(500))
    assert found.brokers == {1: Cost(100), 3: Cost(400)}


def test_where_two_points_do_not_tell_a_transaction_is_nothing() -> None:
    """Transactions of the same size, or larger ones that cost more: noise is no cost."""
    for other in (replace(LARGE, batch=TEN), replace(LARGE, cost_us={**COST, "hsm": 1000.0})):
        found = sheet([FREE, other], "batches", 2.0)
        assert found is not None
        assert found.costs["hsm"] == Cost((900 + other.cost_us["hsm"]) / 2)


def test_a_command_never_costs_less_than_nothing() -> None:
    """A hundredth for five times the commands: all of it is the transactions'."""
    found = sheet([FREE, replace(LARGE, cost_us={**COST, "hsm": 9.0})], "batches", 2.0)
    assert found is not None
    assert found.costs["hsm"] == Cost(0.0, (900 * 10 + 9 * 50) / 2)


def test_a_small_core_gives_what_one_point_tells() -> None:
    """A tenth of a core by 900 µs would be 111 commands a second, not 100."""
    found = sheet(FITTED, "batches", 2.0)
    assert found is not None
    assert found.efficiency == pytest.approx(0.9)


def test_a_prediction_comes_from_the_fitted_points() -> None:
    """Two workers, the busiest with two of three partitions: nine tenths of 0.1 ÷ (900 µs × 2/3)."""
    checked = check([*FITTED, TWO], machine=2.0)
    assert [each.fitted for each in checked] == [True, True, True, True, False]
    predicted = checked[-1]
    assert (predicted.predicted.part, predicted.predicted.per_second) == ("hsm", pytest.approx(150))
    assert predicted.error == pytest.approx(150 / 160 - 1)


def test_what_a_point_measured_changes_no_prediction_of_it() -> None:
    """Neither its costs nor its rate are looked at."""
    others = (TWO, replace(TWO, cost_us=COST), replace(TWO, commands_per_s=1.0))
    told = [check([*FITTED, other], 2.0)[-1].predicted for other in others]
    assert told[0] == told[1] == told[2]


def test_larger_transactions_make_a_prediction_larger() -> None:
    """Fifty commands to each: nine tenths of 0.1 ÷ (500 µs × 2/3)."""
    assert check([*FITTED, replace(TWO, batch=FIFTY)], 2.0)[-1].predicted.per_second == pytest.approx(270)


def test_a_free_machine_is_its_cores_by_the_sum_of_costs() -> None:
    """Of 2 cores, less a quarter of what brokers and four workers use without load, by 2,200 µs."""
    crowded = replace(FREE, workers=4, busiest={"policy": 1, "hsm": 1}, idle={**IDLE, "hsm": 0.15})
    predicted = check([*FITTED, crowded], machine=2.0)[-1]
    assert not predicted.fitted
    assert (predicted.predicted.part, predicted.predicted.per_second) == ("machine", pytest.approx(1.95e6 / 2200))


def test_what_one_process_idles_is_divided() -> None:
    """Of two workers each uses half; the one with the only key has another partition, for half of that."""
    told = check([*FITTED, replace(TWO, one_key=True, idle={**TWO.idle, "hsm": 0.1})], 2.0)[-1].predicted
    assert told.per_second == pytest.approx(0.9 * 0.075 / 900e-6)


def test_nothing_is_predicted_without_the_points_where_nothing_is_limited() -> None:
    """Costs come from nowhere else."""
    assert check([TWO, SMALL], 2.0) == []
    others = (TWO, point(partitions=12), point(brokers=3), point(one_key=True), replace(FREE, workers=4))
    assert not any(map(is_fitted, others))


def test_the_tables_say_what_was_measured() -> None:
    """Each point is a row, with its error; a cluster's rows come with costs at its replication."""
    tables = report([*FITTED, TWO], machine=2.0)
    row = "| batches, 64 callers | 1 | 4 | 2 | 10% | 2, 2 | 10, 10 | 20%, 99% | 1,600 | 1,500 | -6% | HSM worker |"
    assert row in tables
    assert "| 20%, 99% | 1,000 | 1,000 | fitted | HSM worker |" in tables
    assert "| HSM worker | 400 + 5,000 ÷ n | 567 (56.7) | 0 |" in tables
    assert "| brokers, replication 3 | 400 + 0 ÷ n | 400 (40.0) | 50 |" in tables
    assert "| what a small core gives of its part | 90% |" in tables
    assert "Predictions: 1. Median of the errors' sizes 6%, greatest 6%." in tables
    assert "| one key, by its worker | 17,647 |" in tables
    assert "| 12 | 1 | " in tables
    assert "cluster would do" not in report([SMALL, FREE, LARGE, TWO], 2.0)
    assert "cluster would do" in tables


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
