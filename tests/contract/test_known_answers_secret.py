"""Published answers of AES-256-GCM, HKDF, HMAC and AES-KWP, at both protection levels.

Keys of the vectors are imported. Ciphertexts of keys are more than GCM (header, context, derived keys), so vectors are
run at the seam below (`Gcm` of the token, the AEAD of memory), and whole ciphertexts are made and opened here by hand.
"""

import hmac
import os

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from tests.support.vault import PROTECTIONS, Key, Vault, published

from keyfold.custody import InMemory, InToken, Protection
from keyfold.custody.derived import derive
from keyfold.custody.references import MemoryHandle, TokenHandle
from keyfold.events.ciphertext import Algorithm, encode_context, header, parse
from keyfold.events.errors import IncorrectKeyMaterial, InvalidCiphertext

pytestmark = pytest.mark.token

LEVELS = pytest.mark.parametrize("protection", PROTECTIONS)
SPEC_OF_LENGTH = {28: "HMAC_224", 32: "SYMMETRIC_DEFAULT", 48: "HMAC_384", 64: "HMAC_512"}
CONTEXT = encode_context({"tenant": "a"})


def usage_of(spec: str) -> str:
    """The usage of a secret key's spec."""
    return "ENCRYPT_DECRYPT" if spec == "SYMMETRIC_DEFAULT" else "GENERATE_VERIFY_MAC"


def gcm_cases() -> list[tuple[bytes, bytes, bytes, bytes, bytes | None]]:
    """Key, nonce, associated data, ciphertext with tag, and plaintext (None: does not open)."""
    found = []
    for _, case in published("wycheproof/aes_gcm"):
        key, nonce, aad, message, body, tag = (
            bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
        )
        found.append((key, nonce, aad, body + tag, message if case["result"] == "valid" else None))
    for _, case in published("nist/gcm_decrypt_256"):
        key, nonce, aad, body, tag = (bytes.fromhex(case[name]) for name in ("Key", "IV", "AAD", "CT", "Tag"))
        found.append((key, nonce, aad, body + tag, None if case.get("FAIL") else bytes.fromhex(case["PT"])))
    return found


def raw_open(vault: Vault, key: Key, nonce: bytes, body: bytes, aad: bytes) -> bytes | None:
    """Decrypt below the ciphertext format."""
    if isinstance(key.handle, TokenHandle):
        with vault.custody.token.session() as session:
            return session.gcm.decrypt_many(key.handle.key, [(nonce, body, aad)])[0]
    assert isinstance(key.handle, MemoryHandle)
    try:
        return AESGCM(key.handle.material).decrypt(nonce, body, aad)
    except InvalidTag:
        return None


def raw_seal(vault: Vault, key: Key, nonce: bytes, message: bytes, aad: bytes) -> bytes:
    """Encrypt below the ciphertext format."""
    if isinstance(key.handle, TokenHandle):
        with vault.custody.token.session() as session:
            return session.gcm.encrypt_many(key.handle.key, [(nonce, message, aad)])[0]
    assert isinstance(key.handle, MemoryHandle)
    return AESGCM(key.handle.material).encrypt(nonce, message, aad)


@LEVELS
def test_gcm(vault: Vault, protection: Protection) -> None:
    """What is valid is made and opened, what is invalid does not open (Wycheproof, NIST CAVP)."""
    cases = gcm_cases()
    assert {plaintext is None for *_, plaintext in cases} == {True, False}
    for material, nonce, aad, body, plaintext in cases:
        key = vault.bring("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", protection, material)
        assert raw_open(vault, key, nonce, body, aad) == plaintext, (nonce.hex(), aad.hex())
        if plaintext is not None:
            assert raw_seal(vault, key, nonce, plaintext, aad) == body, (nonce.hex(), aad.hex())


