"""Signing, authenticating and verifying by every algorithm, alone and in batches."""

import asyncio
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from tests.support import pairs

from keyfold.client import InvalidArgument, Keyfold, Mac, Signature, verify_signature
from keyfold.client.verifying import digest, external_mu
from keyfold.events.errors import BatchTooLarge, InternalError, KeyCompromised, KeyVersionUnusable
from keyfold.events.replies import ItemResult
from keyfold.events.specs import ALGORITHMS, DIGEST_BYTES

SIGNING = [
    (spec, algorithm)
    for (spec, usage), algorithms in ALGORITHMS.items()
    if usage == "SIGN_VERIFY" and spec not in {"RSA_3072", "RSA_4096"}
    for algorithm in algorithms
]
P256: Any = {"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"}
ECDSA: Any = {"signing_algorithm": "ECDSA_SHA_256"}


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
async def test_what_is_signed_verifies_here_and_offline(kms: Keyfold, spec: Any, algorithm: Any) -> None:
    """By the service, and by the public key alone; another message or signature does not."""
    key = await kms.create_key(key_spec=spec, key_usage="SIGN_VERIFY")
    made = await kms.sign(key.key_id, b"message", signing_algorithm=algorithm)
    assert made.key_version == 1
    assert await kms.verify(key.key_id, b"message", made.signature, signing_algorithm=algorithm) is True
    assert await kms.verify(key.key_id, b"massage", made.signature, signing_algorithm=algorithm) is False
    assert await kms.verify(key.key_id, b"message", b"no signature", signing_algorithm=algorithm) is False
    public = await kms.get_public_key(key.key_id)
    assert (public.version, public.key_spec, public.key_usage) == (1, spec, "SIGN_VERIFY")
    assert public.verify(b"message", made.signature, signing_algorithm=algorithm)
    assert not public.verify(b"massage", made.signature, signing_algorithm=algorithm)


@pytest.mark.parametrize(("spec", "algorithm"), [pair for pair in SIGNING if pair[1] in DIGEST_BYTES])
async def test_a_signed_digest_is_a_signature_of_its_message(kms: Keyfold, spec: Any, algorithm: Any) -> None:
    """DIGEST and RAW are two ways to the same signature."""
    key = await kms.create_key(key_spec=spec, key_usage="SIGN_VERIFY")
    hashed: Any = {"signing_algorithm": algorithm, "message_type": "DIGEST"}
    made = await kms.sign(key.key_id, digest(algorithm, b"message"), **hashed)
    assert await kms.verify(key.key_id, b"message", made.signature, signing_algorithm=algorithm)
    assert await kms.verify(key.key_id, digest(algorithm, b"message"), made.signature, **hashed)
    public = (await kms.get_public_key(key.key_id)).public_key
    assert verify_signature(public, digest(algorithm, b"message"), made.signature, **hashed)


