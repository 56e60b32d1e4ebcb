"""Published answers of ECDSA, ECDH and Ed25519; private keys imported to both levels where that level imports them."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pkcs11 import Attribute, KeyType, ObjectClass
from tests.support.vault import PROTECTIONS, PUBLISHED, Vault, published

from keyfold.custody import KeyReference, Protection, TokenOperations, verify
from keyfold.custody.forms import form_of
from keyfold.custody.public_keys import encode, load_peer
from keyfold.custody.references import TokenHandle
from keyfold.events.errors import IncorrectKeyMaterial, InvalidPublicKey, Unsupported
from keyfold.token.material import create

pytestmark = pytest.mark.token

LEVELS = pytest.mark.parametrize("protection", PROTECTIONS)
CURVES: dict[str, ec.EllipticCurve] = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}
BITS = pytest.mark.parametrize("bits", list(CURVES))
SHA = {"256": "256", "384": "384", "521": "512"}
TAKEN_ACCEPTABLE = {("CompressedPublic", "CompressedPoint")}
"""Flags of public keys that Wycheproof leaves to the receiver and that are taken here: a compressed point."""
ED25519_PARAMETERS = bytes.fromhex("06032b6570")  # OID of RFC 8410


def private_key(bits: str, scalar: str) -> bytes:
    """A private key of a curve, from its number in hexadecimal."""
    key = ec.derive_private_key(int(scalar, 16), CURVES[bits])
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_key(bits: str, x: str, y: str) -> bytes:
    """A public key of a curve that may not be on it: the encoding of one that is, with another point."""
    size = (CURVES[bits].key_size + 7) // 8
    sound = ec.derive_private_key(2, CURVES[bits]).public_key()
    encoded = sound.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded[: -2 * size] + int(x, 16).to_bytes(size, "big") + int(y, 16).to_bytes(size, "big")


def der(tag: int, *parts: bytes) -> bytes:
    """One element of DER."""
    body = b"".join(parts)
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([0x81, size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + body


def claimed_pair(bits: str, scalar: str, x: str, y: str) -> bytes:
    """PKCS #8 of a private number and a public point (RFC 5915) that may not belong together."""
    size = (CURVES[bits].key_size + 7) // 8
    d, at_x, at_y = (int(each, 16).to_bytes(size, "big") for each in (scalar, x, y))
    point = der(0xA1, der(0x03, b"\0\4", at_x, at_y))
    names = der(
        0x30,
        bytes.fromhex("06072a8648ce3d0201"),
        form_of(KeyReference(bytes(16), 1, f"ECC_NIST_P{bits}", "HSM", "KEY_AGREEMENT")).curve,
    )
    private = der(0x30, der(0x02, b"\1"), der(0x04, d), point)
    return der(0x30, der(0x02, b"\0"), names, der(0x04, private))


@BITS
def test_verifying_ecdsa(bits: str) -> None:
    """DER only, numbers in range; edge cases of the arithmetic; a large s is as good as a small one (Wycheproof)."""
    cases, sha = published(f"wycheproof/ecdsa_secp{bits}r1_sha{SHA[bits]}"), SHA[bits]
    assert {case["result"] for _, case in cases} == {"valid", "invalid"}
    for group, case in cases:
        pair = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
        (holds,) = verify(bytes.fromhex(group["publicKeyDer"]), f"ECDSA_SHA_{sha}", "RAW", [pair])
        assert holds == (case["result"] == "valid"), (case["tcId"], case["flags"], case["comment"])


@BITS
def test_verifying_ecdsa_with_the_cases_of_nist(bits: str) -> None:
    """Changed message, r, s and public key are refused."""
    section = f"P-{bits},SHA-{SHA[bits]}"
    cases = [case for _, case in published("nist/ecdsa_verify") if case["section"] == section]
    assert len({case["Result"][:4] for case in cases}) == 5
    for case in cases:
        signature = encode_dss_signature(int(case["R"], 16), int(case["S"], 16))
        pair, key = (bytes.fromhex(case["Msg"]), signature), public_key(bits, case["Qx"], case["Qy"])
        assert verify(key, f"ECDSA_SHA_{SHA[bits]}", "RAW", [pair]) == [case["Result"][0] == "P"], case["Result"]


@LEVELS
@BITS
def test_ecdh(vault: Vault, bits: str, protection: Protection) -> None:
    """Shared secrets as published; points off the curve, of another one or badly encoded are refused (Wycheproof)."""
    cases, taken = published(f"wycheproof/ecdh_secp{bits}r1"), set()
    assert {case["result"] for _, case in cases} == {"valid", "invalid", "acceptable"}
    for _, case in cases:
        key = vault.bring(f"ECC_NIST_P{bits}", "KEY_AGREEMENT", protection, private_key(bits, case["private"]))
        (found,) = key.operations.derive(key.handle, [bytes.fromhex(case["public"])])
        if case["result"] == "valid" or isinstance(found, bytes):
            assert found == bytes.fromhex(case["shared"]), (case["tcId"], case["flags"])
            taken |= {tuple(case["flags"])} if case["result"] == "acceptable" else set()
        else:
            assert isinstance(found, InvalidPublicKey), (case["tcId"], case["flags"])
        assert case["result"] != "invalid" or isinstance(found, InvalidPublicKey), (case["tcId"], case["flags"])
    assert taken == TAKEN_ACCEPTABLE


