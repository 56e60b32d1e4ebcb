"""What policy counts: decisions by verb and code, what was rejected or repeated, budgets used up, and limits left."""

from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY as METRICS
from tests.support.office import KEY, Office
from tests.support.people import command, signed

from keyfold.events.streams import REGISTRY
from keyfold.policy.batch import Batch


class Counted:
    """Metrics that grew since the test began."""

    def __init__(self) -> None:
        self._before = self._now()

    @staticmethod
    def _now() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in METRICS.collect()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        place = (f"keyfold_policy_{name}", tuple(sorted(labels.items())))
        return self._now().get(place, 0) - self._before.get(place, 0)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def stand(office: Office) -> Batch:
    """The last batch's transaction stands, three seconds after its commands came."""
    batch = office.batches[-1]
    batch.tally.count(1, office.now_ms + 3000, 0.25)
    return batch


def made(**arguments: object) -> Office:
    office = Office()
    office.ask("CreateKey", arguments=arguments)
    office.ask("PutPolicy", arguments={"policy": "first", "text": "permit (principal, action, resource);"})
    return office


def test_decisions_are_counted_by_verb_and_code(counted: Counted) -> None:
    """Accepted ones have no code. Nothing is counted before the transaction stands."""
    office = made()
    office.ask("Encrypt")
    assert counted("commands_total", verb="Encrypt", code="") == 0
    stand(office)
    office.ask("DisableKey", arguments={"reason": "audit"})
    office.ask("Encrypt")
    stand(office)
    assert counted("commands_total", verb="Encrypt", code="") == 1
    assert counted("commands_total", verb="Encrypt", code="KeyDisabled") == 1
    assert counted("command_seconds_sum", verb="Encrypt") == 6
    assert counted("stage_seconds_sum", stage="commit") == 0.5
    assert counted("stage_seconds_sum", stage="admission") > 0
    assert counted("stage_seconds_sum", stage="decision") > 0


def test_what_is_no_command_is_counted_by_its_code(counted: Counted) -> None:
    """The label is a code of ours, never what was sent."""
    office = made()
    office.decide(signed(b"{}", KEY))
    (letter,) = stand(office).dead_letters
    assert counted("rejected_total", code=letter.code) == 1


def test_a_repeated_command_is_counted_as_such(counted: Counted) -> None:
    """It is no second decision."""
    office = made()
    again = command("Encrypt", KEY, 77)
    office.decide(again)
    stand(office)
    office.decide(again)
    stand(office)
    assert counted("repeated_total") == 1
    assert counted("commands_total", verb="Encrypt", code="") == 1


def test_used_up_parts_of_budgets_are_counted(counted: Counted) -> None:
    """Once for each part, by its percentage."""
    office = made(usage_budget=10)
    office.ask("Encrypt", items=6)
    stand(office)
    assert counted("budget_warnings_total", percent="50") == 1
    assert counted("budget_warnings_total", percent="80") == 0


@pytest.mark.parametrize(
    ("kind", "left"), [("quota", lambda used: 1 - used / 10), ("rate", lambda used: (10 - used) / 10)]
)
def test_what_is_left_of_a_limit_is_shown(kind: str, left: Callable[[int], float], counted: Counted) -> None:
    """By the limit's name alone, whoever was charged: the least of a batch."""
    office = made()
    arguments = {
        "limit": f"small-{kind}", "kind": kind, "per": "key", "unit": "items", "amount": 10, "period_seconds": 86_400,
    }  # fmt: skip
    assert office.code("PutLimit", REGISTRY, arguments=arguments) is None
    office.ask("Encrypt", items=4)
    stand(office)
    shown = METRICS.get_sample_value("keyfold_policy_limit_left_ratio", {"limit": f"small-{kind}"})
    assert shown == pytest.approx(left(4))
