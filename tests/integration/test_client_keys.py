"""Keys of every usage through the client on a real Kafka, against a responder that answers as the services would."""

import asyncio
from typing import Any

import pytest

from keyfold.client import read_key_material, sync, unwrap

pytestmark = pytest.mark.stack


async def test_signatures_verify_here_there_and_offline(deployment: Any) -> None:
    """Through a rotation: by the service, and by the public keys of the directory."""
    how: Any = {"signing_algorithm": "ECDSA_SHA_256"}
    messages = [b"%d" % n for n in range(200)]
    async with deployment.connect() as kms:
        key = (await kms.create_key(key_spec="ECC_NIST_P256", key_usage="SIGN_VERIFY")).key_id
        await deployment.publish(deployment.material_event(key, 1))
        old = await asyncio.gather(*(kms.sign(key, message, **how) for message in messages))
        await kms.rotate_key(key)
        await deployment.publish(deployment.material_event(key, 2))
        new = await kms.sign_batch(key, messages, **how)
        assert {one.key_version for one in old} == {1}
        assert {one.key_version for one in new} == {2}
        first, current = await kms.public_key(key, 1), await kms.public_key(key, 2)
        for message, before, after in zip(messages, old, new, strict=True):
            assert first.verify(message, before.signature)
            assert current.verify(message, after.signature)
        pairs = [(message, one.signature) for message, one in zip(messages, old, strict=True)]
        assert await kms.verify_batch(key, pairs, key_version=1, **how) == [True] * 200
        assert await kms.verify_batch(key, pairs, **how) == [False] * 200
        assert kms.counters()["unauthentic_replies"] == 0


async def test_ciphertexts_move_and_material_comes_in(deployment: Any) -> None:
    """Re-encryption to another key in two commands, import in three steps."""
    async with deployment.connect() as kms:
        source, destination = (await kms.create_key()).key_id, (await kms.create_key()).key_id
        sealed = unwrap(await kms.encrypt_batch(source, [b"%d" % n for n in range(1500)], context={"a": "b"}))
        moved = await kms.re_encrypt_batch(source, sealed, destination_key=destination, context={"a": "b"})
        opened = await kms.decrypt_batch(destination, unwrap(moved), context={"a": "b"})
        assert opened == [b"%d" % n for n in range(1500)]
        key = (await kms.create_key(key_spec="HMAC_256", origin="EXTERNAL")).key_id
        await kms.import_key(key, read_key_material(b"7f" * 32, "HMAC_256"), wrapping_key_spec="RSA_3072")
        assert deployment.held.versions[key] == [b"\x7f" * 32]


async def test_threads_use_the_new_verbs(deployment: Any, bootstrap_servers: str) -> None:
    """The blocking client has them all."""

    def work() -> tuple[bool, bool, bytes]:
        with sync.Keyfold(deployment.connect()) as kms:
            key = kms.create_key(key_spec="HMAC_384").key_id
            mac = kms.generate_mac(key, b"message", mac_algorithm="HMAC_SHA_384").mac
            agreed = kms.create_key(key_spec="ML_KEM_768").key_id
            made = kms.encapsulate(agreed)
            same = kms.decapsulate(agreed, made.ciphertext)
            right = kms.verify_mac(key, b"message", mac, mac_algorithm="HMAC_SHA_384")
            wrong = kms.verify_mac(key, b"massage", mac, mac_algorithm="HMAC_SHA_384")
            return right, wrong, b"" if same == made.shared_secret else same

    assert await asyncio.to_thread(work) == (True, False, b"")
