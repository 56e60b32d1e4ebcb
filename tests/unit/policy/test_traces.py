"""A command's trace goes through policy: one span for each, one for their transaction, and on with ticket and reply."""

from dataclasses import replace

from tests.support.deployment import Deployment, until
from tests.support.people import Signed, command, key_on
from tests.support.spans import PARENT, collected, identity, links, named_in, parent

from keyfold.events import topics

KEY = key_on(2)


def traced(signed: Signed, trace: bytes = PARENT) -> Signed:
    return replace(signed, headers=(*signed.headers, ("traceparent", trace)))


def header_of_tickets(deployment: Deployment) -> list[bytes | None]:
    return [record.header("traceparent") for record in deployment.read(topics.AUTHORIZED, 2)]


async def test_decisions_are_spans_below_the_clients() -> None:
    """The ticket carries the decision's span, a refusal's reply has one below it; events carry nothing."""
    deployment = Deployment()
    await deployment.begin()
    with collected() as spans:
        async with deployment.service():
            await deployment.send(traced(command("CreateKey", KEY, 1)), command("Encrypt", key_on(2, 500), 2))
            await until(lambda: len(deployment.decisions(2)) == 2 and bool(deployment.replies()))
    created, refused = spans.named("policy.decide")
    assert parent(created) == named_in(PARENT)
    assert parent(refused) is None
    (ticket,) = header_of_tickets(deployment)
    assert ticket is not None
    assert named_in(ticket) == identity(created)
    assert parent(spans.one("reply")) == identity(refused)
    assert (created.attributes or {})["keyfold.verb"] == "CreateKey"
    assert (refused.attributes or {})["keyfold.code"] == "NotFound"
    linked = {link for span in spans.named("policy.transaction") for link in links(span)}
    assert linked == {identity(created), identity(refused)}
    assert all(record.header("traceparent") is None for record in deployment.read(topics.EVENTS, 2))


async def test_without_a_tracer_tickets_carry_the_clients_span() -> None:
    """What is no trace goes no further, and costs the command nothing."""
    deployment = Deployment()
    await deployment.begin()
    async with deployment.service():
        await deployment.send(
            traced(command("CreateKey", KEY, 1)), traced(command("CreateKey", key_on(2, 300), 2), b"00-secret")
        )
        await until(lambda: len(deployment.tickets(2)) == 2)
    assert header_of_tickets(deployment) == [PARENT, None]
