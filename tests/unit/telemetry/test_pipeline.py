"""One call, one trace: from the caller through policy and worker to the reply. No secret is in it, nor in a metric."""

import asyncio
import logging
from itertools import pairwise

import pytest
from prometheus_client.exposition import generate_latest
from tests.support.scene import SECRET, spellings
from tests.support.spans import collected, identity, links, parent
from tests.unit.telemetry.pipeline import pipeline

from keyfold.events.errors import KeyfoldError


async def test_one_trace_leads_through_the_whole_pipeline() -> None:
    """Each step is below the one before; transactions are traces of their own that link to what they settle."""
    with collected() as spans:
        async with pipeline() as kms:
            key = await kms.create_key(protection="SOFTWARE")
            with spans.tracer.start_as_current_span("order"):
                await kms.encrypt(key.key_id, SECRET)
    trace, _ = identity(spans.one("order"))
    steps = {span.name: span for span in spans.all() if identity(span)[0] == trace}
    names = ("order", "client.request", "policy.decide", "hsm.execute", "reply")
    assert steps.keys() == set(names)
    for above, below in pairwise(names):
        assert parent(steps[below]) == identity(steps[above]), below
    for name, of in (("policy.transaction", "policy.decide"), ("hsm.transaction", "hsm.execute")):
        linked = [span for span in spans.named(name) if identity(steps[of]) in links(span)]
        assert len(linked) == 1
        assert parent(linked[0]) is None
    times = [steps[name].start_time for name in names]
    assert times == sorted(times)
    ended = steps["client.request"].end_time or 0
    assert ended >= (steps["hsm.execute"].end_time or 0) >= (steps["policy.decide"].end_time or 0)


async def test_calls_of_one_batch_stay_their_own_traces() -> None:
    """Commands of different callers share transactions, never a trace."""

    async def call(number: int) -> None:
        with spans.tracer.start_as_current_span(f"caller-{number}"):
            await kms.generate_random(8 + number)

    with collected() as spans:
        async with pipeline() as kms:
            await asyncio.gather(*(call(number) for number in range(5)))
    for number in range(5):
        trace, _ = identity(spans.one(f"caller-{number}"))
        names = sorted(span.name for span in spans.all() if identity(span)[0] == trace)
        assert names == sorted([f"caller-{number}", "client.request", "policy.decide", "hsm.execute", "reply"])


async def test_a_refusal_is_told_by_policy_in_the_same_trace() -> None:
    """There is no ticket, so there is no execution."""
    with collected() as spans:
        async with pipeline() as kms:
            key = await kms.create_key(protection="SOFTWARE")
            await kms.disable_key(key.key_id, reason="audit")
            with spans.tracer.start_as_current_span("order"), pytest.raises(KeyfoldError):
                await kms.encrypt(key.key_id, SECRET)
    trace, _ = identity(spans.one("order"))
    steps = {span.name: span for span in spans.all() if identity(span)[0] == trace}
    assert steps.keys() == {"order", "client.request", "policy.decide", "reply"}
    assert (steps["client.request"].attributes or {})["error.type"] == "KeyDisabled"
    assert (steps["policy.decide"].attributes or {})["keyfold.code"] == "KeyDisabled"


async def test_no_secret_is_traced_counted_or_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Plaintexts and data keys, after calls that succeed and fail; what is no secret is there, so the search can see.

    Nor is it told who acts, or with which key.
    """
    caplog.set_level(logging.DEBUG)
    with collected() as spans:
        async with pipeline() as kms:
            key = await kms.create_key(protection="SOFTWARE")
            ciphertext = await kms.encrypt(key.key_id, SECRET, context={"order": "1"})
            assert await kms.decrypt(key.key_id, ciphertext, context={"order": "1"}) == SECRET
            for wrong in (SECRET * 4, ciphertext[:-1]):
                with pytest.raises(KeyfoldError):
                    await kms.decrypt(key.key_id, wrong, context={"order": "1"})
            made = await kms.generate_data_key(key.key_id)
            drawn = await kms.generate_random(32)
    told = generate_latest() + "".join(span.to_json() for span in spans.all()).encode()
    printed = capfd.readouterr()
    logged = (caplog.text + printed.out + printed.err).encode()
    assert b'verb="Encrypt"' in told
    assert b'"keyfold.verb": "GenerateDataKey"' in told
    assert b"partition-owned" in logged
    forbidden = [spelling for secret in (SECRET, made.plaintext, drawn) for spelling in spellings(secret)]
    assert [needle for needle in forbidden if needle in told + logged] == []
    for name in (key.key_id, kms.principal):
        assert name.encode() not in told
