"""The model of capacity: each part limits where it must, and adding what does not limit adds nothing."""

from dataclasses import replace
from typing import Any

import pytest
from benchmarks.capacity_model import (
    PARTS,
    Cluster,
    Cost,
    Sheet,
    Token,
    busiest,
    callers_bound,
    capacities,
    sustained_bound,
)

OWN = {"policy": 1000, "hsm": 2000, "projector": 500, "postgres": 250, "notary": 100, "scheduler": 0, "client": 50}
SHEET = Sheet(
    items=10,
    costs={part: Cost(own) for part, own in OWN.items()},
    brokers={1: Cost(100), 3: Cost(500)},
    wire={1: Cost(10_000), 3: Cost(30_000)},
    idle=dict.fromkeys(PARTS, 0.0),
)
TEN = {"policy": 10.0, "hsm": 10.0}


def cluster(processes: int, partitions: int = 9, **more: Any) -> Cluster:
    """As many of each kind of worker."""
    return Cluster(partitions, dict.fromkeys(("policy", "hsm", "projector"), processes), more.pop("batch", TEN), **more)


def test_one_worker_does_what_its_core_allows() -> None:
    """It has all partitions: a second of a core, by the cost of a command."""
    bound = callers_bound(SHEET, cluster(1))
    assert (bound.part, bound.per_second) == ("hsm", pytest.approx(500))


def test_workers_add_up_where_partitions_can_be_shared_evenly() -> None:
    """8 partitions with keys: 2 workers have at most 5 of the 9 partitions, 9 have one each."""
    found = [callers_bound(SHEET, cluster(processes)).per_second for processes in (1, 2, 3, 9)]
    assert found == pytest.approx([500, 500 * 8 / 5, 500 * 8 / 3, 500 * 8])


def test_more_workers_than_partitions_add_nothing() -> None:
    """Partition 0 has no keys: of 4 partitions, 3 work."""
    found = [callers_bound(SHEET, cluster(processes, 4)).per_second for processes in (3, 4, 9)]
    assert found == pytest.approx([750, 1500, 1500])
    assert callers_bound(SHEET, cluster(1, 2)) == callers_bound(SHEET, cluster(3, 2))


@pytest.mark.parametrize(
    ("partitions", "processes", "most"), [(4, 1, 3), (4, 2, 2), (4, 3, 2), (4, 4, 1), (4, 9, 1), (2, 1, 1), (12, 5, 3)]
)
def test_shares_differ_by_one(partitions: int, processes: int, most: int) -> None:
    """The busiest has one more than the others where they do not divide; never more than there are with keys."""
    assert busiest(partitions, processes) == most


def test_where_shares_are_known_they_count() -> None:
    """Three processes of four partitions: one has two, but one of them may be partition 0."""
    lucky = cluster(3, 4, busiest={"hsm": 1})
    assert capacities(SHEET, lucky)["hsm"] == 2 * capacities(SHEET, cluster(3, 4))["hsm"]


def test_one_key_is_one_worker_however_many_there_are() -> None:
    """A key is on one partition."""
    assert callers_bound(SHEET, cluster(9, shares="one key")) == callers_bound(SHEET, cluster(1))


def test_a_small_core_gives_what_is_left_of_it() -> None:
    """A tenth of a core, less what is lost by being stopped all the time; a whole core loses nothing."""
    lossy, small = replace(SHEET, efficiency=0.8), cluster(1, cores={"hsm": 0.1})
    assert capacities(SHEET, small)["hsm"] == pytest.approx(50)
    assert capacities(lossy, small)["hsm"] == pytest.approx(40)
    assert capacities(lossy, cluster(1)) == capacities(SHEET, cluster(1))


def test_partitions_without_load_cost_something() -> None:
    """With one key, 8 of 9 have none; else partition 0 alone, and only whoever has it besides loaded ones pays."""
    sheet = replace(SHEET, idle={**SHEET.idle, "hsm": 0.09})
    one_key = cluster(1, cores={"hsm": 0.1}, shares="one key")
    assert capacities(sheet, one_key)["hsm"] == pytest.approx(0.02e6 / 2000)
    assert capacities(sheet, replace(one_key, shares="even"))["hsm"] == pytest.approx(0.09e6 / 2000)
    assert capacities(sheet, cluster(9, shares="one key"))["hsm"] == pytest.approx(500)
    assert capacities(sheet, cluster(1, cores={"hsm": 0.01}, shares="one key"))["hsm"] == 0


def test_a_transaction_is_shared_by_its_commands() -> None:
    """2,000 µs and a tenth of 10,000 µs."""
    sheet = replace(SHEET, costs={**SHEET.costs, "hsm": Cost(2_000, 10_000)})
    assert capacities(sheet, cluster(1))["hsm"] == pytest.approx(1e6 / 3000)
    assert capacities(sheet, cluster(1, batch={"policy": 1.0, "hsm": 50.0}))["hsm"] == pytest.approx(1e6 / 2200)


def test_parts_that_read_both_kinds_of_transactions_pay_the_mean() -> None:
    """As many transactions as of policy and worker together: of 5 and 20 commands, one to each 8."""
    sheet = replace(SHEET, costs={**SHEET.costs, "notary": Cost(0, 800)})
    assert capacities(sheet, cluster(1, batch={"policy": 5.0, "hsm": 20.0}))["notary"] == pytest.approx(1e4)


def test_the_notary_is_one_process() -> None:
    """It bounds what lasts, not what callers get, and more workers do not move it."""
    many = cluster(64, 1024, brokers=100, cores={"postgres": 100})
    assert (sustained_bound(SHEET, many).part, sustained_bound(SHEET, many).per_second) == ("notary", 10_000)
    assert callers_bound(SHEET, many).per_second > 10_000


def test_postgres_bounds_what_lasts_only() -> None:
    """Callers do not wait for projections."""
    many = cluster(64, 1024, brokers=100)
    assert sustained_bound(SHEET, many).part == "postgres"
    assert callers_bound(SHEET, many).part != "postgres"


def test_replicas_cost_brokers_as_measured() -> None:
    """On the line through what was measured; brokers add up."""
    several = [(1, 1), (3, 3), (6, 3), (3, 2)]
    found = [capacities(SHEET, cluster(1, brokers=b, replication=r))["kafka"] for b, r in several]
    assert found == pytest.approx([10_000, 6_000, 12_000, 10_000])


def test_a_token_allows_what_its_sessions_do() -> None:
    """Sessions by calls and their time, for each worker."""
    slow = Token(sessions=4, calls=10, call_s=0.005)
    assert callers_bound(SHEET, cluster(1, token=slow)).part == "token"
    assert capacities(SHEET, cluster(1, token=slow))["token"] == pytest.approx(80)
    assert capacities(SHEET, cluster(9, token=slow))["token"] == pytest.approx(640)


def test_the_network_is_each_broker_s_own() -> None:
    """Bytes of a command pass one of them."""
    bounded = cluster(64, 1024, brokers=3, replication=3, network_bytes_s=1e6)
    assert (callers_bound(SHEET, bounded).part, callers_bound(SHEET, bounded).per_second) == ("network", 100)


def test_one_machine_is_shared_by_all_clients_too() -> None:
    """Its cores by the sum of all costs, less what all processes use for the ninth of partitions without load."""
    assert capacities(SHEET, cluster(1, machine=2.0))["machine"] == pytest.approx(2e6 / 4000)
    sheet = replace(SHEET, idle={**SHEET.idle, "hsm": 0.9})
    assert capacities(sheet, cluster(5, machine=2.0))["machine"] == pytest.approx(1.5e6 / 4000)
