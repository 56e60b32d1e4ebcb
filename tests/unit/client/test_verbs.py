"""Every verb against a deployment in memory."""

from datetime import timedelta
from typing import Any

import pytest

from keyfold.client import DataKey, InvalidArgument, Keyfold, unwrap
from keyfold.events.errors import BatchTooLarge, InvalidCiphertext, NotFound


async def test_encrypt_and_decrypt_give_the_plaintext_back(kms: Keyfold) -> None:
    """Under a created key and the same context."""
    key = await kms.create_key(protection="SOFTWARE")
    ciphertext = await kms.encrypt(key.key_id, b"secret", context={"tenant": 'ä"\\\n'})
    assert ciphertext != b"secret"
    assert await kms.decrypt(key.key_id, ciphertext, context={"tenant": 'ä"\\\n'}) == b"secret"


async def test_a_wrong_context_is_invalid_ciphertext(kms: Keyfold) -> None:
    """The error names verb, key and command."""
    key = await kms.create_key()
    ciphertext = await kms.encrypt(key.key_id, b"secret", context={"tenant": "a"})
    with pytest.raises(InvalidCiphertext, match=f"Decrypt on key/{key.key_id} failed for one item of command"):
        await kms.decrypt(key.key_id, ciphertext, context={"tenant": "b"})


async def test_create_key_tells_what_was_created(kms: Keyfold) -> None:
    """Id, first version and protection level; the id may be chosen before."""
    key_id = kms.new_key_id()
    key = await kms.create_key(key_id=key_id, protection="SOFTWARE", description="orders", tags={"a": "b"})
    assert (key.key_id, key.version, key.protection, key.key_spec) == (key_id, 1, "SOFTWARE", "SYMMETRIC_DEFAULT")
    assert (await kms.rotate_key(key_id)).version == 2


async def test_lifecycle_verbs_are_sent_on_the_keys_stream(kms: Keyfold, deployment: Any) -> None:
    """With their arguments."""
    key_id = (await kms.create_key()).key_id
    await kms.disable_key(key_id, reason="audit")
    await kms.enable_key(key_id)
    await kms.schedule_key_deletion(key_id, 7)
    await kms.cancel_key_deletion(key_id)
    await kms.schedule_key_deletion(key_id, timedelta(seconds=2))
    await kms.destroy_key(key_id)
    sent = [(got.command.verb, got.command.data.arguments) for got in deployment.received[1:]]
    assert [verb for verb, _ in sent] == [
        "DisableKey", "EnableKey", "ScheduleKeyDeletion", "CancelKeyDeletion", "ScheduleKeyDeletion", "DestroyKey",
    ]  # fmt: skip
    assert sent[0][1].reason == "audit"
    assert [sent[2][1].pending_window_seconds, sent[4][1].pending_window_seconds] == [7 * 86_400, 2]
    assert {got.command.subject for got in deployment.received} == {f"key/{key_id}"}


async def test_registry_verbs_are_sent_on_the_registry(kms: Keyfold, deployment: Any) -> None:
    """And those of policies on a key's stream where a key is named."""
    key_id = kms.new_key_id()
    await kms.register_principal("bob", deployment.alice.signer.public_key, groups=["ops"], tags={"t": "1"})
    await kms.revoke_principal("bob")
    await kms.put_policy("all", "permit (principal, action, resource);")
    await kms.delete_policy("all")
    await kms.put_policy("one", "permit (principal, action, resource);", key=key_id)
    await kms.delete_policy("one", key=key_id)
    await kms.rotate_sealing_key()
    await kms.erase_sealing_key(key_id)
    subjects = [got.command.subject for got in deployment.received]
    assert subjects == ["registry"] * 4 + [f"key/{key_id}"] * 2 + ["registry"] * 2


async def test_an_alias_names_its_key(kms: Keyfold, deployment: Any) -> None:
    """Right after it was created here, and when the directory shows it; the command names alias and key."""
    key_id = (await kms.create_key()).key_id
    await kms.create_alias("alias/orders", key_id)
    ciphertext = await kms.encrypt("alias/orders", b"x")
    await deployment.publish_alias("alias/stock", key_id)
    assert await kms.decrypt("alias/stock", ciphertext) == b"x"
    last = deployment.received[-1]
    assert (last.data.alias, last.command.subject) == ("alias/stock", f"key/{key_id}")


async def test_an_unknown_alias_is_not_found(deployment: Any) -> None:
    """After a moment's patience, without sending anything."""
    async with deployment.connect(alias_wait_s=0.05) as kms:
        with pytest.raises(NotFound, match="alias/nothing"):
            await kms.encrypt("alias/nothing", b"x")
    assert deployment.received == []


