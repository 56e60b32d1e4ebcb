"""Only authentic answers count: everything else is dropped, counted, and fails nobody's call."""

import asyncio
import os
from dataclasses import replace
from typing import Any

import pytest

from keyfold.bus import Outbound
from keyfold.client import Keyfold
from keyfold.events.replies import CORRELATION_HEADER, ItemResult, Reply
from keyfold.events.signatures import Signer


async def answered_with(kms: Keyfold, deployment: Any, forge: Any) -> int:
    """Let `forge` answer before the service does; return how many replies were not believed."""
    execute = deployment.execute

    async def both(got: Any) -> None:
        await forge(got)
        await asyncio.sleep(0.02)
        await execute(got)

    deployment.execute = both
    key_id = kms.new_key_id()
    ciphertext = await kms.encrypt(key_id, b"x")
    deployment.execute = execute
    assert await kms.decrypt(key_id, ciphertext) == b"x"
    return kms.counters()["unauthentic_replies"]


def result(deployment: Any, got: Any, **fields: Any) -> Any:
    key_id = got.command.subject.removeprefix("key/")
    return deployment._data(got, **{"outcome": "forged", "key_id": key_id, "version": 1, **fields})


async def test_a_clear_error_of_a_stranger_is_dropped(kms: Keyfold, deployment: Any) -> None:
    """Nobody without a certificate can fail a call."""

    async def forge(got: Any) -> None:
        await deployment.refuse(got.command, got.record, "AccessDenied", signer=Signer(os.urandom(32)))

    assert await answered_with(kms, deployment, forge) == 1


async def test_a_clear_error_of_the_wrong_role_is_dropped(kms: Keyfold, deployment: Any) -> None:
    """A certified projector may not answer."""
    projector = Signer(os.urandom(32))
    await deployment.publish(deployment.certificate(projector, "projector"))

    async def forge(got: Any) -> None:
        await deployment.refuse(got.command, got.record, "AccessDenied", signer=projector)

    assert await answered_with(kms, deployment, forge) == 1


async def test_a_clear_error_for_another_command_is_dropped(kms: Keyfold, deployment: Any) -> None:
    """Its digest and id are checked, and the record key that was signed."""
    await kms.create_key()
    other = deployment.received[0]

    async def forge(got: Any) -> None:
        wrong = got.command.model_copy(update={"id": other.command.id})
        await deployment.refuse(wrong, got.record, "AccessDenied")
        await deployment.refuse(got.command, other.record, "AccessDenied")
        other_value = replace(got.record, value=other.record.value)
        await deployment.refuse(got.command, other_value, "AccessDenied")

    assert await answered_with(kms, deployment, forge) == 3


async def test_a_result_under_another_reply_key_is_dropped(kms: Keyfold, deployment: Any) -> None:
    """Who has not opened the body can't answer."""

    async def forge(got: Any) -> None:
        body = got.body
        got.body = type(body)(os.urandom(32), body.items)
        await deployment.reply_sealed(got, result(deployment, got), [ItemResult(b"forged")])
        got.body = body

    assert await answered_with(kms, deployment, forge) == 1


@pytest.mark.parametrize(
    "shown",
    [
        {"outcome": "other"},
        {"version": 2},
        {"key_id": "00000000-0000-7000-8000-000000000000"},
        {"key_id": None},
        {"code": "AccessDenied"},
    ],
)
async def test_a_results_clear_part_is_bound_to_it(kms: Keyfold, deployment: Any, shown: dict[str, Any]) -> None:
    """Outcome, code, key and version can't be changed on the way."""

    async def forge(got: Any) -> None:
        await deployment.reply_sealed(got, result(deployment, got), [ItemResult(b"forged")], shown=shown)

    assert await answered_with(kms, deployment, forge) == 1


async def test_a_result_of_another_key_or_count_is_dropped(kms: Keyfold, deployment: Any) -> None:
    """Even if it was sealed for this command."""
    key_id = kms.new_key_id()

    async def forge(got: Any) -> None:
        await deployment.reply_sealed(got, result(deployment, got, key_id=key_id), [ItemResult(b"forged")])
        await deployment.reply_sealed(got, result(deployment, got), [ItemResult(b"forged")] * 2)

    assert await answered_with(kms, deployment, forge) == 2


async def test_an_unsealed_result_and_garbage_are_dropped(kms: Keyfold, deployment: Any) -> None:
    """A clear reply is only ever an error."""

    async def forge(got: Any) -> None:
        data = result(deployment, got)
        for value in (Reply.new("hsm", data).to_value(), b"\x00", b"{}"):
            await deployment._send(got.command, got.record, value, ())
        to = got.command.data.reply
        for headers in ((), ((CORRELATION_HEADER, b"\xff"),), ((CORRELATION_HEADER, b"a"),) * 2):
            await deployment.sender.send(Outbound(to.topic, to.partition, None, None, headers))

    assert await answered_with(kms, deployment, forge) == 3


async def test_a_sealed_error_is_an_error_too(kms: Keyfold, deployment: Any) -> None:
    """For a worker that can seal its refusal."""
    execute = deployment.execute

    async def refuse(got: Any) -> None:
        deployment.execute = execute
        await deployment.reply_sealed(got, result(deployment, got, code="KeyDisabled"), [])

    deployment.execute = refuse
    with pytest.raises(Exception, match="KeyDisabled"):
        await kms.encrypt(kms.new_key_id(), b"x")


async def test_a_second_result_changes_nothing(kms: Keyfold, deployment: Any) -> None:
    """Neither does one for an unknown command."""
    execute = deployment.execute

    async def twice(got: Any) -> None:
        await execute(got)
        await execute(got)

    deployment.execute = twice
    key_id = kms.new_key_id()
    assert await kms.decrypt(key_id, await kms.encrypt(key_id, b"x")) == b"x"
    assert kms.counters()["unauthentic_replies"] == 0


async def test_clients_on_one_reply_partition_do_not_disturb_each_other(deployment: Any) -> None:
    """Each takes what it asked for."""
    async with deployment.connect(instance_id="same") as one, deployment.connect(instance_id="same") as two:
        key_id = (await one.create_key()).key_id
        calls = [client.encrypt(key_id, b"%d" % n) for n in range(20) for client in (one, two)]
        ciphertexts = await asyncio.gather(*calls)
        assert len(set(ciphertexts)) == 40
    assert len({got.command.data.reply.partition for got in deployment.received}) == 1
