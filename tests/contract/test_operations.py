"""The contract of Operations, run by both adapters: in the token (HSM) and in memory (SOFTWARE)."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256, sha384, sha512, shake_256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from keyfold.custody import (
    Custody,
    Generated,
    Handle,
    KeyReference,
    MemoryOperations,
    Operations,
    Protection,
    TokenOperations,
    encapsulate,
    encrypt,
    generate_key_pair,
    verify,
)
from keyfold.custody.public_keys import load
from keyfold.custody.references import TokenHandle
from keyfold.events.errors import (
    BatchTooLarge,
    InvalidCiphertext,
    InvalidCommand,
    InvalidKeyUsage,
    InvalidPublicKey,
    Refusal,
    TokenUnavailable,
    Unsupported,
)
from keyfold.events.specs import ALGORITHMS, DIGEST_BYTES
from keyfold.token import create_token, load_module, open_token

pytestmark = pytest.mark.token

HASHES: dict[int, Any] = {32: sha256, 48: sha384, 64: sha512}
PROTECTIONS: tuple[Protection, ...] = ("HSM", "SOFTWARE")


class Key(NamedTuple):
    """A key of one spec and usage, and the adapter that uses it."""

    handle: Handle
    made: Generated
    operations: Operations

    @property
    def public_key(self) -> bytes:
        assert self.made.public_key is not None
        return self.made.public_key


@pytest.fixture(scope="module")
def custody(softhsm: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Custody]:
    pins: Path = tmp_path_factory.mktemp("pins")
    module = load_module(softhsm.module)
    create_token(module, "kms", pins / "pin", pins / "so")
    with open_token(module, "kms", pins / "pin", pool_size=2) as token:
        made = Custody(token)
        made.provision()
        yield made
    module.close()


@pytest.fixture(scope="module")
def key_of(custody: Custody) -> Callable[[str, str, Protection], Key]:
    """Keys by spec, usage and level; each is made once, RSA keys are dear."""
    kept: dict[tuple[str, str, str], Key] = {}
    adapters: dict[str, Operations] = {"HSM": TokenOperations(custody.token), "SOFTWARE": MemoryOperations()}

    def make(spec: str, usage: str, protection: Protection) -> Key:
        if (spec, usage, protection) not in kept:
            reference = KeyReference(os.urandom(16), 1, spec, protection, usage)
            made = custody.generate(reference)
            kept[spec, usage, protection] = Key(custody.open(reference, made.blob), made, adapters[protection])
        return kept[spec, usage, protection]

    return make


def cases(usage: str, *, prefix: str = "") -> pytest.MarkDecorator:
    """Spec and level of every key with a usage, RSA-3072 and RSA-4096 left to the capabilities' test."""
    found = [
        (spec, protection)
        for spec, its in ALGORITHMS
        for protection in PROTECTIONS
        if its == usage and spec.startswith(prefix) and spec not in {"RSA_3072", "RSA_4096", "ML_KEM_512"}
        if protection == "SOFTWARE" or not spec.startswith("ML_")
    ]
    return pytest.mark.parametrize(("spec", "protection"), found)


def whole(results: list[bytes | Refusal]) -> list[bytes]:
    """The results of a batch in which nothing was refused."""
    sound = [each for each in results if isinstance(each, bytes)]
    assert len(sound) == len(results)
    return sound


SIGNING = cases("SIGN_VERIFY")
RSA = cases("ENCRYPT_DECRYPT", prefix="RSA")
AGREEMENT = cases("KEY_AGREEMENT")
MACS = cases("GENERATE_VERIFY_MAC")
ENCAPSULATION = cases("KEY_ENCAPSULATION")


@SIGNING
def test_signatures_of_messages_verify(key_of: Any, spec: str, protection: Protection) -> None:
    """By every algorithm of the spec, in the order of the messages, and for no other message or key."""
    key = key_of(spec, "SIGN_VERIFY", protection)
    messages = [b"", b"one", os.urandom(5000)]
    other = generate_key_pair("RSA_2048" if spec.startswith("RSA") else spec)[1] if spec[:2] != "ML" else None
    for algorithm in ALGORITHMS[spec, "SIGN_VERIFY"]:
        made = key.operations.sign(key.handle, algorithm, "RAW", messages)
        pairs = list(zip(messages, made, strict=True))
        assert verify(key.public_key, algorithm, "RAW", pairs) == [True] * 3
        assert verify(key.public_key, algorithm, "RAW", [(b"two", made[1])]) == [False]
        assert verify(key.public_key, algorithm, "RAW", [(b"one", b""), (b"one", made[1][:-1])]) == [False] * 2
        if other:
            assert verify(other, algorithm, "RAW", pairs) == [False] * 3


