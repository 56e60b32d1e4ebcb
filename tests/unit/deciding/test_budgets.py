"""Usage budgets of key versions: warnings once each, rotation when it is due, and the hard stop."""

import pytest
from tests.support.office import KEY, Office, office
from tests.support.people import command

from keyfold.events import facts
from keyfold.events.arguments import MAX_PROTECTED_ITEMS
from keyfold.events.entities import Key


def budgeted(items: int = 1000, percent: int | None = 95) -> Office:
    made = office()
    arguments = {"items": items, "rotate_at_percent": percent}
    assert made.code("UpdateUsageBudget", arguments=arguments) is None
    return made


def warned(made: Office) -> list[int]:
    return [event.data.percent for event in made.events if isinstance(event, facts.UsageBudgetWarning)]


def test_a_warning_at_each_percentage_once() -> None:
    """The command that crosses 50, 80 and 95 percent of the budget warns; no other one does."""
    made = budgeted()
    for items, so_far in ((499, []), (1, [50]), (1, [50]), (298, [50]), (1, [50, 80]), (200, [50, 80, 95])):
        assert made.code("Encrypt", items=items) is None
        assert warned(made) == so_far
    assert made.code("Encrypt", items=1) == "UsageLimitReached"
    warning = next(event for event in made.events if isinstance(event, facts.UsageBudgetWarning))
    assert (warning.data.protected_items, warning.data.usage_budget, warning.data.version) == (500, 1000, 1)
    assert warning.id.endswith(".budget-50")


def test_one_command_may_cross_several() -> None:
    """A large batch crosses them all at once, and says each."""
    made = budgeted()
    made.ask("GenerateDataKey", items=1000)
    assert warned(made) == [50, 80, 95]


def test_warnings_follow_their_decision_in_the_log() -> None:
    """Warnings stand right behind the decision that caused them, and have no ticket."""
    made = budgeted()
    batch = made.decide(*(command("Encrypt", KEY, 900 + n, items=300) for n in range(3)))
    kinds = [facts.parse_event(entry.value).type.split(".")[-2] for entry in batch.events]
    assert kinds == ["authorized", "authorized", "usage-budget-warning", "authorized", "usage-budget-warning"]
    assert len(batch.tickets) == 3


@pytest.mark.parametrize("verb", ["Decrypt"])
def test_what_does_not_protect_uses_no_budget(verb: str) -> None:
    """Decrypting is without bound."""
    made = budgeted()
    made.ask("Encrypt", items=1000)
    assert made.code(verb, items=1000) is None


def test_rotation_is_due_by_the_budget_only() -> None:
    """A rotation for the budget's sake is refused before it is due, and again once it has happened."""
    made = budgeted(percent=90)
    cause = {"cause": "usage-budget"}
    made.ask("Encrypt", items=899)
    assert made.code("RotateKey", arguments=cause) == "InvalidState"
    made.ask("Encrypt", items=1)
    assert warned(made) == [50, 80, 90]
    event = made.ask("RotateKey", arguments=cause)
    assert isinstance(event, facts.KeyRotated)
    assert event.data.cause == "usage-budget"
    assert made.code("RotateKey", arguments=cause) == "InvalidState"
    assert made.code("RotateKey") is None


def test_no_automatic_rotation_where_none_is_wanted() -> None:
    """Without a percentage a rotation is never due."""
    made = budgeted(percent=None)
    made.ask("Encrypt", items=1000)
    assert made.code("RotateKey", arguments={"cause": "usage-budget"}) == "InvalidState"


def test_every_version_has_the_whole_budget() -> None:
    """Counting begins anew with a version, warnings too."""
    made = budgeted()
    made.ask("Encrypt", items=500)
    made.ask("RotateKey")
    made.ask("Encrypt", items=500)
    assert warned(made) == [50, 50]
    assert [version.protected_items for version in made.key().versions] == [500, 500]


def test_a_budget_is_given_at_creation() -> None:
    """Without a word a key has the greatest budget, 2^31, and is rotated at 95 percent of it."""
    made = Office()
    made.ask("CreateKey")
    assert (made.key().usage_budget, made.key().rotate_at_percent) == (MAX_PROTECTED_ITEMS, 95)
    other = Office()
    other.ask("CreateKey", arguments={"usage_budget": 7, "rotate_at_percent": None})
    assert (other.key().usage_budget, other.key().rotate_at_percent) == (7, None)
    assert other.code("Encrypt", items=8) == "UsageLimitReached"


def test_the_hard_stop_is_two_to_the_31() -> None:
    """No budget is above 2^31, well before the 2^32 invocations of AES-GCM (SP 800-38D, section 8.3)."""
    made = office()
    made.decide(command("UpdateUsageBudget", KEY, 900, arguments={"items": 2**31 + 1}))
    assert made.reply() == "InvalidCommand"
    key = made.key()
    version = key.versions[0].model_copy(update={"protected_items": 2**31 - 1})
    made.state.entities[KEY] = key.model_copy(update={"versions": (version,)})
    assert made.code("Encrypt", items=2) == "UsageLimitReached"
    assert made.code("Encrypt", items=1) is None
    found = made.state.entities[KEY]
    assert isinstance(found, Key)
    assert found.versions[0].protected_items == 2**31
    assert made.code("Encrypt", items=1) == "UsageLimitReached"
