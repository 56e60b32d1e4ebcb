"""Key agreement, key encapsulation, RSA encryption and data key pairs."""

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key
from tests.support import pairs

from keyfold.client import Encapsulation, Encrypted, InvalidArgument, Keyfold, SharedSecret
from keyfold.events.errors import InternalError, InvalidCiphertext, InvalidPublicKey
from keyfold.events.replies import ItemResult

OAEP: Any = {"encryption_algorithm": "RSAES_OAEP_SHA_256"}


@pytest.mark.parametrize("curve", ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"])
async def test_both_sides_of_a_key_agreement_have_the_same_secret(kms: Keyfold, curve: Any) -> None:
    """The service by its key, the other side by ours; another curve's point is refused."""
    key = (await kms.create_key(key_spec=curve, key_usage="KEY_AGREEMENT")).key_id
    other = pairs.make(curve)
    agreed = await kms.derive_shared_secret(key, pairs.spki(other))
    ours: Any = (await kms.get_public_key(key)).public_key
    assert agreed == SharedSecret(other.exchange(ec.ECDH(), pairs.load_der_public_key(ours)), 1)
    with pytest.raises(InvalidPublicKey):
        await kms.derive_shared_secret(key, b"no key")
    await kms.rotate_key(key)
    assert (await kms.derive_shared_secret(key, pairs.spki(other), key_version=1)).shared_secret == agreed.shared_secret
    first, second = await kms.derive_shared_secret_batch(key, [pairs.spki(other), b"no key"], key_version=1)
    assert isinstance(first, SharedSecret)
    assert isinstance(second, InvalidPublicKey)


@pytest.mark.parametrize("spec", ["ML_KEM_768", "ML_KEM_1024"])
async def test_what_is_encapsulated_is_decapsulated(kms: Keyfold, spec: Any) -> None:
    """Fresh each time, by the version that made it."""
    key = (await kms.create_key(key_spec=spec)).key_id
    made = await asyncio.gather(kms.encapsulate(key), kms.encapsulate(key))
    assert made[0].shared_secret != made[1].shared_secret
    await kms.rotate_key(key)
    for one in made:
        assert await kms.decapsulate(key, one.ciphertext, key_version=one.key_version) == one.shared_secret
    assert await kms.decapsulate(key, made[0].ciphertext) != made[0].shared_secret
    many = await kms.encapsulate_batch(key, 3)
    opened = await kms.decapsulate_batch(key, [one.ciphertext for one in many if isinstance(one, Encapsulation)])
    assert opened == [one.shared_secret for one in many if isinstance(one, Encapsulation)]
    assert len(set(map(bytes, filter(lambda one: isinstance(one, bytes), opened)))) == 3


async def test_rsa_ciphertexts_are_opened_by_the_version_that_made_them(kms: Keyfold) -> None:
    """The result names it, because the ciphertext does not."""
    key = (await kms.create_key(key_spec="RSA_2048", key_usage="ENCRYPT_DECRYPT")).key_id
    old = await kms.encrypt(key, b"secret", encryption_algorithm="RSAES_OAEP_SHA_1")
    assert isinstance(old, Encrypted)
    await kms.rotate_key(key)
    sha1: Any = {"encryption_algorithm": "RSAES_OAEP_SHA_1"}
    assert await kms.decrypt(key, old.ciphertext, key_version=old.key_version, **sha1) == b"secret"
    with pytest.raises(InvalidCiphertext):
        await kms.decrypt(key, old.ciphertext, **sha1)
    many = await kms.encrypt_batch(key, [b"a", b"b"], **OAEP)
    assert [one.key_version for one in many if isinstance(one, Encrypted)] == [2, 2]
    opened = await kms.decrypt_batch(key, [one.ciphertext for one in many if isinstance(one, Encrypted)], **OAEP)
    assert opened == [b"a", b"b"]


async def test_what_rsa_does_not_bind_is_refused_here(kms: Keyfold, deployment: Any) -> None:
    """RSA takes no context, symmetric ciphertexts no version; nothing is sent."""
    key, context = kms.new_key_id(), {"a": "b"}
    calls: list[Any] = [
        kms.encrypt(key, b"x", context=context, **OAEP),
        kms.decrypt(key, b"x", context=context, **OAEP),
        kms.encrypt_batch(key, [b"x"], context=context, **OAEP),
        kms.encrypt_batch(key, [b"x"], contexts=[context], **OAEP),
        kms.decrypt_batch(key, [b"x"], contexts=[context], **OAEP),
        kms.decrypt(key, b"x", key_version=1),
        kms.decrypt_batch(key, [b"x"], key_version=1),
        kms.encrypt(key, b"x", encryption_algorithm="RSA"),
        kms.decrypt(key, b"x", key_version=0, **OAEP),
        kms.decapsulate(key, b"x", key_version=2**32),
    ]
    for call in calls:
        with pytest.raises(InvalidArgument):
            await call
    assert deployment.received == []


@pytest.mark.parametrize(
    "call", ["sign_batch", "derive_shared_secret_batch", "decapsulate_batch", "generate_mac_batch"]
)
async def test_verbs_that_bind_no_context_take_none(kms: Keyfold, call: str) -> None:
    """A context that is silently left out would be taken for bound."""
    how: dict[str, Any] = {"signing_algorithm": "ED25519_SHA_512"} if call == "sign_batch" else {}
    how |= {"mac_algorithm": "HMAC_SHA_256"} if call == "generate_mac_batch" else {}
    with pytest.raises(TypeError, match="context"):
        await getattr(kms, call)(kms.new_key_id(), [b"x"], context={"a": "b"}, **how)


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519"])
async def test_a_data_key_pair_comes_whole_and_can_be_had_again(kms: Keyfold, deployment: Any, spec: Any) -> None:
    """Public key, private key, and what `decrypt` makes the private key of; or without the plaintext."""
    key, context = (await kms.create_key()).key_id, {"a": "b"}
    made = await kms.generate_data_key_pair(key, spec, context=context)
    private: Any = load_der_private_key(made.private_key, None)
    assert (pairs.spki(private), made.key_version) == (made.public_key, 1)
    assert await kms.decrypt(key, made.encrypted_private_key, context=context) == made.private_key
    bare = await kms.generate_data_key_pair_without_plaintext(key, spec, context=context)
    opened: Any = load_der_private_key(await kms.decrypt(key, bare.encrypted_private_key, context=context), None)
    assert pairs.spki(opened) == bare.public_key
    assert len(await kms.generate_data_key_pair_batch(key, spec, 3, contexts=[context, {}, {}])) == 3
    assert deployment.received[-1].data.contexts == [context, {}]


async def test_results_never_show_their_secrets(kms: Keyfold) -> None:
    """In their text, which ends in logs."""
    key = (await kms.create_key()).key_id
    pair = await kms.generate_data_key_pair(key, "ECC_NIST_EDWARDS25519")
    kem = (await kms.create_key(key_spec="ML_KEM_768")).key_id
    shown = repr([pair, await kms.encapsulate(kem), SharedSecret(b"secret", 1), Encrypted(b"secret", 1)])
    assert "b'" not in shown
    assert 'b"' not in shown
    assert "key_version=1" in shown


@pytest.mark.parametrize("verb", ["generate_data_key", "generate_data_key_pair", "encapsulate"])
async def test_a_malformed_result_is_an_error_of_the_service(kms: Keyfold, deployment: Any, verb: str) -> None:
    """Not one of the program that called."""
    deployment._item = lambda *_: ItemResult(b"\xff")
    how = ("RSA_2048",) if verb == "generate_data_key_pair" else ()
    with pytest.raises(InternalError):
        await getattr(kms, verb)(kms.new_key_id(), *how)
