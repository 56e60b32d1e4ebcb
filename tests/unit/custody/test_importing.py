"""Imported key material: opened in the token where it can be, checked, and the same at either level."""

import hmac
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from keyfold.custody import (
    Custody,
    Imported,
    InvalidBlob,
    KeyReference,
    MemoryOperations,
    Operations,
    Protection,
    TokenOperations,
    encrypt,
    verify,
)
from keyfold.custody import importing as importing_module
from keyfold.events.errors import IncorrectKeyMaterial, InvalidCiphertext, Unsupported
from keyfold.events.import_format import MODULUS_BYTES
from keyfold.token import Session
from keyfold.token import importing as token_importing

pytestmark = pytest.mark.token

BY_KWP = "RSA_AES_KEY_WRAP_SHA_256"
BY_OAEP = "RSAES_OAEP_SHA_256"
PROTECTIONS: tuple[Protection, ...] = ("HSM", "SOFTWARE")
SECRETS = {"SYMMETRIC_DEFAULT": 32, "HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64}
CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ECC_NIST_P256": ec.SECP256R1, "ECC_NIST_P384": ec.SECP384R1, "ECC_NIST_P521": ec.SECP521R1,
}  # fmt: skip
PAIRS = [
    ("RSA_2048", "SIGN_VERIFY"),
    ("RSA_2048", "ENCRYPT_DECRYPT"),
    *((spec, usage) for spec in CURVES for usage in ("SIGN_VERIFY", "KEY_AGREEMENT")),
]


class Import(NamedTuple):
    """One import: its id, the blob of its key, and the public key to wrap with."""

    custody: Custody
    id: bytes
    blob: bytes
    public: rsa.RSAPublicKey

    def encrypt(self, data: bytes, sha: hashes.HashAlgorithm | None = None) -> bytes:
        sha = sha or hashes.SHA256()
        return self.public.encrypt(data, padding.OAEP(padding.MGF1(sha), sha, None))

    def wrap(self, material: bytes, sha: hashes.HashAlgorithm | None = None) -> bytes:
        ephemeral = os.urandom(32)
        return self.encrypt(ephemeral, sha) + aes_key_wrap_with_padding(ephemeral, material)

    def run(self, ref: KeyReference, wrapped: bytes, algorithm: str = BY_KWP) -> Imported:
        return self.custody.import_material(ref, self.id, self.blob, algorithm, wrapped)


@pytest.fixture(scope="module")
def one(custody: Custody) -> Import:
    identifier = os.urandom(16)
    made = custody.generate_import_key(identifier, "RSA_3072")
    assert made.public_key is not None
    assert made.attributes["unwrapped.CKA_EXTRACTABLE"] is False
    public = load_der_public_key(made.public_key)
    assert isinstance(public, rsa.RSAPublicKey)
    return Import(custody, identifier, made.blob, public)


@pytest.fixture(scope="module")
def adapters(custody: Custody) -> dict[str, Operations]:
    return {"HSM": TokenOperations(custody.token), "SOFTWARE": MemoryOperations()}


def reference(spec: str, usage: str, protection: Protection) -> KeyReference:
    return KeyReference(os.urandom(16), 1, spec, protection, usage)


def aes_check_value(material: bytes) -> bytes:
    """CKA_CHECK_VALUE of an AES key: the first bytes of the encrypted zero block."""
    return Cipher(algorithms.AES(material), modes.ECB()).encryptor().update(bytes(16))[:3]  # noqa: S305


def usage_of(spec: str) -> str:
    return "ENCRYPT_DECRYPT" if spec == "SYMMETRIC_DEFAULT" else "GENERATE_VERIFY_MAC"


def pkcs8(private: Any) -> bytes:
    encoded: bytes = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return encoded


def spki(private: Any) -> bytes:
    encoded: bytes = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def pair_of(spec: str) -> Any:
    return rsa.generate_private_key(65537, 2048) if spec == "RSA_2048" else ec.generate_private_key(CURVES[spec]())


