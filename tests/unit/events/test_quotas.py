"""Quotas by role: services have none, everybody else has."""

from keyfold.events.quotas import LIMITED, Quota, quotas
from keyfold.events.topic_access import ROLES, default_principals


def test_services_are_not_slowed_down() -> None:
    """What slows policy or the HSM worker down slows everybody down."""
    assert set(LIMITED) == {"client", "witness", "auditor", "operator"} < set(ROLES)
    users = {quota.user for quota in quotas(default_principals().items())}
    assert users == {f"keyfold-{role}" for role in LIMITED}


def test_the_command_for_kafkas_tool() -> None:
    """All three values of one user."""
    quota = Quota("shop", 1024, 2048, 50)
    assert quota.command() == (
        "--alter --entity-type users --entity-name 'shop' "
        "--add-config 'producer_byte_rate=1024,consumer_byte_rate=2048,request_percentage=50'"
    )
