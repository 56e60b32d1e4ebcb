"""The policies that a deployment begins with: valid, and exactly as wide as they are meant to be."""

import pytest
from tests.unit.deciding.cedar_requests import key, principal, request

from keyfold.ceremony.policies import initial_policies
from keyfold.ceremony.statements import ADMINISTRATORS_GROUP, SERVICES_GROUP
from keyfold.deciding.cedar import Authorizer, validate_policy
from keyfold.events.commands import COMMANDS, Command
from keyfold.events.entities import Entity, RegistryPolicy

REGISTRY: dict[str, Entity] = {
    f"policy/{name}": RegistryPolicy(policy=name, text=text, updated_at="2026-01-01T00:00:00.000Z")
    for name, text in initial_policies().items()
}
SCHEDULED = {"DestroyKey", "RotateSealingKey", "EraseSealingKey"}


@pytest.mark.parametrize("name", sorted(initial_policies()))
def test_they_pass_the_validation_of_put_policy(name: str) -> None:
    """Genesis takes them without asking policy, so they are held here to what every other policy is held to."""
    validate_policy(initial_policies()[name])


def allowed(command: type[Command], *groups: str) -> bool:
    on = key() if command.scope in {"key", "any"} else None
    who = principal("somebody", groups)
    return Authorizer().authorize(request(command.verb, on, principal=who), REGISTRY, 1).allowed


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.verb)
def test_administrators_have_all_control_verbs_and_no_other(command: type[Command]) -> None:
    """They manage keys and rules; whatever touches data is not theirs."""
    assert allowed(command, ADMINISTRATORS_GROUP) == (not command.data_plane)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.verb)
def test_services_have_what_time_triggers(command: type[Command]) -> None:
    """The scheduler destroys keys that are due and changes sealing keys; nothing else."""
    assert allowed(command, SERVICES_GROUP) == (command.verb in SCHEDULED)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.verb)
def test_nobody_else_may_do_anything(command: type[Command]) -> None:
    """Default deny: a principal without a group has no verb."""
    assert not allowed(command)


def test_policies_may_be_put_on_the_registry_too() -> None:
    """`PutPolicy` and `DeletePolicy` have two kinds of resource; administrators have both."""
    who = principal("somebody", (ADMINISTRATORS_GROUP,))
    for verb in ("PutPolicy", "DeletePolicy"):
        assert Authorizer().authorize(request(verb, None, principal=who), REGISTRY, 1).allowed
