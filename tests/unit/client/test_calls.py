"""Coalesced calls end to end: few records, and nobody suffers for another's call."""

import asyncio
from typing import Any

import pytest

from keyfold.client import ClientClosed, DeadlineExceeded, Keyfold
from keyfold.events.errors import AccessDenied, InvalidCiphertext, KeyDisabled


async def test_concurrent_calls_become_few_records(kms: Keyfold, deployment: Any) -> None:
    """Each gets its own answer; equal contexts are sent once."""
    key_id = (await kms.create_key()).key_id
    contexts = [{"n": str(n % 3), "m": "1"} for n in range(600)]
    calls = [kms.encrypt(key_id, b"%d" % n, context=contexts[n]) for n in range(600)]
    ciphertexts = await asyncio.gather(*calls)
    records = deployment.received[1:]
    assert len(records) <= 4
    assert len(records[0].data.contexts) == 3
    pairs = zip(ciphertexts, contexts, strict=True)
    plaintexts = await asyncio.gather(*(kms.decrypt(key_id, c, context=x) for c, x in pairs))
    assert plaintexts == [b"%d" % n for n in range(600)]


async def test_coalescing_can_be_switched_off(deployment: Any) -> None:
    """Then every call is a record."""
    async with deployment.connect(coalesce=False) as kms:
        key_id = (await kms.create_key()).key_id
        await asyncio.gather(*(kms.encrypt(key_id, b"x") for _ in range(20)))
    assert [got.data.items for got in deployment.received[1:]] == [1] * 20


async def test_an_items_error_is_its_callers_alone(kms: Keyfold) -> None:
    """The others of the record get their results."""
    key_id = (await kms.create_key()).key_id
    good = await kms.encrypt(key_id, b"x")
    results = await asyncio.gather(
        kms.decrypt(key_id, good), kms.decrypt(key_id, b"bad" * 20), kms.decrypt(key_id, good), return_exceptions=True
    )
    assert (results[0], results[2]) == (b"x", b"x")
    assert isinstance(results[1], InvalidCiphertext)


async def test_one_denied_context_does_not_deny_the_others(kms: Keyfold, deployment: Any) -> None:
    """The record is divided by context and sent again under new ids."""
    deployment.scripts.append(
        lambda got: "AccessDenied" if got.command.verb == "Encrypt" and {"t": "1"} in got.data.contexts else None
    )
    key_id = (await kms.create_key()).key_id
    calls = [kms.encrypt(key_id, b"x", context={"t": str(n % 3)}) for n in range(6)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(result, AccessDenied) for result in results] == [False, True, False] * 2
    assert len({got.command.id for got in deployment.received}) == len(deployment.received) == 5


async def test_a_batch_with_one_denied_context_has_errors_there_only(kms: Keyfold, deployment: Any) -> None:
    """And a batch that is denied as a whole raises."""
    deployment.scripts.append(
        lambda got: "AccessDenied" if got.command.verb == "Encrypt" and {"t": "1"} in got.data.contexts else None
    )
    key_id = (await kms.create_key()).key_id
    results = await kms.encrypt_batch(key_id, [b"x"] * 4, contexts=[{"t": str(n % 2)} for n in range(4)])
    assert [isinstance(result, AccessDenied) for result in results] == [False, True] * 2
    with pytest.raises(AccessDenied):
        await kms.encrypt_batch(key_id, [b"x"] * 4, context={"t": "1"})


@pytest.mark.parametrize("code", ["BatchTooExpensive", "ReplyTooLarge", "BatchTooLarge"])
async def test_a_record_that_is_too_much_is_halved(kms: Keyfold, deployment: Any, code: str) -> None:
    """Down to single items, which fail for themselves."""
    deployment.scripts.append(lambda got: code if got.command.verb == "Encrypt" and got.data.items > 1 else None)
    key_id = (await kms.create_key()).key_id
    assert len(await asyncio.gather(*(kms.encrypt(key_id, b"x") for _ in range(5)))) == 5
    assert len(await kms.encrypt_batch(key_id, [b"x"] * 5)) == 5


async def test_a_refusal_of_the_record_reaches_every_caller_as_an_exception_of_its_own(
    kms: Keyfold, deployment: Any
) -> None:
    """It names the verb, the key, the command and what to do."""
    deployment.scripts.append(lambda got: "KeyDisabled" if got.command.verb == "Encrypt" else None)
    key_id = (await kms.create_key()).key_id
    results = await asyncio.gather(*(kms.encrypt(key_id, b"x") for _ in range(2)), return_exceptions=True)
    assert results[0] is not results[1]
    assert all(isinstance(result, KeyDisabled) for result in results)
    identifier = deployment.received[-1].command.id
    expected = (
        f"Encrypt on key/{key_id} was refused, command {identifier}: KeyDisabled: the key is disabled; enable it first"
    )
    assert str(results[0]) == expected


