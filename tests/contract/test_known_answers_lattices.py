"""Published answers of ML-DSA (FIPS 204) and ML-KEM (FIPS 203). No token has them yet: SOFTWARE keys, made of seeds.

Signing is hedged (FIPS 204, section 3.4), so what it gives is not known beforehand: signatures of known keys verify,
and published signatures do. That another implementation verifies ours is in `test_lattice_interop`.
"""

from hashlib import shake_256
from typing import Any

import pytest
from tests.support.vault import Vault, published

from keyfold.custody import encapsulate, verify
from keyfold.custody.private_keys import generate
from keyfold.custody.public_keys import encode
from keyfold.events.errors import IncorrectKeyMaterial, InvalidCiphertext, InvalidPublicKey, Unsupported

pytestmark = pytest.mark.token

SIGNATURES = pytest.mark.parametrize("level", [44, 65, 87])
ENCAPSULATIONS = pytest.mark.parametrize("level", [768, 1024])
ALGORITHM = "ML_DSA_SHAKE_256"


def spki(spec: str, raw: bytes) -> bytes:
    """SubjectPublicKeyInfo of any bytes: the encoding of a sound key, with others in its place, of any length."""
    sound = encode(generate(spec).public_key())
    size = {"ML_DSA_44": 1312, "ML_DSA_65": 1952, "ML_DSA_87": 2592, "ML_KEM_768": 1184, "ML_KEM_1024": 1568}[spec]
    head = bytearray(sound[:-size])
    # Both lengths are two bytes long (0x82): of the whole at 2, of the BIT STRING before its byte of unused bits.
    for at in (2, len(head) - 3):
        head[at : at + 2] = (int.from_bytes(head[at : at + 2], "big") + len(raw) - size).to_bytes(2, "big")
    return bytes(head) + raw


def hexed(case: dict[str, Any], *names: str) -> list[bytes]:
    """Fields of a case."""
    return [bytes.fromhex(case[name]) for name in names]


@SIGNATURES
def test_public_keys_from_seeds(vault: Vault, level: int) -> None:
    """ML-DSA.KeyGen (NIST ACVP, Wycheproof); a seed of another length is no key, and no token takes one.

    AES-KWP wraps at least one byte, so the vectors' empty seed cannot even be sent.
    """
    spec, wrong = f"ML_DSA_{level}", 0
    cases = [hexed(case, "seed", "pk") for group, case in published("nist/mldsa_keygen")
             if group["parameterSet"] == f"ML-DSA-{level}"]  # fmt: skip
    groups = {(group["privateSeed"], group["publicKey"] or "") for group, _ in signing(level)}
    for seed, public in [*cases, *((bytes.fromhex(a), bytes.fromhex(b)) for a, b in groups)]:
        if seed and len(seed) != 32:
            wrong += 1
            with pytest.raises(IncorrectKeyMaterial):
                vault.bring(spec, "SIGN_VERIFY", "SOFTWARE", seed)
        if len(seed) != 32:
            continue
        key = vault.bring(spec, "SIGN_VERIFY", "SOFTWARE", seed)
        assert key.public_key == spki(spec, public)
    assert wrong == 2
    with pytest.raises(Unsupported):
        vault.bring(spec, "SIGN_VERIFY", "HSM", cases[0][0])


