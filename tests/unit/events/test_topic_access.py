"""Access rules: they follow the table of topics, give each role what it needs, and nobody what others own."""

import pytest

from keyfold.events import topics
from keyfold.events.topic_access import ROLES, AccessRule, access_rules, default_principals


def who_may(operation: str, topic: str, rules: list[AccessRule]) -> set[str]:
    """Name the roles that may do something with a topic."""
    found = set()
    for rule in rules:
        about = rule.name == topic if rule.pattern == "literal" else topic.startswith(rule.name)
        if rule.resource == "topic" and rule.operation == operation and about:
            found.add(rule.principal.removeprefix("User:keyfold-"))
    return found


@pytest.mark.parametrize("row", topics.TOPICS, ids=lambda row: row.name)
def test_writers_are_those_of_the_table(row: topics.Topic) -> None:
    """The brokers let exactly those write that the table of topics names; producers are all that call."""
    callers = {"client", "scheduler", "analytics"}
    expected = callers if row.writers == {"producer"} else {"analytics"} if row.internal else set(row.writers)
    assert who_may("Write", row.name, access_rules(default_principals().items())) == expected


def test_only_owners_start_transactions() -> None:
    """A transactional id is a service's own; root fences policy for a moment."""
    rules = access_rules(default_principals().items())
    owners = {(rule.name, rule.principal) for rule in rules if rule.resource == "transactional-id"}
    assert owners == {
        (f"keyfold-{role}", f"User:keyfold-{role}") for role in ("policy", "hsm", "notary", "root")
    } | {("keyfold-policy-0", "User:keyfold-root")}  # fmt: skip


def test_wrapped_key_material_is_read_by_the_worker_only() -> None:
    """Nobody else has any business with it."""
    rules = access_rules(default_principals().items())
    assert who_may("Read", topics.KEYSTORE, rules) == {"hsm"}


def test_users_may_have_other_names() -> None:
    """A role's rules are for the user that it is given; only roles that exist have any."""
    rules = access_rules([("client", "shop"), ("client", "till")])
    assert {rule.principal for rule in rules} == {"User:shop", "User:till"}
    assert AccessRule("User:shop", "topic", topics.COMMANDS, "literal", "Write") in rules
    with pytest.raises(KeyError):
        access_rules([("nobody", "x")])


def test_commands_for_kafkas_own_tool() -> None:
    """Each rule is one call of `kafka-acls`."""
    rule = AccessRule("User:a", "transactional-id", "keyfold-hsm", "prefixed", "Write")
    assert rule.command() == (
        "--add --allow-principal 'User:a' --operation Write --transactional-id keyfold-hsm "
        "--resource-pattern-type prefixed"
    )
    assert set(default_principals()) == set(ROLES)
