"""Re-encryption to another key: two commands on two streams, whose parcels open nowhere else."""

import asyncio
from typing import Any

import pytest

from keyfold.client import DeadlineExceeded, InvalidArgument, Keyfold, unwrap
from keyfold.events.errors import AccessDenied, InvalidCiphertext


async def two_keys(kms: Keyfold) -> tuple[str, str]:
    return (await kms.create_key()).key_id, (await kms.create_key()).key_id


async def test_a_ciphertext_moves_to_another_key(kms: Keyfold, deployment: Any) -> None:
    """By two commands that name each other's keys; the context stays, or changes on the way."""
    source, destination = await two_keys(kms)
    sealed = await kms.encrypt(source, b"secret", context={"a": "1"})
    del deployment.received[:]
    moved = await kms.re_encrypt(source, sealed, destination_key=destination, context={"a": "1"})
    there, back = deployment.received
    assert (there.command.verb, there.command.subject) == ("ReEncryptFrom", f"key/{source}")
    assert there.data.arguments.destination_key_id == destination
    assert (back.command.verb, back.command.subject) == ("ReEncryptTo", f"key/{destination}")
    assert back.data.arguments.source_key_id == source
    assert await kms.decrypt(destination, moved, context={"a": "1"}) == b"secret"
    how: Any = {"destination_key": destination, "context": {"a": "1"}}
    other = await kms.re_encrypt(source, sealed, destination_context={"b": "2"}, **how)
    assert await kms.decrypt(destination, other, context={"b": "2"}) == b"secret"
    bare = await kms.re_encrypt(source, sealed, destination_context={}, **how)
    assert await kms.decrypt(destination, bare) == b"secret"


async def test_the_same_key_takes_one_command(kms: Keyfold, deployment: Any) -> None:
    """Also where it goes by two names."""
    source, _ = await two_keys(kms)
    await deployment.publish_alias("alias/a", source)
    sealed = await kms.encrypt(source, b"secret")
    del deployment.received[:]
    for destination in (source, "alias/a"):
        await kms.re_encrypt(source, sealed, destination_key=destination)
    await kms.re_encrypt_batch(source, [sealed], destination_key="alias/a")
    assert [got.command.verb for got in deployment.received] == ["ReEncrypt"] * 3


async def test_aliases_are_looked_up_once(kms: Keyfold, deployment: Any) -> None:
    """Both commands are about the same two keys."""
    source, destination = await two_keys(kms)
    await deployment.publish_alias("alias/old", source)
    await deployment.publish_alias("alias/new", destination)
    sealed = await kms.encrypt(source, b"secret")
    moved = await kms.re_encrypt("alias/old", sealed, destination_key="alias/new")
    assert await kms.decrypt(destination, moved) == b"secret"
    there, back = deployment.received[-3:-1]
    assert (there.data.alias, back.data.alias) == (None, None)


async def test_concurrent_moves_share_commands(kms: Keyfold, deployment: Any) -> None:
    """As all single calls do."""
    source, destination = await two_keys(kms)
    sealed = await asyncio.gather(*(kms.encrypt(source, b"%d" % n) for n in range(30)))
    del deployment.received[:]
    moved = await asyncio.gather(*(kms.re_encrypt(source, one, destination_key=destination) for one in sealed))
    assert [got.command.verb for got in deployment.received] == ["ReEncryptFrom", "ReEncryptTo"]
    assert await kms.decrypt_batch(destination, moved) == [b"%d" % n for n in range(30)]


async def test_in_a_batch_an_item_that_does_not_open_keeps_its_error(kms: Keyfold, deployment: Any) -> None:
    """The others go on, in their places, each under its own context."""
    source, destination = await two_keys(kms)
    contexts = [{"n": str(n % 2)} for n in range(6)]
    sealed = unwrap(await kms.encrypt_batch(source, [b"%d" % n for n in range(6)], contexts=contexts))
    sealed[2] = b"forged"
    how: Any = {"destination_key": destination, "contexts": contexts}
    moved = await kms.re_encrypt_batch(source, sealed, **how)
    assert isinstance(moved[2], InvalidCiphertext)
    opened = await kms.decrypt_batch(destination, [bytes(one) for one in moved if isinstance(one, bytes)], contexts=[
        context for n, context in enumerate(contexts) if n != 2
    ])  # fmt: skip
    assert opened == [b"%d" % n for n in range(6) if n != 2]
    targets = [{"m": str(n)} for n in range(6)]
    moved = await kms.re_encrypt_batch(source, sealed, destination_contexts=targets, **how)
    assert await kms.decrypt(destination, bytes(moved[5]), context=targets[5]) == b"5"  # type: ignore[arg-type]
    nothing = await kms.re_encrypt_batch(source, [b"forged"], destination_key=destination)
    assert isinstance(nothing[0], InvalidCiphertext)
    assert deployment.received[-1].command.verb == "ReEncryptFrom"


async def test_either_half_may_be_denied(kms: Keyfold, deployment: Any) -> None:
    """Nothing is left of the other half."""
    source, destination = await two_keys(kms)
    sealed = await kms.encrypt(source, b"secret")
    for verb in ("ReEncryptFrom", "ReEncryptTo"):
        deployment.scripts[:] = [lambda got, verb=verb: "AccessDenied" if got.command.verb == verb else None]
        with pytest.raises(AccessDenied, match=verb):
            await kms.re_encrypt(source, sealed, destination_key=destination)
        with pytest.raises(AccessDenied, match=verb):
            await kms.re_encrypt_batch(source, [sealed], destination_key=destination)


async def test_two_commands_carry_out_no_proposal(kms: Keyfold, deployment: Any) -> None:
    """It is refused before anything is sent; so are new contexts of a batch that stays with its key."""
    source, destination = kms.new_key_id(), kms.new_key_id()
    with pytest.raises(InvalidArgument, match="two commands"):
        await kms.re_encrypt(source, b"x", destination_key=destination, proposal=source)
    with pytest.raises(InvalidArgument, match="two commands"):
        await kms.re_encrypt_batch(source, [b"x"], destination_key=destination, proposal=source)
    with pytest.raises(InvalidArgument, match="another key"):
        await kms.re_encrypt_batch(source, [b"x"], destination_contexts=[{}])
    assert deployment.received == []


async def test_both_halves_have_one_deadline(kms: Keyfold, deployment: Any) -> None:
    """The second has what the first left."""
    source, destination = await two_keys(kms)
    sealed = await kms.encrypt(source, b"secret")
    execute, loop = deployment.execute, asyncio.get_running_loop()

    async def slowly(got: Any) -> None:
        await asyncio.sleep(0.6)
        await execute(got)

    deployment.execute = slowly
    deployment.scripts.append(lambda got: "drop" if got.command.verb == "ReEncryptTo" else None)
    for call in (
        lambda: kms.re_encrypt(source, sealed, destination_key=destination, timeout_s=1),
        lambda: kms.re_encrypt_batch(source, [sealed], destination_key=destination, timeout_s=1),
    ):
        started = loop.time()
        with pytest.raises(DeadlineExceeded, match="ReEncryptTo"):
            await call()
        assert loop.time() - started < 1.4