def signing(level: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Wycheproof's cases that give a seed."""
    return published(f"wycheproof/mldsa_{level}_sign_seed")


@SIGNATURES
def test_published_signatures_verify(vault: Vault, level: int) -> None:
    """Of messages, and of their representatives; with a context only by the representative, as Keyfold has none."""
    types = set()
    for group, case in ((g, c) for g, c in signing(level) if c["result"] == "valid"):
        public, signature = spki(f"ML_DSA_{level}", bytes.fromhex(group["publicKey"])), bytes.fromhex(case["sig"])
        if "msg" in case:
            message = bytes.fromhex(case["msg"])
            assert verify(public, ALGORITHM, "RAW", [(message, signature)]) == [not case.get("ctx")], case["tcId"]
            types.add("RAW")
        mu = bytes.fromhex(case["mu"])
        assert verify(public, ALGORITHM, "EXTERNAL_MU", [(mu, signature)]) == [True], case["tcId"]
        types.add("EXTERNAL_MU" if "msg" not in case else "both")
    assert types == {"RAW", "EXTERNAL_MU", "both"}


@SIGNATURES
def test_keys_from_seeds_sign(vault: Vault, level: int) -> None:
    """A signature of the message is one of the published representative, and the other way round; none is twice."""
    for group, case in ((g, c) for g, c in signing(level) if c["result"] == "valid" and not c.get("ctx")):
        key = vault.bring(f"ML_DSA_{level}", "SIGN_VERIFY", "SOFTWARE", bytes.fromhex(group["privateSeed"]))
        mu = bytes.fromhex(case["mu"])
        made = key.operations.sign(key.handle, ALGORITHM, "EXTERNAL_MU", [mu, mu])
        assert made[0] != made[1]
        pairs = [(mu, each) for each in made if isinstance(each, bytes)]
        assert verify(key.public_key, ALGORITHM, "EXTERNAL_MU", pairs) == [True, True]
        if "msg" in case:
            message = bytes.fromhex(case["msg"])
            (signed,) = key.operations.sign(key.handle, ALGORITHM, "RAW", [message])
            assert isinstance(signed, bytes)
            assert verify(key.public_key, ALGORITHM, "EXTERNAL_MU", [(mu, signed)]) == [True], case["tcId"]
            assert verify(key.public_key, ALGORITHM, "RAW", [(message, pairs[0][1])]) == [True], case["tcId"]


@SIGNATURES
def test_invalid_signatures(level: int) -> None:
    """Lengths, hints, norms, changed bits, and public keys of another length (Wycheproof)."""
    cases = published(f"wycheproof/mldsa_{level}_verify")
    flags = {flag for _, case in cases for flag in case["flags"]}
    assert flags >= {
        "IncorrectSignatureLength",
        "InvalidHintsEncoding",
        "ModifiedSignature",
        "IncorrectPublicKeyLength",
    }
    for group, case in cases:
        public, (message, signature) = (
            spki(f"ML_DSA_{level}", bytes.fromhex(group["publicKey"])),
            hexed(case, "msg", "sig"),
        )
        if "IncorrectPublicKeyLength" in case["flags"]:
            with pytest.raises(InvalidPublicKey):
                verify(public, ALGORITHM, "RAW", [(message, signature)])
        else:
            assert verify(public, ALGORITHM, "RAW", [(message, signature)]) == [False], (case["tcId"], case["flags"])


@pytest.mark.parametrize("level", [44, 65])
def test_verifying_with_the_cases_of_nist(level: int) -> None:
    """ML-DSA.Verify_internal (NIST ACVP), by way of the representative µ = SHAKE256(SHAKE256(pk, 64) ‖ M', 64)."""
    cases = [(g, c) for g, c in published("nist/mldsa_verify") if g["parameterSet"] == f"ML-DSA-{level}"]
    assert len({case["reason"] for _, case in cases}) == 5
    for group, case in cases:
        raw, (message, signature) = bytes.fromhex(group["pk"]), hexed(case, "message", "signature")
        mu = shake_256(shake_256(raw).digest(64) + message).digest(64)
        (holds,) = verify(spki(f"ML_DSA_{level}", raw), ALGORITHM, "EXTERNAL_MU", [(mu, signature)])
        assert holds == case["testPassed"], case["reason"]


@ENCAPSULATIONS
def test_encapsulation_keys_from_seeds(vault: Vault, level: int) -> None:
    """ML-KEM.KeyGen from d ‖ z (NIST ACVP); no token takes one."""
    spec, cases = f"ML_KEM_{level}", published("nist/mlkem_keygen")
    of_level = [hexed(case, "d", "z", "ek") for group, case in cases if group["parameterSet"] == f"ML-KEM-{level}"]
    assert of_level
    for d, z, public in of_level:
        key = vault.bring(spec, "KEY_ENCAPSULATION", "SOFTWARE", d + z)
        assert key.public_key == spki(spec, public)
        with pytest.raises(Unsupported):
            vault.bring(spec, "KEY_ENCAPSULATION", "HSM", d + z)


@ENCAPSULATIONS
def test_decapsulation(vault: Vault, level: int) -> None:
    """Secrets as published, of changed and random ciphertexts too, which are rejected implicitly; lengths are refused.

    Seeds of another length are no keys (Wycheproof).
    """
    spec, cases, comments = f"ML_KEM_{level}", published(f"wycheproof/mlkem_{level}"), set()
    for _, case in cases:
        seed, ciphertext, secret = hexed(case, "seed", "c", "K")
        comments.add(case.get("comment", ""))
        if len(seed) != 64:
            with pytest.raises(IncorrectKeyMaterial):
                vault.bring(spec, "KEY_ENCAPSULATION", "SOFTWARE", seed)
            continue
        key = vault.bring(spec, "KEY_ENCAPSULATION", "SOFTWARE", seed)
        assert key.public_key == spki(spec, bytes.fromhex(case["ek"]))
        (found,) = key.operations.decapsulate(key.handle, [ciphertext])
        if case["result"] == "valid":
            assert found == secret, (case["tcId"], case.get("comment"))
        else:
            assert isinstance(found, InvalidCiphertext), (case["tcId"], case["comment"])
    assert comments >= {"Bit flipped ciphertext", "Random ciphertext", "Ciphertext too short", "Private key too long"}


@ENCAPSULATIONS
def test_an_encapsulation_key_out_of_range_is_none(level: int) -> None:
    """Coefficients that are not below the modulus (FIPS 203, section 7.2, modulus check) (Wycheproof)."""
    cases = published(f"wycheproof/mlkem_{level}_encaps")
    for _, case in cases:
        with pytest.raises(InvalidPublicKey):
            encapsulate(spki(f"ML_KEM_{level}", bytes.fromhex(case["ek"])), 1)
