"""Policies of a key that would lock administrators out in some state are refused, whatever state the key is in now."""

import pytest
from tests.support.office import KEY, Office

RULES = 'permit (principal in Group::"administrators", action, resource);'
LOCKOUT = """forbid (principal, action in [Action::"PutPolicy", Action::"DeletePolicy"], resource is Key)
when {{ {} }};"""
STATES = ("Disabled", "Expired", "PreActive", "Compromised", "PendingImport", "PendingDeletion")


@pytest.mark.parametrize(
    "condition",
    [
        *(f'resource.status == "{state}"' for state in STATES),
        "resource.compromised",
        'resource.status == "PendingDeletion" && resource.compromised',
    ],
)
def test_a_policy_that_locks_out_in_one_state(condition: str) -> None:
    """No state that the key could come into may leave nobody who could take the policy back."""
    made = Office(rules=RULES)
    made.ask("CreateKey")
    arguments = {"policy": "trap", "text": LOCKOUT.format(condition)}
    assert made.code("PutPolicy", KEY, arguments=arguments) == "AdministratorsNeeded"


def test_a_policy_about_a_state_that_leaves_them_out() -> None:
    """What keeps others from a key in some state is no lockout."""
    made = Office(rules=RULES)
    made.ask("CreateKey")
    text = 'forbid (principal, action == Action::"Encrypt", resource is Key)\nwhen { resource.status == "Expired" };'
    assert made.code("PutPolicy", KEY, arguments={"policy": "fine", "text": text}) is None