def test_ciphertexts_of_the_token_are_gcm(vault: Vault) -> None:
    """Opened outside with the known key: nonce and body as parsed, header ‖ context associated; and the other way."""
    material = os.urandom(32)
    key = vault.bring("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "HSM", material)
    provider, key_id = InToken(vault.custody.token), key.handle.reference.key_id
    (made,) = provider.protect(key.handle, [CONTEXT], [(0, b"secret")])
    parsed, head = parse(made), header(key_id, 1, Algorithm.AES_256_GCM)
    assert AESGCM(material).decrypt(parsed.nonce, parsed.body, head + CONTEXT) == b"secret"
    nonce = os.urandom(12)
    by_hand = head + nonce + AESGCM(material).encrypt(nonce, b"other", head + CONTEXT)
    assert provider.unprotect(key_id, lambda _: key.handle, [CONTEXT], [(0, by_hand)]) == [b"other"]


def hkdf(material: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """HKDF-SHA256 after RFC 5869, section 2, from nothing but HMAC."""
    pseudorandom = hmac.digest(salt or bytes(32), material, "sha256")
    made, block = b"", b""
    for number in range(1, -(-size // 32) + 1):
        block = hmac.digest(pseudorandom, block + info + bytes([number]), "sha256")
        made += block
    return made[:size]


def test_the_derivation_of_software_keys_is_hkdf() -> None:
    """An HKDF that gives the published answers gives the derived key and its commitment."""
    valid = [case for _, case in published("wycheproof/hkdf_sha256") if case["result"] == "valid"]
    assert valid
    for case in valid:
        material, salt, info = (bytes.fromhex(case[name]) for name in ("ikm", "salt", "info"))
        assert hkdf(material, salt, info, case["size"]) == bytes.fromhex(case["okm"]), case["tcId"]
    material, salt, head = os.urandom(32), os.urandom(32), header(os.urandom(16), 7, Algorithm.AES_256_GCM_DERIVED)
    derived = derive(material, salt, head)
    both = hkdf(material, salt, b"keyfold-software-v1" + head, 64)
    assert derived.commitment == both[32:]
    assert AESGCM(both[:32]).decrypt(bytes(12), derived.aead.encrypt(bytes(12), b"x", b"y"), b"y") == b"x"


def test_ciphertexts_of_memory_are_gcm_under_the_derived_key(vault: Vault) -> None:
    """Opened outside with the known key: header ‖ salt ‖ commitment ‖ context associated; and the other way."""
    material = os.urandom(32)
    key = vault.bring("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "SOFTWARE", material)
    key_id, provider = key.handle.reference.key_id, InMemory(vault.custody.derived)
    head = header(key_id, 1, Algorithm.AES_256_GCM_DERIVED)
    for index, made in enumerate(provider.protect(key.handle, [CONTEXT], [(0, b"one"), (0, b"two")])):
        assert made[:26] == head
        both = hkdf(material, made[26:58], b"keyfold-software-v1" + head, 64)
        assert made[58:90] == both[32:]
        nonce = bytes(8) + index.to_bytes(4, "big")
        assert made[90:94] == nonce[8:]
        assert AESGCM(both[:32]).decrypt(nonce, made[94:], made[:90] + CONTEXT) == (b"one", b"two")[index]
    salt = os.urandom(32)
    both = hkdf(material, salt, b"keyfold-software-v1" + head, 64)
    prefix = head + salt + both[32:]
    by_hand = prefix + b"\0\0\0\7" + AESGCM(both[:32]).encrypt(bytes(11) + b"\7", b"other", prefix + CONTEXT)
    assert provider.unprotect(key_id, lambda _: key.handle, [CONTEXT], [(0, by_hand)]) == [b"other"]


@LEVELS
@pytest.mark.parametrize("bits", [224, 256, 384, 512])
def test_hmac(vault: Vault, bits: int, protection: Protection) -> None:
    """The MAC of a valid case is its tag, of an invalid one another (Wycheproof)."""
    cases = published(f"wycheproof/hmac_sha{bits}")
    assert {case["result"] for _, case in cases} == {"valid", "invalid"}
    for _, case in cases:
        key = vault.bring(f"HMAC_{bits}", "GENERATE_VERIFY_MAC", protection, bytes.fromhex(case["key"]))
        (made,) = key.operations.mac(key.handle, f"HMAC_SHA_{bits}", [bytes.fromhex(case["msg"])])
        assert (made == bytes.fromhex(case["tag"])) == (case["result"] == "valid"), case["tcId"]


def wrapped_keys() -> list[tuple[str, bytes, bytes, bytes | None]]:
    """Where it is from, key, wrapped material, and material (None: does not open)."""
    found = list[tuple[str, bytes, bytes, bytes | None]]()
    for _, case in published("wycheproof/aes_kwp"):
        key, body, message = (bytes.fromhex(case[name]) for name in ("key", "ct", "msg"))
        found.append((f"Wycheproof {case['tcId']}", key, body, message if case["result"] == "valid" else None))
    for _, case in published("nist/kwp_unwrap_256"):
        key, body = bytes.fromhex(case["K"]), bytes.fromhex(case["C"])
        found.append((f"NIST {case['K']}", key, body, None if case.get("FAIL") else bytes.fromhex(case["P"])))
    return found


@LEVELS
def test_key_wrap(vault: Vault, protection: Protection) -> None:
    """Imports of what the vectors wrapped: the key, no key of a spec for other lengths, or nothing that opens."""
    seen = set()
    for name, ephemeral, body, material in wrapped_keys():
        spec = SPEC_OF_LENGTH.get(len(material or b""), "SYMMETRIC_DEFAULT")
        expected = _expected(body, material)
        found = _outcome(vault, spec, protection, vault.encrypt_for_import(ephemeral) + body)
        if isinstance(found, Key):
            assert _is_the_key(vault, found, spec, material or b""), name
        assert (Key if isinstance(found, Key) else found) is expected, name
        seen.add(expected)
    assert seen == {Key, IncorrectKeyMaterial, InvalidCiphertext}


@LEVELS
@pytest.mark.parametrize("size", [16, 24])
def test_material_under_a_shorter_key_does_not_open(vault: Vault, size: int, protection: Protection) -> None:
    """CKM_RSA_AES_KEY_WRAP leaves the size of the AES key to the parties; here it has 256 bits."""
    ephemeral = os.urandom(size)
    wrapped = vault.encrypt_for_import(ephemeral) + aes_key_wrap_with_padding(ephemeral, os.urandom(32))
    with pytest.raises(InvalidCiphertext):
        vault.open("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", protection, wrapped)


def _expected(body: bytes, material: bytes | None) -> type:
    # Material of no bytes is wrapped to 8, and no layout of an import is that short.
    if not material or len(body) < 16:
        return InvalidCiphertext
    return Key if len(material) in SPEC_OF_LENGTH else IncorrectKeyMaterial


def _outcome(vault: Vault, spec: str, protection: Protection, wrapped: bytes) -> Key | type:
    try:
        return vault.open(spec, usage_of(spec), protection, wrapped)
    except (InvalidCiphertext, IncorrectKeyMaterial) as error:
        return type(error)


def _is_the_key(vault: Vault, key: Key, spec: str, material: bytes) -> bool:
    if spec == "SYMMETRIC_DEFAULT":
        return raw_seal(vault, key, bytes(12), b"x", b"") == AESGCM(material).encrypt(bytes(12), b"x", b"")
    algorithm = spec.replace("HMAC_", "HMAC_SHA_")
    return key.operations.mac(key.handle, algorithm, [b"x"]) == [
        hmac.digest(material, b"x", spec.replace("HMAC_", "sha"))
    ]
