"""A whole policy service on a bus in memory."""

import asyncio

from tests.support.deployment import Deployment, until
from tests.support.people import command, key_on, signer

from keyfold.events import facts
from keyfold.events.streams import REGISTRY
from keyfold.policy.service import Service


async def test_commands_get_events_tickets_state_and_replies() -> None:
    """Accepted commands get an event and a ticket, a denied one an event and a reply; both survive a restart."""
    deployment = Deployment()
    await deployment.begin()
    key = key_on(2)
    async with deployment.service():
        await deployment.send(
            command("CreateKey", key, 1), command("Encrypt", key, 2, items=3), command("Encrypt", key_on(2, 500), 3)
        )
        await until(lambda: len(deployment.decisions(2)) == 3 and deployment.replies())
    assert [type(event) for event in deployment.decisions(2)] == [
        facts.KeyCreated,
        facts.CommandAuthorized,
        facts.CommandDenied,
    ]
    assert [type(event) for event in deployment.tickets(2)] == [facts.KeyCreated, facts.CommandAuthorized]
    assert [reply.data.code for reply in deployment.replies()] == ["NotFound"]
    await deployment.execute(2)
    async with deployment.service():
        await deployment.send(command("Encrypt", key, 4), command("Encrypt", key, 2, items=3))
        await until(lambda: len(deployment.decisions(2)) == 4 and len(deployment.replies()) == 2)
    assert [reply.data.code for reply in deployment.replies()] == ["NotFound", "AlreadyExecuted"]


async def test_the_registry_reaches_every_partition() -> None:
    """Who is registered on partition 0 is known on the others, and who is revoked is refused there."""
    deployment = Deployment()
    await deployment.begin()
    key = key_on(2)
    carol = {"principal": "carol", "public_key": signer("carol").public_key.hex(), "groups": []}
    async with deployment.service():
        await deployment.send(command("CreateKey", key, 1), command("RegisterPrincipal", REGISTRY, 2, arguments=carol))
        await until(lambda: len(deployment.decisions(0)) == 1 and len(deployment.decisions(2)) == 1)
        await asyncio.sleep(0.05)
        await deployment.send(command("Encrypt", key, 3, principal="carol", min_registry_revision=1))
        await until(lambda: len(deployment.decisions(2)) == 2)
        gone = {"principal": "carol"}
        await deployment.send(command("RevokePrincipal", REGISTRY, 4, arguments=gone))
        await until(lambda: len(deployment.decisions(0)) == 2)
        await asyncio.sleep(0.05)
        await deployment.send(command("Encrypt", key, 5, principal="carol"))
        await until(lambda: len(deployment.decisions(2)) == 3)
    codes = [getattr(event.data, "code", None) for event in deployment.decisions(2)]
    assert codes == [None, None, "PrincipalRevoked"]


async def test_a_first_registry_command_finds_genesis() -> None:
    """A command that waits on partition 0 when it is owned for the first time is not taken for a stranger's."""
    deployment = Deployment()
    await deployment.begin()
    at = {"alias": "alias/a", "key_id": key_on(2).removeprefix("key/")}
    await deployment.send(command("CreateAlias", REGISTRY, 1, arguments=at))
    async with deployment.service():
        await until(lambda: len(deployment.decisions(0)) == 1)
    assert not deployment.dead_letters()


async def test_a_second_instance_takes_its_share() -> None:
    """Two instances share the partitions; when one leaves, the other takes over, and nothing is decided twice."""
    deployment = Deployment()
    await deployment.begin()
    keys = [key_on(1, start) for start in (1, 100, 200)] + [key_on(partition) for partition in (2, 3)]
    async with deployment.service("a") as first:
        async with deployment.service("b", alone=False) as second:
            await until(lambda: len(_owned(first)) == len(_owned(second)) == 2)
            assert not _owned(first) & _owned(second)
            await deployment.send(*(command("CreateKey", key, n) for n, key in enumerate(keys)))
            await until(lambda: sum(len(deployment.decisions(p)) for p in (1, 2, 3)) == 5)
        await until(lambda: _owned(first) == {0, 1, 2, 3})
        await deployment.send(*(command("Encrypt", key, 10 + n) for n, key in enumerate(keys)))
        await until(lambda: sum(len(deployment.decisions(p)) for p in (1, 2, 3)) == 10)
    assert {type(event) for p in (1, 2, 3) for event in deployment.decisions(p)} == {
        facts.KeyCreated,
        facts.CommandAuthorized,
    }


def _owned(service: Service) -> set[int]:
    return {partition for partition, runner in service.ownership.runners.items() if runner.running.is_set()}
