"""A ticket's trace goes through the worker: a span of its execution up to the commit, and one of its reply."""

from collections.abc import Sequence
from dataclasses import replace

from tests.support.spans import PARENT, collected, identity, links, named_in, parent
from tests.unit.hsm.deployment import Deployment
from tests.unit.hsm.exchange import Order
from tests.unit.hsm.orders import create, new_key, use
from tests.unit.hsm.worker import Worker

from keyfold.bus import Outbound
from keyfold.events import topics
from keyfold.telemetry.tracing import handed_on


async def submit(deployment: Deployment, orders: Sequence[Order], trace: bytes) -> None:
    """Submit orders as policy does that was given this trace."""
    put = deployment.put

    async def traced(records: Sequence[Outbound]) -> None:
        await put([handed_on(each, trace) if each.topic == topics.AUTHORIZED else each for each in records])

    deployment.put = traced  # type: ignore[method-assign]
    try:
        await deployment.submit(*orders)
    finally:
        deployment.put = put  # type: ignore[method-assign]


async def test_execution_and_reply_are_spans_below_the_decision(deployment: Deployment, running: Worker) -> None:
    """The batch's transaction links to them; a failed operation names its code. Events carry nothing."""
    key_id = new_key()
    with collected() as spans:
        await running.execute(create(deployment, key_id))
        good = use(deployment, "Encrypt", key_id, [(0, b"one")])
        bad = use(deployment, "Decrypt", key_id, [(0, b"no ciphertext")])
        await submit(deployment, [good, replace(bad)], PARENT)
        await running.finished(good, bad)
    executed = [span for span in spans.named("hsm.execute") if parent(span) == named_in(PARENT)]
    assert [(span.attributes or {})["keyfold.verb"] for span in executed] == ["Encrypt", "Decrypt"]
    below = [parent(span) for span in spans.named("reply")]
    assert all(identity(span) in below for span in executed)
    linked = {link for span in spans.named("hsm.transaction") for link in links(span)}
    assert {identity(span) for span in executed} <= linked
    assert [event.name for event in executed[0].events] == ["executed"]
    partition = deployment.partition(good)
    assert all(record.header("traceparent") is None for record in deployment.records(topics.EVENTS, partition))


async def test_no_tracer_no_span(deployment: Deployment, running: Worker) -> None:
    """A ticket with a trace is executed like any other."""
    key_id = new_key()
    order = create(deployment, key_id)
    await submit(deployment, [order], PARENT)
    await running.finished(order)
    assert deployment.reply(order).data.code is None
