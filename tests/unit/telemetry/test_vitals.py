"""Liveness and readiness: what a look finds, and what it means as time goes by."""

import asyncio
from collections.abc import Iterator

import pytest

from keyfold.telemetry.partitions import STANDBY_SECONDS, Partitions
from keyfold.telemetry.rising import Rising
from keyfold.telemetry.vitals import LOOP_SECONDS, STEP_SECONDS, Check, Vitals, document, stepping


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def looked(*checks: Check, clock: Clock | None = None) -> Vitals:
    vitals = Vitals("policy", clock or Clock())
    vitals.add(lambda: checks)
    vitals.look()
    return vitals


def test_a_process_that_starts_is_alive_and_not_ready() -> None:
    """Before the first look nothing is known, and a restart would not help."""
    vitals = Vitals("policy", Clock())
    assert vitals.alive()[0]
    ready, checks = vitals.ready()
    assert not ready
    assert [check.name for check in checks if not check.ok] == ["start"]


def test_a_process_without_probes_is_never_ready() -> None:
    """A look that asked nobody says nothing."""
    vitals = Vitals("policy", Clock())
    vitals.look()
    assert not vitals.ready()[0]


def test_what_is_not_there_makes_not_ready_and_leaves_alive() -> None:
    """A token or broker that is away comes back by itself; a restart would not bring it."""
    vitals = looked(Check("token", False, "Missing"), Check("registry", True))
    assert vitals.alive()[0]
    assert not vitals.ready()[0]
    assert looked(Check("token", True)).ready()[0]


def test_a_main_loop_that_is_stuck_is_neither() -> None:
    """A vital check that fails decides about both."""
    vitals = looked(Check("main-loop", False, "made no step", vital=True))
    assert not vitals.alive()[0]
    assert not vitals.ready()[0]


def test_an_event_loop_that_stands_still_is_told_by_the_report_getting_old() -> None:
    """Nobody has to run on the event loop to see that nothing does."""
    clock = Clock()
    vitals = looked(Check("registry", True), clock=clock)
    clock.now_s += LOOP_SECONDS
    assert vitals.alive()[0]
    clock.now_s += 1
    alive, checks = vitals.alive()
    assert not alive
    assert "made no turn for 31 s" in checks[0].reason
    assert not vitals.ready()[0]
    vitals.look()
    assert vitals.alive()[0]


def test_a_probe_that_fails_costs_its_own_check_only() -> None:
    """Its error's text may quote anything: only the type is told. The process stays alive."""
    vitals = Vitals("policy", Clock())

    def broken() -> Iterator[Check]:
        yield Check("seen", True)
        raise ValueError("secret")

    vitals.add(broken)
    vitals.add(lambda: [Check("other", True)])
    vitals.look()
    ready, checks = vitals.ready()
    assert not ready
    assert vitals.alive()[0]
    assert [check.name for check in checks] == ["event-loop", "probe", "other"]
    assert "secret" not in str(document("policy", "not-ready", checks))


@pytest.mark.parametrize(("idle_s", "ok"), [(None, True), (0.0, True), (STEP_SECONDS, True), (STEP_SECONDS + 1, False)])
def test_a_loop_is_stuck_after_its_bound(idle_s: float | None, ok: bool) -> None:
    """A loop that is not at work is not stuck."""
    check = stepping("main-loop", None if idle_s is None else 1000.0 - idle_s, 1000.0)
    assert (check.ok, check.vital) == (ok, True)


class Worker:
    def __init__(self, *, running: bool = True, stepped_s: float | None = 100.0) -> None:
        self.running = asyncio.Event()
        if running:
            self.running.set()
        self.stepped_s = stepped_s


class Owning:
    def __init__(self, stopped: frozenset[int] = frozenset(), **working: Worker) -> None:
        self.working = {int(name[1:]): worker for name, worker in working.items()}
        self.stopped = stopped


def failing(partitions: Partitions) -> dict[str, str]:
    return {check.name: check.reason for check in partitions.checks() if not check.ok}


def test_partitions_that_are_owned_are_fine() -> None:
    """Every wanted partition is owned and comes round."""
    assert failing(Partitions(Owning(p0=Worker(), p3=Worker()), Clock())) == {}


def test_a_partition_that_is_taken_over_is_not_ready() -> None:
    """It is named, and does not count as stuck however long its restoring takes."""
    partitions = Partitions(Owning(p0=Worker(), p3=Worker(running=False, stepped_s=None)), Clock())
    assert failing(partitions) == {"partitions": "partitions 3 not owned yet"}


def test_a_partition_that_stopped_is_not_ready() -> None:
    """Somebody has to act."""
    assert failing(Partitions(Owning(frozenset({7}), p0=Worker()), Clock())) == {
        "stopped": "partitions 7 stopped; see the log"
    }


def test_one_partition_that_is_stuck_is_enough() -> None:
    """The process cannot be trusted with it any more."""
    clock = Clock()
    partitions = Partitions(Owning(p0=Worker(), p1=Worker(stepped_s=100.0 - STEP_SECONDS - 5)), clock)
    assert failing(partitions) == {"main-loop": "made no step for 125 s"}


def test_who_is_assigned_nothing_stands_by() -> None:
    """There may be more processes than partitions; a moment is left for the first assignment."""
    clock = Clock()
    partitions = Partitions(Owning(), clock)
    assert failing(partitions) == {"partitions": "none is assigned here yet"}
    clock.now_s += STANDBY_SECONDS
    assert failing(partitions) == {}


def test_a_number_that_somebody_else_counts_is_taken_over_once() -> None:
    """Growth is added once; a number that fell began anew."""

    class Counter:
        total = 0.0

        def inc(self, amount: float = 1) -> None:
            self.total += amount

    number, counter = 5, Counter()
    rising = Rising(counter, lambda: number)
    rising.take()
    rising.take()
    number = 8
    rising.take()
    assert counter.total == 8
    number = 2
    rising.take()
    assert counter.total == 10