@SIGNING
def test_a_digest_is_signed_as_its_message(key_of: Any, spec: str, protection: Protection) -> None:
    """A signature of the digest is one of the message. A digest of another length costs its own item only."""
    key = key_of(spec, "SIGN_VERIFY", protection)
    for algorithm in (each for each in ALGORITHMS[spec, "SIGN_VERIFY"] if each in DIGEST_BYTES):
        digest = HASHES[DIGEST_BYTES[algorithm]](b"message").digest()
        first, refused, last = key.operations.sign(key.handle, algorithm, "DIGEST", [digest, digest + b"\0", digest])
        assert isinstance(refused, InvalidCommand)
        assert verify(key.public_key, algorithm, "RAW", [(b"message", first), (b"message", last)]) == [True] * 2
        assert verify(key.public_key, algorithm, "DIGEST", [(digest, first)]) == [True]
        with pytest.raises(InvalidCommand, match="bytes"):
            verify(key.public_key, algorithm, "DIGEST", [(digest, first), (b"short", first)])


@pytest.mark.parametrize("spec", ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"])
def test_ml_dsa_signs_a_message_representative(key_of: Any, spec: str) -> None:
    """µ = SHAKE256(SHAKE256(public key, 64) ‖ 0 ‖ 0 ‖ message, 64) (FIPS 204): a signature of it is the message's."""
    key = key_of(spec, "SIGN_VERIFY", "SOFTWARE")
    raw = load(key.public_key).public_bytes(Encoding.Raw, PublicFormat.Raw)
    mu = shake_256(shake_256(raw).digest(64) + b"\0\0message").digest(64)
    made, refused = key.operations.sign(key.handle, "ML_DSA_SHAKE_256", "EXTERNAL_MU", [mu, mu[1:]])
    assert isinstance(refused, InvalidCommand)
    assert verify(key.public_key, "ML_DSA_SHAKE_256", "RAW", [(b"message", made)]) == [True]
    assert verify(key.public_key, "ML_DSA_SHAKE_256", "EXTERNAL_MU", [(mu, made)]) == [True]


@SIGNING
def test_what_a_key_is_not_for_is_refused(key_of: Any, spec: str, protection: Protection) -> None:
    """Algorithms and message types of other specs, and the operations of other usages."""
    key = key_of(spec, "SIGN_VERIFY", protection)
    foreign = "RSASSA_PSS_SHA_256" if not spec.startswith("RSA") else "ECDSA_SHA_256"
    own = ALGORITHMS[spec, "SIGN_VERIFY"][0]
    for algorithm, message_type in ((foreign, "RAW"), ("HMAC_SHA_256", "RAW"), (own, "OTHER")):
        with pytest.raises(InvalidKeyUsage):
            key.operations.sign(key.handle, algorithm, message_type, [b"x"])
        with pytest.raises(InvalidKeyUsage):
            verify(key.public_key, algorithm, message_type, [(b"x", b"y")])
    with pytest.raises(InvalidKeyUsage):
        key.operations.decrypt(key.handle, "RSAES_OAEP_SHA_256", [b"x"])
    with pytest.raises(InvalidKeyUsage):
        key.operations.derive(key.handle, [b"x"])
    with pytest.raises(InvalidKeyUsage):
        key.operations.decapsulate(key.handle, [b"x"])


@MACS
def test_macs_are_hmacs(key_of: Any, spec: str, protection: Protection) -> None:
    """As long as the hash, the same for the same message, in order; other algorithms are refused."""
    key = key_of(spec, "GENERATE_VERIFY_MAC", protection)
    bits = spec.removeprefix("HMAC_")
    made = key.operations.mac(key.handle, f"HMAC_SHA_{bits}", [b"", b"one", b"two", b"one"])
    assert {len(each) for each in made} == {int(bits) // 8}
    assert made[1] == made[3]
    assert len(set(made)) == 3
    for other in {"224", "256", "384", "512"} - {bits}:
        with pytest.raises(InvalidKeyUsage):
            key.operations.mac(key.handle, f"HMAC_SHA_{other}", [b"x"])


@RSA
def test_oaep_opens_what_the_public_key_encrypted(key_of: Any, spec: str, protection: Protection) -> None:
    """From nothing to the most the key takes; a byte more is refused in its place."""
    key = key_of(spec, "ENCRYPT_DECRYPT", protection)
    for algorithm, most in (("RSAES_OAEP_SHA_1", 214), ("RSAES_OAEP_SHA_256", 190)):
        plaintexts = [b"", b"\0\0", b"\1", os.urandom(most)]
        made = encrypt(key.public_key, algorithm, plaintexts)
        assert key.operations.decrypt(key.handle, algorithm, made) == plaintexts
        kept, refused = encrypt(key.public_key, algorithm, [b"x", bytes(most + 1)])
        assert isinstance(refused, BatchTooLarge)
        assert key.operations.decrypt(key.handle, algorithm, [kept]) == [b"x"]


@RSA
def test_every_failure_to_decrypt_looks_the_same(key_of: Any, spec: str, protection: Protection) -> None:
    """Length, range, padding, hash: one class and one text, and the sound items between them open."""
    key = key_of(spec, "ENCRYPT_DECRYPT", protection)
    (sound,), (other_hash,) = (
        whole(encrypt(key.public_key, algorithm, [b"sound"]))
        for algorithm in ("RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1")
    )
    bad = [b"", bytes(256), bytes(255) + b"\1", b"\xff" * 256, sound[:-1], sound + b"\0", other_hash, os.urandom(256)]
    bad += [sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :] for at in (0, 1, 100, 255)]
    mixed = [each for item in bad for each in (item, sound)]
    results = key.operations.decrypt(key.handle, "RSAES_OAEP_SHA_256", mixed)
    assert results[1::2] == [b"sound"] * len(bad)
    assert {(type(each), str(each)) for each in results[::2]} == {(InvalidCiphertext, str(InvalidCiphertext()))}


@AGREEMENT
def test_both_sides_agree(key_of: Any, spec: str, protection: Protection) -> None:
    """The x-coordinate in full length, leading zeros too, whoever computes it."""
    key = key_of(spec, "KEY_AGREEMENT", protection)
    public = load(key.public_key)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    peers = [ec.generate_private_key(public.curve) for _ in range(3)]
    if spec == "ECC_NIST_P256":
        while peers[0].exchange(ec.ECDH(), public)[0]:
            peers[0] = ec.generate_private_key(public.curve)
    encoded = [peer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for peer in peers]
    agreed = key.operations.derive(key.handle, encoded)
    assert agreed == [peer.exchange(ec.ECDH(), public) for peer in peers]
    assert {len(each) for each in agreed} == {(public.curve.key_size + 7) // 8}


@AGREEMENT
def test_no_secret_with_a_point_that_is_none(key_of: Any, spec: str, protection: Protection) -> None:
    """Off the curve, of another curve, infinity, another kind of key, rubbish: refused, each in its place."""
    key = key_of(spec, "KEY_AGREEMENT", protection)
    sound = generate_key_pair(spec)[1]
    others = [
        generate_key_pair(each)[1] for each in ("ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521") if each != spec
    ]
    off = sound[:-1] + bytes([sound[-1] ^ 1])
    point_at = sound.index(b"\x04", len(sound) - 2 * {"256": 32, "384": 48, "521": 66}[spec[-3:]] - 1)
    infinity = sound[:point_at] + bytes(len(sound) - point_at)
    rubbish = [off, infinity, b"", b"rubbish", sound + b"\0", generate_key_pair("ECC_NIST_EDWARDS25519")[1], *others]
    results = key.operations.derive(key.handle, [each for item in rubbish for each in (item, sound)])
    assert {type(each) for each in results[::2]} == {InvalidPublicKey}
    assert {type(each) for each in results[1::2]} == {bytes}
    assert len(set(results[1::2])) == 1


@ENCAPSULATION
def test_decapsulation_gives_the_shared_secret(key_of: Any, spec: str, protection: Protection) -> None:
    """Each encapsulation is fresh; another length is refused, other content gives another secret."""
    key = key_of(spec, "KEY_ENCAPSULATION", protection)
    made = encapsulate(key.public_key, 3)
    assert len({secret for secret, _ in made}) == 3
    assert {len(secret) for secret, _ in made} == {32}
    ciphertexts = [ciphertext for _, ciphertext in made]
    assert key.operations.decapsulate(key.handle, ciphertexts) == [secret for secret, _ in made]
    changed = bytes([ciphertexts[0][0] ^ 1]) + ciphertexts[0][1:]
    short, long, other = key.operations.decapsulate(key.handle, [ciphertexts[0][:-1], ciphertexts[0] + b"\0", changed])
    assert isinstance(short, InvalidCiphertext)
    assert isinstance(long, InvalidCiphertext)
    assert other != made[0][0]


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_an_empty_batch_is_nothing(key_of: Any, protection: Protection) -> None:
    """No items, no results."""
    mac = key_of("HMAC_256", "GENERATE_VERIFY_MAC", protection)
    sign = key_of("ECC_NIST_P256", "SIGN_VERIFY", protection)
    derive = key_of("ECC_NIST_P256", "KEY_AGREEMENT", protection)
    assert mac.operations.mac(mac.handle, "HMAC_SHA_256", []) == []
    assert sign.operations.sign(sign.handle, "ECDSA_SHA_256", "RAW", []) == []
    assert derive.operations.derive(derive.handle, []) == []
    assert verify(sign.public_key, "ECDSA_SHA_256", "RAW", []) == []


@pytest.mark.parametrize("protection", PROTECTIONS)
@pytest.mark.parametrize("spec", ["HMAC_256", "ECC_NIST_P256"])
def test_a_closed_or_foreign_handle_is_a_mistake(
    custody: Custody, key_of: Any, spec: str, protection: Protection
) -> None:
    """Found at once, before anything is used."""
    usage = "GENERATE_VERIFY_MAC" if spec == "HMAC_256" else "SIGN_VERIFY"
    key = key_of(spec, usage, protection)
    foreign = key_of(spec, usage, "HSM" if protection == "SOFTWARE" else "SOFTWARE")
    closed = custody.open(key.handle.reference, key.made.blob)
    closed.destroy()
    is_mac = spec == "HMAC_256"
    for handle in (closed, foreign.handle):
        use = partial(key.operations.mac, handle, "HMAC_SHA_256", [b"x"])
        sign = partial(key.operations.sign, handle, "ECDSA_SHA_256", "RAW", [b"x"])
        with pytest.raises(ValueError, match="open"):
            _ = use() if is_mac else sign()


def lost_key(spec: str, usage: str) -> TokenHandle:
    """A handle that the token does not know."""
    return TokenHandle(KeyReference(bytes(16), 1, spec, "HSM", usage), 999_999, lambda _: None)


def test_a_lost_key_is_retriable_and_gives_nothing(custody: Custody, key_of: Any) -> None:
    """A handle that the token lost raises: no partial result, no sound ciphertext called invalid."""
    reference = KeyReference(os.urandom(16), 1, "RSA_2048", "HSM", "ENCRYPT_DECRYPT")
    made = custody.generate(reference)
    assert made.public_key is not None
    (ciphertext,) = whole(encrypt(made.public_key, "RSAES_OAEP_SHA_256", [b"secret"]))
    lost = lost_key("RSA_2048", "ENCRYPT_DECRYPT")
    operations = TokenOperations(custody.token)
    with pytest.raises(TokenUnavailable):
        operations.decrypt(lost, "RSAES_OAEP_SHA_256", [ciphertext])
    spec, peer = "ECC_NIST_P256", generate_key_pair("ECC_NIST_P256")[1]
    signing = lost_key(spec, "SIGN_VERIFY")
    with pytest.raises(TokenUnavailable):
        operations.sign(signing, "ECDSA_SHA_256", "RAW", [b"x", b"y"])
    with pytest.raises(TokenUnavailable):
        operations.derive(lost_key(spec, "KEY_AGREEMENT"), [peer])


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"])
def test_data_key_pairs_belong_together(spec: str) -> None:
    """PKCS #8 and SubjectPublicKeyInfo of one fresh pair; specs that are no KeyPairSpec are refused."""
    private, public = generate_key_pair(spec)
    parsed = load_der_private_key(private, None)
    assert parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == public
    assert generate_key_pair(spec)[0] != private
    for other in ("ML_DSA_65", "SYMMETRIC_DEFAULT", "HMAC_256"):
        with pytest.raises(Unsupported):
            generate_key_pair(other)