async def test_a_call_ends_at_its_deadline(kms: Keyfold, deployment: Any) -> None:
    """While others of the same record go on waiting; the error tells whether it was sent."""
    key_id = (await kms.create_key()).key_id
    kept: list[Any] = []

    def keep(got: Any) -> str | None:
        if got.command.verb != "Encrypt":
            return None
        kept.append(got)
        return "drop"

    deployment.scripts.append(keep)
    slow = asyncio.ensure_future(kms.encrypt(key_id, b"slow"))
    with pytest.raises(DeadlineExceeded, match=f"Encrypt on key/{key_id} was not answered.*may still be"):
        await kms.encrypt(key_id, b"fast", timeout_s=0.05)
    assert not slow.done()
    await deployment.execute(kept[0])
    assert await kms.decrypt(key_id, await slow) == b"slow"


async def test_what_was_not_sent_at_its_deadline_says_so(deployment: Any) -> None:
    """It can be repeated safely."""
    async with deployment.connect(max_in_flight=1) as kms:
        key_id = (await kms.create_key()).key_id
        deployment.scripts.append(lambda got: "drop")
        first = asyncio.ensure_future(kms.encrypt(key_id, b"x", timeout_s=0.5))
        await asyncio.sleep(0.02)
        async with asyncio.timeout(0.3):
            with pytest.raises(DeadlineExceeded, match="was not sent before its deadline"):
                await kms.encrypt(key_id, b"x", timeout_s=0.05)
        with pytest.raises(DeadlineExceeded):
            await first
        deployment.scripts.clear()
        assert await kms.encrypt(key_id, b"x", timeout_s=2), "the lane is free again"


async def test_batches_and_control_verbs_end_at_their_deadline(kms: Keyfold, deployment: Any) -> None:
    """Also when no answer ever comes."""
    deployment.scripts.append(lambda got: "drop")
    with pytest.raises(DeadlineExceeded):
        await kms.create_key(timeout_s=0.05)
    with pytest.raises(DeadlineExceeded):
        await kms.encrypt_batch(kms.new_key_id(), [b"x"] * 10_000, timeout_s=0.05)


async def test_a_cancelled_call_does_not_disturb_the_others(kms: Keyfold) -> None:
    """Neither waiting nor in flight."""
    key_id = (await kms.create_key()).key_id
    tasks = [asyncio.ensure_future(kms.encrypt(key_id, b"%d" % n)) for n in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[3], asyncio.CancelledError)
    rest = [result for result in results if isinstance(result, bytes)]
    assert sorted([await kms.decrypt(key_id, one) for one in rest]) == [b"%d" % n for n in range(10) if n != 3]


async def test_closing_fails_what_waits(deployment: Any) -> None:
    """And later calls say that the client is closed."""
    deployment.scripts.append(lambda got: "drop")
    async with deployment.connect(max_in_flight=1) as kms:
        key_id = kms.new_key_id()
        calls = [asyncio.ensure_future(kms.encrypt(key_id, b"x"))]
        await asyncio.sleep(0.02)
        calls.append(asyncio.ensure_future(kms.encrypt(key_id, b"x")))
        calls.append(asyncio.ensure_future(kms.create_key()))
        await asyncio.sleep(0.02)
    for call in calls:
        with pytest.raises(ClientClosed):
            await call
    with pytest.raises(ClientClosed):
        await kms.encrypt(key_id, b"x")
    with pytest.raises(ClientClosed):
        async with kms:
            pass


async def test_many_keys_do_not_leave_lanes_behind(kms: Keyfold, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle lanes are dropped when there are many."""
    monkeypatch.setattr("keyfold.client.lanes._MANY", 10)
    for _ in range(50):
        await kms.encrypt(kms.new_key_id(), b"x")
    assert len(kms._lanes_by_name) <= 11


async def test_pipelined_commands_are_sent_in_order(kms: Keyfold, deployment: Any) -> None:
    """A key may be created and used without waiting in between."""
    key_id = kms.new_key_id()
    create, ciphertext = await asyncio.gather(kms.create_key(key_id=key_id), kms.encrypt(key_id, b"x"))
    assert [got.command.verb for got in deployment.received] == ["CreateKey", "Encrypt"]
    assert create.key_id == key_id
    assert await kms.decrypt(key_id, ciphertext) == b"x"