def nist_ecdh_cases(bits: str) -> list[dict[str, Any]]:
    """The cases of a curve, in all of which the other party is CAVS and the user is IUT."""
    section = {"256": "EC - SHA256", "384": "ED - SHA384", "521": "EE - SHA512"}[bits]
    cases = [case for _, case in published("nist/ecdh") if case["section"] == section]
    assert {case["Result"].split()[1] for case in cases} == {"(0", "(13", "(1", "(2", "(5", "(6", "(7", "(8"}
    return cases


@LEVELS
@BITS
def test_ecdh_with_the_cases_of_nist(vault: Vault, bits: str, protection: Protection) -> None:
    """Shared secrets, one that begins with zeros too; a peer's point that is none is refused (SP 800-56A, 5.6.2.3.3).

    So is the import of a pair whose own point is not on the curve (F 5, F 6).
    """
    spec, size = f"ECC_NIST_P{bits}", (CURVES[bits].key_size + 7) // 8
    for case in (each for each in nist_ecdh_cases(bits) if not each["Result"].startswith("F (7 ")):
        pair = claimed_pair(bits, case["dsIUT"], case["QsIUTx"], case["QsIUTy"])
        if case["Result"].startswith(("F (5 ", "F (6 ")):
            with pytest.raises(IncorrectKeyMaterial):
                vault.bring(spec, "KEY_AGREEMENT", protection, pair)
            continue
        key = vault.bring(spec, "KEY_AGREEMENT", protection, pair)
        (found,) = key.operations.derive(key.handle, [public_key(bits, case["QsCAVSx"], case["QsCAVSy"])])
        if case["Result"].startswith(("F (1 ", "F (2 ")):
            assert isinstance(found, InvalidPublicKey), case["Result"]
        else:
            is_right = case["Result"].startswith("P (")
            assert (found == int(case["Z"], 16).to_bytes(size, "big")) == is_right, case["Result"]


@BITS
def test_a_pair_that_does_not_belong_together(vault: Vault, bits: str) -> None:
    """A changed private number beside the old point (F 7): refused in memory. A token does not look at the point: the
    key is the private number's, modulo the group's order, and so is the public key that is told."""
    for case in (each for each in nist_ecdh_cases(bits) if each["Result"].startswith("F (7 ")):
        pair = claimed_pair(bits, case["dsIUT"], case["QsIUTx"], case["QsIUTy"])
        with pytest.raises(IncorrectKeyMaterial):
            vault.bring(f"ECC_NIST_P{bits}", "KEY_AGREEMENT", "SOFTWARE", pair)
        key = vault.bring(f"ECC_NIST_P{bits}", "KEY_AGREEMENT", "HSM", pair)
        own = ec.derive_private_key(int(case["dsIUT"], 16) % CURVES[bits].group_order, CURVES[bits])
        peer = public_key(bits, case["QsCAVSx"], case["QsCAVSy"])
        assert key.public_key == encode(own.public_key())
        assert key.operations.derive(key.handle, [peer]) == [
            own.exchange(ec.ECDH(), load_peer(f"ECC_NIST_P{bits}", peer))
        ]


def test_verifying_ed25519() -> None:
    """RFC 8032: encodings, ranges and lengths; no s that is not below the group's order (Wycheproof)."""
    cases = published("wycheproof/ed25519")
    assert {case["result"] for _, case in cases} == {"valid", "invalid"}
    for group, case in cases:
        pair = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
        (holds,) = verify(bytes.fromhex(group["publicKeyDer"]), "ED25519_SHA_512", "RAW", [pair])
        assert holds == (case["result"] == "valid"), (case["tcId"], case["flags"])


def ed25519_cases() -> list[dict[str, bytes]]:
    """Seed, public key, message and signature."""
    document = json.loads((PUBLISHED / "ed25519/sign.json").read_text("utf-8"))
    return [{name: bytes.fromhex(value) for name, value in case.items()} for case in document["cases"]]


def test_signing_ed25519_in_memory(vault: Vault) -> None:
    """Signing is deterministic: the published signature, by an imported key."""
    for case in ed25519_cases():
        private = Ed25519PrivateKey.from_private_bytes(case["seed"])
        encoded = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        key = vault.bring("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "SOFTWARE", encoded)
        assert key.public_key[-32:] == case["pk"]
        assert key.operations.sign(key.handle, "ED25519_SHA_512", "RAW", [case["msg"]]) == [case["sig"]]
        with pytest.raises(Unsupported):
            vault.bring("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "HSM", encoded)


def test_signing_ed25519_in_the_token(vault: Vault) -> None:
    """No such key is imported to a token; put there beside custody, it gives the published signature all the same."""
    operations = TokenOperations(vault.custody.token)
    for case in ed25519_cases():
        handle = put_ed25519(vault, case["seed"])
        assert operations.sign(handle, "ED25519_SHA_512", "RAW", [case["msg"]]) == [case["sig"]]
        spki = Ed25519PublicKey.from_public_bytes(case["pk"]).public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        assert verify(spki, "ED25519_SHA_512", "RAW", [(case["msg"], case["sig"])]) == [True]


def put_ed25519(vault: Vault, seed: bytes) -> TokenHandle:
    """Put a private key into the token as an object of the session that lives as long as the token is open."""
    template: dict[Any, Any] = {
        Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: KeyType.EC_EDWARDS, Attribute.TOKEN: False,
        Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.SIGN: True,
        Attribute.EC_PARAMS: ED25519_PARAMETERS, Attribute.VALUE: seed,
    }  # fmt: skip
    with vault.custody.token.manager() as session:
        key = create(session, template)
    reference = KeyReference(bytes(16), 1, "ECC_NIST_EDWARDS25519", "HSM", "SIGN_VERIFY")
    return TokenHandle(reference, key, lambda _: None)