@pytest.mark.parametrize("algorithm", [BY_KWP, BY_OAEP])
@pytest.mark.parametrize("spec", SECRETS)
def test_a_secret_key_is_the_one_that_was_wrapped(
    one: Import, adapters: dict[str, Operations], spec: str, algorithm: str
) -> None:
    """At both levels: it makes the MACs of the material, and has its key check value and one material check."""
    material = os.urandom(SECRETS[spec])
    wrapped = one.wrap(material) if algorithm == BY_KWP else one.encrypt(material)
    made = [one.run(reference(spec, usage_of(spec), level), wrapped, algorithm) for level in PROTECTIONS]
    if spec == "SYMMETRIC_DEFAULT":
        check = aes_check_value(material)
    else:
        check = hmac.digest(material, bytes(16), spec.replace("HMAC_", "SHA"))[:3]
    assert {each.key_check_value for each in made} == {check.hex()}
    assert len({each.material_check for each in made}) == 1
    assert {each.public_key for each in made} == {None}
    assert material not in b"".join(each.blob for each in made)
    if spec == "SYMMETRIC_DEFAULT":
        return
    for level in PROTECTIONS:
        ref = reference(spec, usage_of(spec), level)
        handle = one.custody.open(ref, one.run(ref, wrapped, algorithm).blob)
        digest = f"HMAC_SHA_{spec.removeprefix('HMAC_')}"
        expected = hmac.digest(material, b"message", spec.replace("HMAC_", "SHA"))
        assert adapters[level].mac(handle, digest, [b"message"]) == [expected]


@pytest.mark.parametrize("protection", PROTECTIONS)
@pytest.mark.parametrize(("spec", "usage"), PAIRS)
def test_a_private_key_is_the_one_that_was_wrapped(
    one: Import, adapters: dict[str, Operations], spec: str, usage: str, protection: Protection
) -> None:
    """Its public key is found without reading it, and it does what the caller's private key would do."""
    private = pair_of(spec)
    ref = reference(spec, usage, protection)
    made = one.run(ref, one.wrap(pkcs8(private)))
    assert made.public_key == spki(private)
    handle, operations = one.custody.open(ref, made.blob), adapters[protection]
    if usage == "SIGN_VERIFY":
        algorithm = "RSASSA_PSS_SHA_256" if spec == "RSA_2048" else f"ECDSA_SHA_{ {'1': 512}.get(spec[-1], spec[-3:]) }"
        (signature,) = operations.sign(handle, algorithm, "RAW", [b"message"])
        assert isinstance(signature, bytes)
        assert verify(spki(private), algorithm, "RAW", [(b"message", signature)]) == [True]
    elif usage == "KEY_AGREEMENT":
        peer = pair_of(spec)
        assert operations.derive(handle, [spki(peer)]) == [private.exchange(ec.ECDH(), peer.public_key())]
    else:
        (ciphertext,) = encrypt(spki(private), BY_OAEP, [b"secret"])
        assert isinstance(ciphertext, bytes)
        assert operations.decrypt(handle, BY_OAEP, [ciphertext]) == [b"secret"]


def test_the_same_pair_has_the_same_checks_at_either_level(one: Import) -> None:
    """So the material of a key can be imported again, and no other."""
    private, other = pair_of("ECC_NIST_P256"), pair_of("ECC_NIST_P256")
    keys: tuple[tuple[Any, Protection], ...] = ((private, "HSM"), (private, "SOFTWARE"), (other, "HSM"))
    first, second, third = (
        one.run(reference("ECC_NIST_P256", "SIGN_VERIFY", level), one.wrap(pkcs8(key))) for key, level in keys
    )
    assert first[3:] == second[3:]
    assert first.material_check != third.material_check


