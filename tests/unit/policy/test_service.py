"""A whole policy service on a bus in memory."""

from tests.support.deployment import Deployment, until
from tests.support.people import command, key_on

from keyfold.events import facts


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
