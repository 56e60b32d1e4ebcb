"""Dry runs: decided and recorded like any command, never executed, charged to nothing."""

from typing import Any

import pytest
from tests.support.office import KEY, WEEK, office
from tests.support.people import command, key_on, signer

from keyfold.events import facts
from keyfold.events.streams import REGISTRY

POLICY = {"policy": "p", "text": "permit (principal, action, resource);"}
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("CreateKey", key_on(2, 700), {"tags": {"a": "b"}}),
    ("RotateKey", KEY, {}),
    ("DisableKey", KEY, {"reason": "x"}),
    ("ScheduleKeyDeletion", KEY, {"pending_window_seconds": WEEK}),
    ("DestroyKeyNow", KEY, {}),
    ("PutPolicy", KEY, POLICY),
    ("Encrypt", KEY, {}),
    ("GenerateDataKey", KEY, {}),
    ("CreateAlias", REGISTRY, {"alias": "alias/a", "key_id": KEY.removeprefix("key/")}),
    ("PutPolicy", REGISTRY, POLICY),
    ("RegisterPrincipal", REGISTRY, {"principal": "new", "public_key": signer("new").public_key.hex()}),
    ("RotateSealingKey", REGISTRY, {}),
]


@pytest.mark.parametrize(("verb", "stream", "arguments"), CASES)
def test_nothing_is_executed(verb: str, stream: str, arguments: dict[str, Any]) -> None:
    """A dry run names what the command would become, makes no ticket and leaves all entities as they are."""
    made = office()
    desk = made.front if stream == REGISTRY else made
    before = dict(desk.state.entities)
    asked = made.ask(verb, stream, arguments=arguments, dry_run=True)
    assert isinstance(asked, facts.DryRunSucceeded)
    assert made.reply(stream) == "DryRunOperation"
    assert not desk.batches[-1].tickets
    assert dict(desk.state.entities) == before
    done = made.ask(verb, stream, arguments=arguments)
    assert done.type == asked.data.would_be
    assert asked.data.decision.policies == done.data.decision.policies


def test_a_denial_is_a_denial() -> None:
    """What would be denied is denied, with the same code and policies, whether it is a dry run or not."""
    made = office("Disabled")
    for verb, code in (("Encrypt", "KeyDisabled"), ("CancelKeyDeletion", "KeyDisabled")):
        assert made.code(verb, dry_run=True) == code == made.code(verb)


def test_a_dry_run_is_remembered() -> None:
    """Sent again, a dry run is told that it was executed before, and what came of it."""
    made = office()
    asked = command("Encrypt", KEY, 900, dry_run=True)
    made.decide(asked)
    events = len(made.events)
    made.decide(asked)
    assert len(made.events) == events
    assert made.reply() == "AlreadyExecuted"
    assert made.state.memory.in_flight == len([e for e in made.events if isinstance(e, facts.PolicyEvent)]) - 1


def test_no_budget_is_charged() -> None:
    """A dry run of a command that protects uses nothing of the version's budget."""
    made = office()
    made.ask("Encrypt", items=1000, dry_run=True)
    assert made.key().versions[0].protected_items == 0
