"""The seed alone decides which faults come; every kind comes before any comes again."""

from itertools import islice

import pytest
from fault_injection.deployment import BROKERS, POSTGRES, SERVICES
from fault_injection.faults import KINDS, Planned
from fault_injection.main import kinds_of
from fault_injection.planning import plan


def first(seed: int, count: int) -> list[Planned]:
    """Return the first faults."""
    return list(islice(plan(seed, KINDS, SERVICES), count))


def test_a_seed_says_which_faults_come() -> None:
    """The same again, and others for another seed; the first breaks nothing, as the measure for all."""
    assert first(1, 50) == first(1, 50)
    assert first(1, 50) != first(2, 50)
    assert first(1, 1)[0].kind == "nothing"


def test_every_kind_comes_in_every_round() -> None:
    """In a new order each time."""
    planned = first(3, 1 + 2 * len(KINDS))[1:]
    one, two = planned[: len(KINDS)], planned[len(KINDS) :]
    assert {each.kind for each in one} == {each.kind for each in two} == set(KINDS)
    assert [each.kind for each in one] != [each.kind for each in two]


def test_every_process_is_met_and_long_pauses_outlast_sessions() -> None:
    """Kills and pauses meet each service and broker, partitions every service; some pauses are longer than 9 s."""
    planned = first(4, 3000)
    for kind in ("kill", "pause"):
        assert {each.target for each in planned if each.kind == kind} == {*SERVICES, *BROKERS}
    pauses = [each.hold_s for each in planned if each.kind == "pause"]
    assert min(pauses) < 5
    assert 9 < max(pauses) <= 20
    cut = {tuple(each.target.split(" from ")) for each in planned if each.kind == "partition"}
    assert {name for name, _ in cut} == set(SERVICES)
    assert ("projector-0", POSTGRES) in cut
    assert ("policy-0", ", ".join(BROKERS)) in cut


def test_an_unknown_kind_is_refused() -> None:
    """The message names the known ones."""
    assert kinds_of("kill,pause") == ["kill", "pause"]
    with pytest.raises(Exception, match="unknown faults: flood; known are kill"):
        kinds_of("kill,flood")
