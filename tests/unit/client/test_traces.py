"""A call's trace begins in the client: its span is below the caller's, and the command carries it."""

import asyncio

from tests.support.spans import collected, identity, links, named_in, parent, trace
from tests.unit.client.deployment import Deployment, new_uuid

from keyfold.client import Keyfold


async def test_a_call_is_a_span_below_the_callers(deployment: Deployment) -> None:
    """It ends with the answer; the command names it in a header that is not signed."""
    key = new_uuid()
    with collected() as spans:
        async with deployment.connect(call_timeout_s=5) as kms:
            with spans.tracer.start_as_current_span("order"):
                await kms.encrypt(key, b"one")
    request = spans.one("client.request")
    assert parent(request) == identity(spans.one("order"))
    attributes = dict(request.attributes or {})
    assert (attributes["keyfold.verb"], attributes["keyfold.items"]) == ("Encrypt", 1)
    (received,) = deployment.received
    header = received.record.header("traceparent")
    assert header is not None
    assert named_in(header) == identity(request)
    assert attributes["keyfold.command"] == received.command.id


async def test_calls_that_share_a_record_share_its_span(deployment: Deployment) -> None:
    """It is below the first caller's, and links to the others'; nobody's is below who happens to send it."""
    key = new_uuid()

    async def call(kms: Keyfold, name: str) -> None:
        with spans.tracer.start_as_current_span(name):
            await kms.encrypt(key, b"one")

    with collected() as spans:
        async with deployment.connect(call_timeout_s=5) as kms:
            await asyncio.gather(*(call(kms, f"caller-{number}") for number in range(3)))
    request = spans.one("client.request")
    callers = [identity(spans.one(f"caller-{number}")) for number in range(3)]
    assert parent(request) == callers[0]
    assert links(request) == callers[1:]


async def test_a_refusal_ends_the_span_with_its_code(deployment: Deployment) -> None:
    """What is asked again is a span of its own below the same caller."""
    refusals = ["RegistryBehind"]
    deployment.scripts.append(lambda _: refusals.pop() if refusals else None)
    with collected() as spans:
        async with deployment.connect(call_timeout_s=5) as kms:
            with spans.tracer.start_as_current_span("order"):
                await kms.encrypt(new_uuid(), b"one")
    first, second = spans.named("client.request")
    assert [parent(span) for span in (first, second)] == [identity(spans.one("order"))] * 2
    assert (first.attributes or {})["error.type"] == "RegistryBehind"
    assert second.status.is_ok


async def test_without_a_tracer_commands_carry_nothing(deployment: Deployment, kms: Keyfold) -> None:
    """Nothing is added to what a program sends that traces nothing."""
    await kms.encrypt(new_uuid(), b"one")
    assert deployment.received[-1].record.header("traceparent") is None
    assert not trace.get_current_span().get_span_context().is_valid