@pytest.mark.parametrize("spec", ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"])
async def test_a_signed_representative_is_a_signature_of_its_message(kms: Keyfold, spec: Any) -> None:
    """EXTERNAL_MU (FIPS 204) is computed from the public key and the message."""
    key = await kms.create_key(key_spec=spec)
    public = await kms.get_public_key(key.key_id)
    mu = external_mu(public.public_key, b"message")
    how: Any = {"signing_algorithm": "ML_DSA_SHAKE_256", "message_type": "EXTERNAL_MU"}
    made = await kms.sign(key.key_id, mu, **how)
    assert await kms.verify(key.key_id, b"message", made.signature, signing_algorithm="ML_DSA_SHAKE_256")
    assert await kms.verify(key.key_id, mu, made.signature, **how)
    assert public.verify(b"message", made.signature)
    assert public.verify(mu, made.signature, message_type="EXTERNAL_MU")


async def test_a_message_longer_than_a_command_is_signed_as_its_digest(kms: Keyfold, deployment: Any) -> None:
    """Also in a batch, which is then of digests; the signatures are of the messages."""
    key = (await kms.create_key(**P256)).key_id
    long = b"x" * 3_000_000
    made = await kms.sign(key, long, **ECDSA)
    assert await kms.verify(key, long, made.signature, **ECDSA)
    assert (await kms.get_public_key(key)).verify(long, made.signature)
    signatures = await kms.sign_batch(key, [b"short", long], **ECDSA)
    assert all(isinstance(one, Signature) for one in signatures)
    sizes = [got.data.bytes for got in deployment.received if got.command.verb == "Sign"]
    assert sizes == [32, 64]
    pairs_ = list(zip([b"short", long], [one.signature for one in signatures], strict=True))  # type: ignore[union-attr]
    assert await kms.verify_batch(key, pairs_, **ECDSA) == [True, True]


async def test_a_long_message_that_has_no_digest_is_refused_here(kms: Keyfold, deployment: Any) -> None:
    """Ed25519 and ML-DSA sign messages."""
    with pytest.raises(BatchTooLarge):
        await kms.sign(kms.new_key_id(), b"x" * 3_000_000, signing_algorithm="ED25519_SHA_512")
    assert deployment.received == []


@pytest.mark.parametrize(
    ("algorithm", "message_type", "message"),
    [
        ("ECDSA_SHA_256", "DIGEST", b"x" * 31),
        ("ECDSA_SHA_384", "DIGEST", b"x" * 32),
        ("ML_DSA_SHAKE_256", "EXTERNAL_MU", b"x" * 63),
        ("ML_DSA_SHAKE_256", "DIGEST", b"x" * 64),
        ("ED25519_SHA_512", "DIGEST", b"x" * 64),
        ("RSASSA_PSS_SHA_256", "EXTERNAL_MU", b"x" * 64),
        ("ECDSA_SHA_1", "RAW", b"x"),
        ("ECDSA_SHA_256", "RAW", "text"),
    ],
)
async def test_what_no_algorithm_signs_is_refused_here(
    kms: Keyfold, deployment: Any, algorithm: Any, message_type: Any, message: Any
) -> None:
    """Wrong lengths, types and algorithms; nothing is sent, by `sign` or `verify`."""
    key, how = kms.new_key_id(), {"signing_algorithm": algorithm, "message_type": message_type}
    with pytest.raises(InvalidArgument):
        await kms.sign(key, message, **how)
    with pytest.raises(InvalidArgument):
        await kms.verify(key, message, b"", **how)
    assert deployment.received == []


async def test_verdicts_of_a_batch_are_told_item_by_item(kms: Keyfold) -> None:
    """In order, whatever records they travelled in."""
    key = (await kms.create_key(**P256)).key_id
    messages = [b"%d" % n for n in range(40)]
    made = await kms.sign_batch(key, messages, **ECDSA)
    good = [(message, one.signature) for message, one in zip(messages, made, strict=True) if isinstance(one, Signature)]
    mixed = [(message, b"forged" if n % 3 == 0 else signature) for n, (message, signature) in enumerate(good)]
    assert await kms.verify_batch(key, mixed, **ECDSA) == [n % 3 != 0 for n in range(40)]
    assert await kms.verify_batch(key, [], **ECDSA) == []


@pytest.mark.parametrize("code", ["KeyVersionUnusable", "AccessDenied", "InternalError"])
async def test_only_a_verdict_is_false(kms: Keyfold, deployment: Any, code: str) -> None:
    """What kept the service from a verdict is raised: for a record, and for an item."""
    key = (await kms.create_key(**P256)).key_id
    deployment.scripts.append(lambda got: code)
    with pytest.raises(Exception, match=code):
        await kms.verify(key, b"message", b"signature", **ECDSA)
    deployment.scripts.clear()
    deployment._item = lambda *_: ItemResult(b"", code)
    with pytest.raises(Exception, match=code):
        await kms.verify(key, b"message", b"signature", **ECDSA)
    with pytest.raises(Exception, match=code):
        await kms.verify_batch(key, [(b"message", b"signature")], **ECDSA)


async def test_a_verdict_that_says_something_else_is_no_verdict(kms: Keyfold, deployment: Any) -> None:
    """A valid signature's result is empty; nothing else passes for one."""
    key = (await kms.create_key(**P256)).key_id
    deployment._item = lambda *_: ItemResult(b"InvalidSignature")
    with pytest.raises(InternalError):
        await kms.verify(key, b"message", b"signature", **ECDSA)
    with pytest.raises(InternalError):
        await kms.verify_batch(key, [(b"message", b"signature")], **ECDSA)


async def test_a_version_is_named_to_verify_by_it(kms: Keyfold, deployment: Any) -> None:
    """After a rotation the old signature verifies by its own version only."""
    key = (await kms.create_key(**P256)).key_id
    old = await kms.sign(key, b"message", **ECDSA)
    await kms.rotate_key(key)
    assert (await kms.sign(key, b"message", **ECDSA)).key_version == 2
    assert not await kms.verify(key, b"message", old.signature, **ECDSA)
    assert await kms.verify(key, b"message", old.signature, key_version=old.key_version, **ECDSA)
    deployment.scripts.append(lambda got: "KeyCompromised" if got.data.arguments.key_version == 1 else None)
    with pytest.raises(KeyCompromised):
        await kms.verify(key, b"message", old.signature, key_version=1, **ECDSA)
    deployment.scripts[:] = [lambda got: "KeyVersionUnusable"]
    with pytest.raises(KeyVersionUnusable):
        await kms.verify_batch(key, [(b"message", old.signature)], key_version=1, **ECDSA)


async def test_concurrent_calls_that_are_alike_share_commands(kms: Keyfold, deployment: Any) -> None:
    """Of one key, verb and arguments; each caller has its own result."""
    key = (await kms.create_key(**P256)).key_id
    made = await asyncio.gather(*(kms.sign(key, b"%d" % n, **ECDSA) for n in range(50)))
    assert len(deployment.received) == 2
    verdicts = await asyncio.gather(
        *(kms.verify(key, b"%d" % n, one.signature, **ECDSA) for n, one in enumerate(made)),
        *(kms.verify(key, b"other", one.signature, **ECDSA) for one in made),
        *(kms.verify(key, b"0", made[0].signature, key_version=1, **ECDSA) for _ in range(3)),
    )
    assert verdicts == [True] * 50 + [False] * 50 + [True] * 3
    assert len(deployment.received) == 4


@pytest.mark.parametrize("bits", [224, 256, 384, 512])
async def test_a_mac_is_verified_whole(kms: Keyfold, bits: int) -> None:
    """By every HMAC; a shortened one is not."""
    how: Any = {"mac_algorithm": f"HMAC_SHA_{bits}"}
    spec: Any = f"HMAC_{bits}"
    key = (await kms.create_key(key_spec=spec)).key_id
    made = await kms.generate_mac(key, b"message", **how)
    assert (len(made.mac), made.key_version) == (bits // 8, 1)
    assert await kms.verify_mac(key, b"message", made.mac, **how) is True
    assert await kms.verify_mac(key, b"message", made.mac[:-1], **how) is False
    assert await kms.verify_mac(key, b"massage", made.mac, key_version=1, **how) is False
    many = await kms.generate_mac_batch(key, [b"message", b"other"], **how)
    assert many[0] == made
    assert isinstance(many[1], Mac)
    assert await kms.verify_mac_batch(key, [(b"message", made.mac), (b"other", made.mac)], **how) == [True, False]


def test_a_salt_of_another_length_is_not_accepted_offline() -> None:
    """RSASSA-PSS has one as long as the digest, here as in the service."""
    key = pairs.rsa_key(2048)
    for size, valid in ((32, True), (20, False), (0, False), (padding.PSS.MAX_LENGTH, False)):
        signature = key.sign(b"x", padding.PSS(padding.MGF1(hashes.SHA256()), size), hashes.SHA256())
        assert verify_signature(pairs.spki(key), b"x", signature, signing_algorithm="RSASSA_PSS_SHA_256") is valid


def test_a_digest_is_that_of_the_algorithms_hash() -> None:
    """SHA-2 by its size; algorithms that sign messages only have none."""
    assert digest("RSASSA_PSS_SHA_384", b"x") == hashlib.sha384(b"x").digest()
    with pytest.raises(InvalidArgument):
        digest("ED25519_SHA_512", b"x")


def test_offline_verification_refuses_what_does_not_fit_the_key() -> None:
    """Algorithms of other specs, digests of other lengths, keys that sign nothing, and what is no key."""
    key = pairs.make("ECC_NIST_P256")
    public, how = pairs.spki(key), {"signing_algorithm": "ECDSA_SHA_256"}
    lattice, shake = pairs.spki(pairs.make("ML_DSA_65")), {"signing_algorithm": "ML_DSA_SHAKE_256"}
    wrong: list[tuple[bytes, bytes, dict[str, Any]]] = [
        (public, b"x", {"signing_algorithm": "ECDSA_SHA_384"}),
        (public, b"x", {**how, "message_type": "DIGEST"}),
        (public, b"x", {**how, "message_type": "EXTERNAL_MU"}),
        (b"no key", b"x", how),
        (b"", b"x", how),
        (pairs.spki(pairs.make("ML_KEM_768")), b"x", how),
        (lattice, b"x", {**shake, "message_type": "DIGEST"}),
        (lattice, b"x", {**shake, "message_type": "EXTERNAL_MU"}),
    ]
    for der, message, arguments in wrong:
        with pytest.raises(InvalidArgument):
            verify_signature(der, message, b"", **arguments)
    with pytest.raises(InvalidArgument):
        external_mu(public, b"x")