def test_where_material_was_opened_is_said(one: Import) -> None:
    """On a token without OAEP-SHA-256, only the ephemeral key passes the worker, and what it wraps directly."""
    secret, pair = os.urandom(32), pkcs8(pair_of("ECC_NIST_P256"))
    hsm = reference("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "HSM")
    told = one.run(hsm, one.wrap(secret)).attributes
    assert (told["import.unwrapped_in"], told["import.ephemeral_key_in"]) == ("token", "worker")
    assert told["material.CKA_LOCAL"] is False
    assert told["unwrapped.CKA_EXTRACTABLE"] is False
    assert one.run(hsm, one.encrypt(secret), BY_OAEP).attributes["import.unwrapped_in"] == "worker"
    pair_told = one.run(reference("ECC_NIST_P256", "SIGN_VERIFY", "HSM"), one.wrap(pair)).attributes
    assert pair_told["import.unwrapped_in"] == "token"
    software = one.run(hsm._replace(protection="SOFTWARE"), one.wrap(secret)).attributes
    assert software["import.unwrapped_in"] == "worker"


def test_material_that_is_opened_in_the_token_never_passes_this_process(
    one: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that the token is asked to decrypt or take as a value is the material."""
    seen: list[bytes] = []
    real = token_importing.put_unwrapping_key

    def spy(session: Session, value: bytes) -> int:
        seen.append(value)
        return real(session, value)

    def never(*_: Any) -> int:
        raise AssertionError("the material passed this process")

    monkeypatch.setattr(token_importing, "put_unwrapping_key", spy)
    monkeypatch.setattr(token_importing, "put_material", never)
    material = os.urandom(32)
    one.run(reference("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "HSM"), one.wrap(material))
    assert len(seen) == 1
    assert material not in seen


@pytest.mark.parametrize("algorithm", [BY_KWP, BY_OAEP])
def test_a_token_with_its_own_oaep_opens_everything(
    one: Import, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """The way of such a token, tried with the hash for which SoftHSM2 is one: not even the ephemeral key passes."""
    monkeypatch.setattr(importing_module, "_SHA", "1")
    material, sha = os.urandom(32), hashes.SHA1()  # noqa: S303
    wrapped = one.wrap(material, sha) if algorithm == BY_KWP else one.encrypt(material, sha)
    hsm = reference("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "HSM")
    made = one.run(hsm, wrapped, algorithm)
    assert made.attributes["import.unwrapped_in"] == "token"
    assert made.attributes.get("import.ephemeral_key_in", "token") == "token"
    assert made.key_check_value == aes_check_value(material).hex()
    with pytest.raises(InvalidCiphertext):
        one.run(hsm, os.urandom(384) + wrapped[384:], algorithm)
    short = one.wrap(material[:24], sha) if algorithm == BY_KWP else one.encrypt(material[:24], sha)
    with pytest.raises(IncorrectKeyMaterial):
        one.run(hsm, short, algorithm)


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_what_does_not_open_is_one_error(one: Import, protection: Protection) -> None:
    """Lengths, the RSA part, the ephemeral key's length, the wrapped part: always the same class and text."""
    ref = reference("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", protection)
    sound, size = one.wrap(os.urandom(32)), MODULUS_BYTES["RSA_3072"]
    wrapped_by_16 = one.encrypt(key := os.urandom(16)) + aes_key_wrap_with_padding(key, os.urandom(32))
    bad = [
        b"", sound[:size], sound[: size - 1], sound[:-1], sound + b"\0", sound + bytes(8), os.urandom(len(sound)),
        bytes(size) + sound[size:], b"\xff" * size + sound[size:], wrapped_by_16, sound[:size] + os.urandom(40),
        *(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :] for at in (0, size - 1, size, len(sound) - 1)),
        sound + bytes(8192),
    ]  # fmt: skip
    told = set()
    for wrapped in bad:
        with pytest.raises(InvalidCiphertext) as raised:
            one.run(ref, wrapped)
        told.add(str(raised.value))
    for wrapped in (b"", sound, one.encrypt(os.urandom(32))[:-1], os.urandom(size)):
        with pytest.raises(InvalidCiphertext) as raised:
            one.run(ref, wrapped, BY_OAEP)
        told.add(str(raised.value))
    assert told == {str(InvalidCiphertext())}


@pytest.mark.parametrize("protection", PROTECTIONS)
@pytest.mark.parametrize("spec", SECRETS)
def test_a_secret_of_another_length_is_refused(one: Import, spec: str, protection: Protection) -> None:
    """Shorter or longer by a byte or by eight, and a private key in its place."""
    ref, size = reference(spec, usage_of(spec), protection), SECRETS[spec]
    for length in (size - 8, size - 1, size + 1, size + 8):
        with pytest.raises(IncorrectKeyMaterial):
            one.run(ref, one.wrap(os.urandom(length)))
        with pytest.raises(IncorrectKeyMaterial):
            one.run(ref, one.encrypt(os.urandom(length)), BY_OAEP)
    with pytest.raises(IncorrectKeyMaterial):
        one.run(ref, one.wrap(pkcs8(pair_of("ECC_NIST_P256"))))


@pytest.mark.parametrize("protection", PROTECTIONS)
@pytest.mark.parametrize(("spec", "usage"), PAIRS)
def test_another_kind_of_private_key_is_refused(one: Import, spec: str, usage: str, protection: Protection) -> None:
    """Another type, curve or size, another encoding, a public key, rubbish, a secret."""
    wrong = [pair_of(each) for each in CURVES if each != spec] + [Ed25519PrivateKey.generate()]
    materials = [pkcs8(private) for private in wrong] + [spki(pair_of("ECC_NIST_P256")), os.urandom(32), b"rubbish"]
    if spec == "RSA_2048":
        materials += [pkcs8(rsa.generate_private_key(65537, 3072)), pkcs8(rsa.generate_private_key(3, 2048))[:-1]]
    else:
        materials.append(pkcs8(pair_of("RSA_2048")))
    for material in materials:
        with pytest.raises(IncorrectKeyMaterial):
            one.run(reference(spec, usage, protection), one.wrap(material))


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_a_private_key_that_does_not_fit_its_public_half_is_refused(one: Import, protection: Protection) -> None:
    """An RSA key whose numbers do not belong together."""
    sound = pair_of("RSA_2048").private_numbers()
    other = pair_of("RSA_2048").private_numbers()
    encoded = pkcs8(sound.private_key())
    size = 256
    crossed = encoded.replace(
        sound.public_numbers.n.to_bytes(size, "big"), other.public_numbers.n.to_bytes(size, "big")
    )
    assert crossed != encoded
    for usage in ("SIGN_VERIFY", "ENCRYPT_DECRYPT"):
        with pytest.raises(IncorrectKeyMaterial):
            one.run(reference("RSA_2048", usage, protection), one.wrap(crossed))


def test_seeds_and_ed25519_are_imported_to_memory_only(one: Import, adapters: dict[str, Operations]) -> None:
    """ML-DSA and ML-KEM as their seeds; at the level HSM each is refused as not offered."""
    signer, decapsulator, edwards = MLDSA65PrivateKey.generate(), MLKEM768PrivateKey.generate(), Ed25519PrivateKey
    cases: list[tuple[str, str, bytes, Any]] = [
        ("ML_DSA_65", "SIGN_VERIFY", signer.private_bytes_raw(), signer),
        ("ML_KEM_768", "KEY_ENCAPSULATION", decapsulator.private_bytes_raw(), decapsulator),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", pkcs8(made := edwards.generate()), made),
    ]
    for spec, usage, material, private in cases:
        assert one.run(reference(spec, usage, "SOFTWARE"), one.wrap(material)).public_key == spki(private)
        with pytest.raises(Unsupported):
            one.run(reference(spec, usage, "HSM"), one.wrap(material))
        with pytest.raises(IncorrectKeyMaterial):
            one.run(reference(spec, usage, "SOFTWARE"), one.wrap(material[:-1]))
        with pytest.raises(Unsupported):
            one.run(reference(spec, usage, "SOFTWARE"), one.encrypt(b"x"), BY_OAEP)


def test_an_import_belongs_to_its_id(one: Import) -> None:
    """The blob of an import's key does not open for another import, nor as a key version."""
    ref = reference("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "HSM")
    with pytest.raises(InvalidBlob):
        one.custody.import_material(ref, os.urandom(16), one.blob, BY_KWP, one.wrap(os.urandom(32)))
    as_key = KeyReference(one.id, 1, "RSA_3072", "HSM", "ENCRYPT_DECRYPT")
    with pytest.raises(InvalidBlob):
        one.custody.open(as_key, one.blob)


def test_an_import_leaves_nothing_in_the_token(one: Import) -> None:
    """Neither a success nor a failure leaves an object behind."""
    ref = reference("ECC_NIST_P256", "SIGN_VERIFY", "HSM")
    attempts: list[Callable[[], object]] = [
        lambda: one.run(ref, one.wrap(pkcs8(pair_of("ECC_NIST_P256")))),
        lambda: one.run(ref, one.wrap(pkcs8(pair_of("ECC_NIST_P384")))),
        lambda: one.run(ref, one.wrap(os.urandom(32))),
        lambda: one.run(ref, os.urandom(500)),
        lambda: one.run(reference("HMAC_256", "GENERATE_VERIFY_MAC", "HSM"), one.wrap(os.urandom(31))),
    ]
    with one.custody.token.manager() as session:
        before = len(list(session.pkcs11.get_objects({})))
        for attempt in attempts:
            with suppress(InvalidCiphertext, IncorrectKeyMaterial):
                attempt()
            assert len(list(session.pkcs11.get_objects({}))) == before


def test_an_import_survives_an_epoch_turn(new_token: Callable[[], Any]) -> None:
    """Its blob is made anew under the next epoch, like any other."""
    custody = Custody(new_token())
    custody.provision()
    identifier = os.urandom(16)
    made = custody.generate_import_key(identifier, "RSA_3072")
    custody.begin_epoch(2)
    moved = custody.rewrap_import(identifier, made.blob)
    assert (custody.epoch_of(made.blob), custody.epoch_of(moved)) == (1, 2)
    custody.end_epoch(1)
    public = load_der_public_key(made.public_key or b"")
    assert isinstance(public, rsa.RSAPublicKey)
    again = Import(custody, identifier, moved, public)
    again.run(reference("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "HSM"), again.wrap(os.urandom(32)))
