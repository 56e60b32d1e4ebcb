"""Published answers of RSA: RSASSA-PKCS1-v1_5, RSASSA-PSS and RSAES-OAEP, private keys imported to both levels.

PSS draws a salt, so what signing gives is not known beforehand; that other programs verify it is in
`test_openssl_interop`.
"""

from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from tests.support.vault import PROTECTIONS, Vault, published

from keyfold.custody import Protection, verify
from keyfold.events.errors import IncorrectKeyMaterial, InvalidCiphertext

pytestmark = pytest.mark.token

LEVELS = pytest.mark.parametrize("protection", PROTECTIONS)
SIZES = pytest.mark.parametrize("bits", [2048, 3072, 4096])
ACCEPTABLE_BUT_REFUSED = {"MissingNull"}
"""Wycheproof leaves these signatures to the verifier; here they do not verify (RFC 8017, appendix A.2.4, note)."""
OURS = (
    "2048_sha256_mgf1_32",
    "2048_sha384_mgf1_48",
    "3072_sha256_mgf1_32",
    "4096_sha256_mgf1_32",
    "4096_sha384_mgf1_48",
    "4096_sha512_mgf1_64",
)
OTHERS = ("2048_sha256_mgf1_0", "2048_sha256_mgf1sha1_20", "4096_sha512_mgf1_32")
OAEP = (
    "2048_sha1_mgf1sha1",
    "2048_sha256_mgf1sha256",
    "3072_sha256_mgf1sha256",
    "4096_sha256_mgf1sha256",
    "misc",
)


def algorithm_of(scheme: str, sha: str) -> str:
    """The algorithm's name, from "SHA-256" or "SHA256"."""
    return f"{scheme}_SHA_{sha.removeprefix('SHA').removeprefix('-')}"


@cache
def pkcs8(modulus: str, exponent: str, private_exponent: str) -> bytes:
    """A private key of CAVP, which is its modulus and exponents."""
    n, e, d = int(modulus, 16), int(exponent, 16), int(private_exponent, 16)
    p, q = rsa.rsa_recover_prime_factors(n, e, d)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, n)
    )
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)  # the import validates
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def spki(case: dict[str, Any]) -> bytes:
    """A public key of CAVP."""
    key = rsa.RSAPublicNumbers(int(case["e"], 16), int(case["n"], 16)).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signing_cases(bits: int) -> list[tuple[str, str, bytes, bytes, bytes]]:
    """Name, algorithm, private key, message and signature."""
    found = []
    for group, case in published(f"wycheproof/rsa_pkcs1_{bits}_sig_gen"):
        algorithm = algorithm_of("RSASSA_PKCS1_V1_5", group["sha"])
        private, message, signature = (
            bytes.fromhex(each) for each in (group["privateKeyPkcs8"], case["msg"], case["sig"])
        )
        found.append((f"Wycheproof {case['tcId']}", algorithm, private, message, signature))
    for _, case in published("nist/rsa_pkcs1_sign"):
        if case["section"] == f"mod = {bits}":
            algorithm = algorithm_of("RSASSA_PKCS1_V1_5", case["SHAAlg"])
            message, signature = bytes.fromhex(case["Msg"]), bytes.fromhex(case["S"])
            found.append((f"NIST {algorithm}", algorithm, pkcs8(case["n"], case["e"], case["d"]), message, signature))
    return found


@LEVELS
@SIZES
def test_signing_is_deterministic(vault: Vault, bits: int, protection: Protection) -> None:
    """RSASSA-PKCS1-v1_5 gives the published signature (Wycheproof, NIST CAVP)."""
    cases = [case for case in signing_cases(bits) if _exponent(case[2]) > 2**16]
    assert {algorithm for _, algorithm, *_ in cases} == {f"RSASSA_PKCS1_V1_5_SHA_{sha}" for sha in (256, 384, 512)}
    for name, algorithm, private, message, signature in cases:
        key = vault.bring(f"RSA_{bits}", "SIGN_VERIFY", protection, private)
        assert key.operations.sign(key.handle, algorithm, "RAW", [message]) == [signature], name
        assert verify(key.public_key, algorithm, "RAW", [(message, signature)]) == [True], name


