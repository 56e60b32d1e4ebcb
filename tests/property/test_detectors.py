"""Detectors over any history: restarts change nothing, and neither does the order within ten seconds."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfold.analytics.detectors import all_detectors
from keyfold.analytics.detectors.detector import Detector
from keyfold.analytics.findings import HOUR_MS, Signal
from keyfold.analytics.observations import KEY, PRINCIPAL, Observation, Ref
from keyfold.analytics.ticks import TICK_MS, Tick

START_MS = 1_767_571_200_000
DETECTORS = all_detectors()
_USES = ("Decrypt", "Encrypt", "Sign", "GenerateDataKey", "GetPublicKey")
_ACTS = ("PutPolicy", "ScheduleKeyDeletion", "SuspendPrincipal", "CreateGrant")
_FAILED = {"denied": "AccessDenied", "failed": "InvalidCiphertext", "rejected": "Expired", "completed": "InvalidMac"}

gaps = st.sampled_from([1, 1, 1, 6, 60, 360, 3 * 360, 24 * 360, 33 * 24 * 360])
lives = st.lists(st.tuples(gaps, st.integers(0, 2**32), st.integers(1, 8)), min_size=1, max_size=60)


def _observation(rng: random.Random, start_ms: int, offset: int) -> Observation:
    administrative = rng.random() < 0.2
    result = rng.choice(["authorized"] * 6 + ["denied", "failed", "rejected", "completed"])
    items = rng.choice([1, 1, 5, 50, 2_000, 30_000])
    return Observation(
        ref=Ref(start_ms + rng.randrange(TICK_MS), 0, offset, f"0.{offset}.decision"),
        result=result,
        verb=rng.choice(_ACTS if administrative else _USES),
        principal=f"principal-{rng.randrange(3)}",
        key_id=f"key-{rng.randrange(40)}",
        items=items,
        failures=rng.choice([0, items]) if result == "completed" else 0,
        code=_FAILED.get(result),
        contexts=(f"object={rng.randrange(60)}",),
        administrative=administrative,
        target=f"policy-{rng.randrange(3)}",
    )


def _history(life: list[tuple[int, int, int]]) -> list[list[Observation]]:
    history, start, offset = [], START_MS, 0
    for gap, seed, number in life:
        start += gap * TICK_MS
        rng = random.Random(seed)  # noqa: S311 - a test's
        history.append([_observation(rng, start, offset + index) for index in range(number)])
        offset += number
    return history


def _tick(entity: str, observations: list[Observation]) -> Tick:
    tick = Tick(observations[0].ref.time_ms - observations[0].ref.time_ms % TICK_MS)
    for each in observations:
        tick.add(entity, each)
    return tick


def _restarted(detector: Detector[Any], memory: Any) -> Any:
    return detector.load(json.loads(json.dumps(detector.dump(memory))))


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda each: each.name)
@settings(max_examples=60, deadline=None)
@given(life=lives, entity=st.sampled_from([PRINCIPAL + "alice", KEY + "k"]), shuffled=st.randoms(use_true_random=False))
def test_a_restart_or_another_order_within_a_tick_changes_nothing(
    detector: Detector[Any], life: list[tuple[int, int, int]], entity: str, shuffled: random.Random
) -> None:
    """A memory that is written and read between any ticks says the same, and in the end is the same."""
    one, other = detector.begin(), detector.begin()
    for observations in _history(life):
        signals: list[Signal] = list(detector.look(entity, _tick(entity, observations), one))
        other = _restarted(detector, other)
        again = shuffled.sample(observations, len(observations))
        assert list(detector.look(entity, _tick(entity, again), other)) == signals
        for each in signals:
            assert each.since_ms < each.until_ms
            assert each.observed == each.observed and each.expected >= 0  # noqa: PT018 - no NaN
            assert each.sentence
    assert detector.dump(other) == detector.dump(one)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda each: each.name)
@settings(max_examples=40, deadline=None)
@given(life=lives)
def test_an_aspect_is_said_once_an_hour_and_again_only_when_worse(
    detector: Detector[Any], life: list[tuple[int, int, int]]
) -> None:
    """Findings that come again with the same id are more severe."""
    memory, said = detector.begin(), {}
    ranks = ("low", "medium", "high", "critical")
    for observations in _history(life):
        for signal in detector.look(PRINCIPAL + "alice", _tick(PRINCIPAL + "alice", observations), memory):
            key = (signal.aspect, (signal.until_ms - 1) // HOUR_MS)
            assert ranks.index(signal.severity) > said.get(key, -1)
            said[key] = ranks.index(signal.severity)
