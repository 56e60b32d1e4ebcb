"""The model of capacity: each part limits where it must, and adding what does not limit adds nothing."""

from dataclasses import replace
from typing import Any

import pytest
from benchmarks.capacity_model import (
    PARTS,
    Cluster,
    Sheet,
    Token,
    busiest,
    callers_bound,
    capacities,
    sustained_bound,
)

SHEET = Sheet(
    items=10,
    cost_us={
        "policy": 1000,
        "hsm": 2000,
        "projector": 500,
        "postgres": 250,
        "notary": 100,
        "scheduler": 0,
        "client": 50,
    },
    transaction_us={},
    batch={},
    broker_us={1: 100, 3: 500},
    wire_bytes={1: 10_000, 3: 30_000},
    idle=dict.fromkeys(PARTS, 0.0),
)


def cluster(processes: int, partitions: int = 9, **more: Any) -> Cluster:
    """As many of each kind of worker."""
    return Cluster(partitions, dict.fromkeys(("policy", "hsm", "projector"), processes), **more)


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
    three, four, nine = (callers_bound(SHEET, cluster(processes, 4)).per_second for processes in (3, 4, 9))
    assert (three, four, nine) == pytest.approx((750, 1500, 1500))
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
    """What a process uses without load comes off first."""
    sheet = replace(SHEET, idle={**SHEET.idle, "hsm": 0.02})
    assert capacities(sheet, cluster(1, cores={"hsm": 0.12}))["hsm"] == pytest.approx(50)
    assert capacities(sheet, cluster(1, cores={"hsm": 0.01}))["hsm"] == 0


def test_a_transaction_is_shared_by_its_commands() -> None:
    """2,000 µs and a tenth of 10,000 µs; of as many commands as the sheet says where nothing else is known."""
    sheet = replace(SHEET, transaction_us={"hsm": 10_000}, batch={"hsm": 5.0})
    assert capacities(sheet, cluster(1, batch={"hsm": 10.0}))["hsm"] == pytest.approx(1e6 / 3000)
    assert capacities(sheet, cluster(1))["hsm"] == pytest.approx(1e6 / 4000)


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
    found = [
        capacities(SHEET, cluster(1, brokers=b, replication=r))["kafka"] for b, r in ((1, 1), (3, 3), (6, 3), (3, 2))
    ]
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
    """Its cores by the sum of all costs, less what all processes use without load."""
    assert capacities(SHEET, cluster(1, machine=2.0))["machine"] == pytest.approx(2e6 / 4000)
    sheet = replace(SHEET, idle={**SHEET.idle, "hsm": 0.1})
    assert capacities(sheet, cluster(5, machine=2.0))["machine"] == pytest.approx(1.5e6 / 4000)