async def test_data_keys_come_in_clear_and_encrypted(kms: Keyfold) -> None:
    """And the encrypted one decrypts to the clear one."""
    key_id = (await kms.create_key()).key_id
    made = await kms.generate_data_key(key_id, context={"file": "1"})
    assert len(made.plaintext) == 32
    assert await kms.decrypt(key_id, made.ciphertext, context={"file": "1"}) == made.plaintext
    assert made.plaintext.hex() not in repr(made)
    only = await kms.generate_data_key_without_plaintext(key_id, number_of_bytes=64)
    assert len(await kms.decrypt(key_id, only)) == 64
    many = await kms.generate_data_key_batch(key_id, 3, contexts=[{"n": str(n)} for n in range(3)])
    assert all(isinstance(one, DataKey) for one in many)
    assert len({one.plaintext for one in many if isinstance(one, DataKey)}) == 3


async def test_random_bytes_are_as_many_as_asked_for(kms: Keyfold, deployment: Any) -> None:
    """On the principal's own stream."""
    assert len(await kms.generate_random(48)) == 48
    assert deployment.received[-1].command.subject == "principal/alice"
    with pytest.raises(InvalidArgument):
        await kms.generate_random(1025)


async def test_re_encrypt_can_keep_or_change_the_context(kms: Keyfold) -> None:
    """Keeping it is the default."""
    key_id = (await kms.create_key()).key_id
    first = await kms.encrypt(key_id, b"x", context={"a": "1"})
    kept = await kms.re_encrypt(key_id, first, context={"a": "1"})
    assert await kms.decrypt(key_id, kept, context={"a": "1"}) == b"x"
    moved = await kms.re_encrypt(key_id, kept, context={"a": "1"}, destination_context={})
    assert await kms.decrypt(key_id, moved) == b"x"
    with pytest.raises(InvalidCiphertext):
        await kms.re_encrypt(key_id, moved, context={"a": "1"}, destination_context={})


async def test_a_batch_has_a_result_or_an_error_per_item(kms: Keyfold, deployment: Any) -> None:
    """In order, also when it takes several records."""
    key_id = (await kms.create_key()).key_id
    plaintexts = [b"%d" % n for n in range(2500)]
    ciphertexts = unwrap(await kms.encrypt_batch(key_id, plaintexts, context={"a": "1"}))
    assert [got.data.items for got in deployment.received[1:]] == [1000, 1000, 500]
    ciphertexts[7] = b"nonsense" * 4
    results = await kms.decrypt_batch(key_id, ciphertexts, context={"a": "1"})
    assert isinstance(results[7], InvalidCiphertext)
    assert [r for r in results if not isinstance(r, Exception)] == plaintexts[:7] + plaintexts[8:]
    with pytest.raises(InvalidCiphertext):
        unwrap(results)
    again = await kms.re_encrypt_batch(key_id, ciphertexts[:2], context={"a": "1"})
    assert unwrap(await kms.decrypt_batch(key_id, unwrap(again), contexts=[{"a": "1"}] * 2)) == plaintexts[:2]
    assert await kms.encrypt_batch(key_id, []) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda kms: kms.encrypt("nonsense", b""),
        lambda kms: kms.encrypt(kms.new_key_id(), "text"),
        lambda kms: kms.encrypt(kms.new_key_id(), b"", context={"a": 1}),
        lambda kms: kms.encrypt(kms.new_key_id(), b"", context={"a": "x" * 9000}),
        lambda kms: kms.encrypt(kms.new_key_id(), b"", context={"a": "\ud800"}),
        lambda kms: kms.encrypt(kms.new_key_id(), b"", context=["a"]),
        lambda kms: kms.encrypt_batch(kms.new_key_id(), [b""], contexts=[]),
        lambda kms: kms.encrypt_batch(kms.new_key_id(), [b""], context={}, contexts=[{}]),
        lambda kms: kms.create_key(key_id='x","y":"'),
        lambda kms: kms.create_key(description="\ud800"),
        lambda kms: kms.create_key(tags={"a": "\0"}),
        lambda kms: kms.encrypt(kms.new_key_id(), b"", context={"a\0": ""}),
        lambda kms: kms.register_principal("bob", bytes(32)),
        lambda kms: kms.create_alias("orders", kms.new_key_id()),
        lambda kms: kms.register_principal("Bob", bytes(32)),
        lambda kms: kms.register_principal("bob", bytes(31)),
        lambda kms: kms.schedule_key_deletion(kms.new_key_id(), 31),
        lambda kms: kms.put_policy("", "x"),
        lambda kms: kms.erase_sealing_key("x"),
        lambda kms: kms.generate_data_key(kms.new_key_id(), number_of_bytes=0),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(kms: Keyfold, deployment: Any, call: Any) -> None:
    """As `InvalidArgument`, which is a ValueError."""
    with pytest.raises(InvalidArgument):
        await call(kms)
    assert deployment.received == []


async def test_an_item_too_large_for_a_command_is_refused_here(kms: Keyfold) -> None:
    """The error points to the envelope."""
    with pytest.raises(BatchTooLarge, match="envelope"):
        await kms.encrypt(kms.new_key_id(), bytes(1_000_000))
