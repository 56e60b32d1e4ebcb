"""The token's health as a pure fold: states, pauses between tries, and what ends them."""

import pytest

from keyfold.events.errors import KeyfoldError, TokenUnavailable
from keyfold.hsm.errors import ProbeFailed
from keyfold.hsm.health import Health, Pauses, State, state_of
from keyfold.token import (
    HandleLost,
    ModuleUnusable,
    PinIncorrect,
    PinLocked,
    PinUnusable,
    ProbeReport,
    TokenKeyMissing,
    TokenKeyUntrusted,
    TokenMissing,
)
from keyfold.token.errors import PinExpired, SessionLimit, TokenLost, TokenReplaced

PAUSES = Pauses(0.1, 5.0)
GONE = TokenLost("gone")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (TokenUnavailable(), State.UNAVAILABLE),
        (TokenLost("x"), State.UNAVAILABLE),
        (HandleLost("x"), State.UNAVAILABLE),
        (SessionLimit("x"), State.UNAVAILABLE),
        (PinIncorrect("x"), State.LOCKED),
        (PinLocked("x"), State.LOCKED),
        (PinExpired("x"), State.LOCKED),
        (PinUnusable("x"), State.LOCKED),
        (TokenReplaced("x"), State.REPLACED),
        (TokenKeyUntrusted("x"), State.REPLACED),
        (ProbeFailed("kms", ProbeReport(("copy",), ("copy",))), State.REPLACED),
        (TokenMissing("x"), State.MISSING),
        (TokenKeyMissing("x"), State.MISSING),
        (ModuleUnusable("x"), State.MISSING),
    ],
)
def test_each_error_names_a_state(error: KeyfoldError, state: State) -> None:
    """The state, the code and the reason are the error's."""
    health = Health().noticed(error, 7.0, PAUSES)
    assert state_of(error) is health.state(7.0) is state
    assert health.failure is not None
    assert (health.code(7.0), health.failure.reason) == (error.code, str(error))


def test_a_bug_is_told_by_its_type_only() -> None:
    """The text of an unexpected error might quote what is secret."""
    health = Health().tried(ValueError("the secret"), 0.0, PAUSES)
    assert health.failure is not None
    assert (health.failure.state, health.failure.reason) == (State.UNAVAILABLE, "ValueError")


def test_a_failure_is_looked_at_at_once_then_with_growing_pauses() -> None:
    """0.1 s, 0.2 s, ... up to the longest; the outage began when it was noticed."""
    health = Health().noticed(GONE, 10.0, PAUSES)
    assert health.is_due(10.0)
    now, pauses = 10.0, []
    for _ in range(8):
        health = health.tried(GONE, now, PAUSES)
        assert health.failure is not None
        assert not health.is_due(now)
        pauses.append(round(health.failure.next_try_s - now, 6))
        now = health.failure.next_try_s
        assert health.is_due(now)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert health.failure is not None
    assert health.failure.since_s == 10.0


def test_more_failures_change_nothing_about_an_outage() -> None:
    """Two hundred tickets that fail at once make one outage, tried once; what a try found stays told."""
    health = Health().tried(PinIncorrect("refused"), 1.0, PAUSES)
    assert health.noticed(GONE, 1.5, PAUSES) is health


def test_a_later_try_says_what_it_found() -> None:
    """Lost, then found locked: the outage is the same one."""
    health = Health().noticed(GONE, 1.0, PAUSES).tried(PinIncorrect("refused"), 2.0, PAUSES)
    assert health.state(2.0) is State.LOCKED
    assert health.failure is not None
    assert health.failure.since_s == 1.0


def test_an_answer_ends_an_outage() -> None:
    """Healthy at once, whatever it was."""
    health = Health().tried(TokenReplaced("x"), 1.0, PAUSES).answered(2.0)
    assert (health.state(2.0), health.code(2.0), health.is_due(2.0)) == (State.HEALTHY, "", True)
    assert not health.is_lasting(100.0, 5.0)


def test_a_token_that_is_lost_again_at_once_is_not_opened_in_a_loop() -> None:
    """Each time it waits longer, until it has been well for a while."""
    health, waits, now = Health(), [], 0.0
    for _ in range(5):
        health = health.noticed(GONE, now, PAUSES)
        assert health.failure is not None
        waits.append(round(health.failure.next_try_s - now, 6))
        now = health.failure.next_try_s
        health = health.answered(now)
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8]
    health = health.noticed(GONE, now + 60, PAUSES)
    assert health.is_due(now + 60)


def test_an_outage_lasts_when_it_is_longer_than_a_batch_waits() -> None:
    """Up to the bound, batches wait and fail; beyond it they are not begun."""
    health = Health().noticed(GONE, 10.0, PAUSES)
    assert [health.is_lasting(now, 5.0) for now in (10.0, 15.0, 15.1)] == [False, False, True]


def test_slowness_and_fewer_sessions_degrade() -> None:
    """The one until it is over, the other until the pool has grown; an outage is told first."""
    slow = Health().slowed(20.0)
    assert [slow.state(now) for now in (19.9, 20.0)] == [State.DEGRADED, State.HEALTHY]
    assert slow.slowed(5.0).slow_until_s == 20.0
    small = Health().pooled(2, 4)
    assert (small.state(0.0), small.code(0.0)) == (State.DEGRADED, "SessionLimit")
    assert small.pooled(4, 4).state(0.0) is State.HEALTHY
    assert slow.code(0.0) == "SlowToken"
    assert slow.noticed(GONE, 1.0, PAUSES).state(1.0) is State.UNAVAILABLE