@LEVELS
@pytest.mark.parametrize("bits", [2048, 3072])
def test_a_small_exponent_is_not_imported(vault: Vault, bits: int, protection: Protection) -> None:
    """Public exponents are above 2^16 (FIPS 186-5, section 5.4 (e)), at both levels."""
    small = {private for _, _, private, *_ in signing_cases(bits) if _exponent(private) < 2**16}
    assert small
    for private in small:
        with pytest.raises(IncorrectKeyMaterial):
            vault.bring(f"RSA_{bits}", "SIGN_VERIFY", protection, private)


def _exponent(private: bytes) -> int:
    parsed = load_der_private_key(private, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(parsed, rsa.RSAPrivateKey)
    return parsed.public_key().public_numbers().e


@SIZES
@pytest.mark.parametrize("sha", [256, 384, 512])
def test_verifying_pkcs1(bits: int, sha: int) -> None:
    """Every class of wrong padding, hash, length and range is refused (Wycheproof)."""
    cases = published(f"wycheproof/rsa_signature_{bits}_sha{sha}")
    assert {case["result"] for _, case in cases} >= {"valid", "invalid"}
    for group, case in cases:
        pair = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
        (holds,) = verify(bytes.fromhex(group["publicKeyDer"]), f"RSASSA_PKCS1_V1_5_SHA_{sha}", "RAW", [pair])
        assert holds == (case["result"] == "valid"), (case["tcId"], case["flags"])
        assert case["result"] != "acceptable" or set(case["flags"]) <= ACCEPTABLE_BUT_REFUSED


def test_verifying_pkcs1_with_the_cases_of_nist() -> None:
    """Changed message, key, signature and encoded message are refused."""
    cases = [case for _, case in published("nist/rsa_pkcs1_verify")]
    assert len({case["Result"][:5] for case in cases}) == 6
    for case in cases:
        algorithm = algorithm_of("RSASSA_PKCS1_V1_5", case["SHAAlg"])
        pair = bytes.fromhex(case["Msg"]), bytes.fromhex(case["S"])
        assert verify(spki(case), algorithm, "RAW", [pair]) == [case["Result"] == "P"], case["Result"]


@pytest.mark.parametrize("name", OURS)
def test_verifying_pss(name: str) -> None:
    """With a salt as long as the digest and the same hash in the mask (Wycheproof)."""
    cases = published(f"wycheproof/rsa_pss_{name}")
    assert {case["result"] for _, case in cases} == {"valid", "invalid"}
    for group, case in cases:
        pair = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
        algorithm = algorithm_of("RSASSA_PSS", group["sha"])
        (holds,) = verify(bytes.fromhex(group["publicKeyDer"]), algorithm, "RAW", [pair])
        assert holds == (case["result"] == "valid"), (case["tcId"], case["flags"])


@pytest.mark.parametrize("name", OTHERS)
def test_pss_with_other_parameters_does_not_verify(name: str) -> None:
    """Signatures that are valid with another length of salt or another hash in the mask."""
    cases = published(f"wycheproof/rsa_pss_{name}")
    for group, case in cases:
        assert (case["result"], group["sLen"]) != ("valid", int(group["sha"][4:]) // 8)
        pair = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
        algorithm = algorithm_of("RSASSA_PSS", group["sha"])
        assert verify(bytes.fromhex(group["publicKeyDer"]), algorithm, "RAW", [pair]) == [False], case["tcId"]


@LEVELS
@pytest.mark.parametrize("name", OAEP)
def test_oaep(vault: Vault, name: str, protection: Protection) -> None:
    """Valid ciphertexts open; wrong padding and length do not, nor what has a label: the same refusal (Wycheproof)."""
    cases, refusals, opened = published(f"wycheproof/rsa_oaep_{name}"), set(), 0
    for group, case in cases:
        private = bytes.fromhex(group["privateKeyPkcs8"])
        key = vault.bring(f"RSA_{group['keySize']}", "ENCRYPT_DECRYPT", protection, private)
        algorithm = algorithm_of("RSAES_OAEP", group["sha"])
        (found,) = key.operations.decrypt(key.handle, algorithm, [bytes.fromhex(case["ct"])])
        if case["result"] == "valid" and not case["label"]:
            assert found == bytes.fromhex(case["msg"]), case["tcId"]
            opened += 1
        else:
            assert isinstance(found, InvalidCiphertext), (case["tcId"], case["flags"])
            refusals.add(str(found))
    assert opened
    assert refusals == ({str(InvalidCiphertext())} if name != "misc" else set())
