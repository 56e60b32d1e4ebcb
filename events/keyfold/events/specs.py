"""Key specs: which algorithms a key of each spec and usage has, and by which verbs they are used. One table, pure.

Names are AWS KMS's; where it has none (ML-KEM), they follow its style. Whether a token or library offers a spec is said
by the capabilities that the HSM worker finds, not here.
"""

from typing import Final, Literal

KeySpec = Literal[
    "SYMMETRIC_DEFAULT",
    "HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512",
    "RSA_2048", "RSA_3072", "RSA_4096",
    "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_NIST_EDWARDS25519",
    "ML_DSA_44", "ML_DSA_65", "ML_DSA_87",
    "ML_KEM_512", "ML_KEM_768", "ML_KEM_1024",
]  # fmt: skip
KeyUsage = Literal["ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT", "KEY_ENCAPSULATION"]
EncryptionAlgorithm = Literal["SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]
SigningAlgorithm = Literal[
    "RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
    "RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
    "ECDSA_SHA_256", "ECDSA_SHA_384", "ECDSA_SHA_512",
    "ED25519_SHA_512",
    "ML_DSA_SHAKE_256",
]  # fmt: skip
MacAlgorithm = Literal["HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384", "HMAC_SHA_512"]
KeyAgreementAlgorithm = Literal["ECDH"]
KeyEncapsulationAlgorithm = Literal["ML_KEM"]
MessageType = Literal["RAW", "DIGEST", "EXTERNAL_MU"]
KeyPairSpec = Literal[
    "RSA_2048", "RSA_3072", "RSA_4096", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_NIST_EDWARDS25519"
]
WrappingAlgorithm = Literal["RSA_AES_KEY_WRAP_SHA_256", "RSAES_OAEP_SHA_256"]
WrappingKeySpec = Literal["RSA_4096", "RSA_3072"]

_RSA_ENCRYPTION: Final = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")
_RSA_SIGNING: Final = (
    "RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
    "RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
)  # fmt: skip
_MAC_BYTES: Final = {"HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64}

ALGORITHMS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"): ("SYMMETRIC_DEFAULT",),
    **{(spec, "GENERATE_VERIFY_MAC"): (spec.replace("HMAC_", "HMAC_SHA_"),) for spec in _MAC_BYTES},
    **{(f"RSA_{bits}", "ENCRYPT_DECRYPT"): _RSA_ENCRYPTION for bits in (2048, 3072, 4096)},
    **{(f"RSA_{bits}", "SIGN_VERIFY"): _RSA_SIGNING for bits in (2048, 3072, 4096)},
    ("ECC_NIST_P256", "SIGN_VERIFY"): ("ECDSA_SHA_256",),
    ("ECC_NIST_P384", "SIGN_VERIFY"): ("ECDSA_SHA_384",),
    ("ECC_NIST_P521", "SIGN_VERIFY"): ("ECDSA_SHA_512",),
    **{(f"ECC_NIST_P{bits}", "KEY_AGREEMENT"): ("ECDH",) for bits in (256, 384, 521)},
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"): ("ED25519_SHA_512",),
    **{(f"ML_DSA_{level}", "SIGN_VERIFY"): ("ML_DSA_SHAKE_256",) for level in (44, 65, 87)},
    **{(f"ML_KEM_{level}", "KEY_ENCAPSULATION"): ("ML_KEM",) for level in (512, 768, 1024)},
}
"""Algorithms by key spec and usage; a pair that is not here does not exist."""

USAGE_OF_VERB: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            "Encrypt", "Decrypt", "ReEncrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey",
            "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext",
        ),
        "ENCRYPT_DECRYPT",
    ),
    "Sign": "SIGN_VERIFY", "Verify": "SIGN_VERIFY",
    "GenerateMac": "GENERATE_VERIFY_MAC", "VerifyMac": "GENERATE_VERIFY_MAC",
    "DeriveSharedSecret": "KEY_AGREEMENT",
    "Encapsulate": "KEY_ENCAPSULATION", "Decapsulate": "KEY_ENCAPSULATION",
}  # fmt: skip
"""The key usage that each data-plane verb on a key needs."""

SYMMETRIC_ONLY: Final = frozenset(
    {"ReEncrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"}
    | {"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"}
)
"""Verbs that only SYMMETRIC_DEFAULT keys have, though others have the usage."""

DIGEST_BYTES: Final[dict[str, int]] = {
    algorithm: bits // 8
    for bits in (256, 384, 512)
    for algorithm in (f"RSASSA_PSS_SHA_{bits}", f"RSASSA_PKCS1_V1_5_SHA_{bits}", f"ECDSA_SHA_{bits}")
}
"""Signing algorithms that also sign a digest, and how long it is. ED25519_SHA_512 signs messages only."""

MU_BYTES: Final = 64
"""The length of an ML-DSA message representative (FIPS 204, algorithm 7, line 6): what EXTERNAL_MU signs."""


def default_usage(spec: str) -> str | None:
    """Return the only usage of a spec; None where it has several and one must be chosen."""
    usages = [usage for known, usage in ALGORITHMS if known == spec]
    return usages[0] if len(usages) == 1 else None


def is_asymmetric(spec: str) -> bool:
    """Tell whether keys of this spec have a public half."""
    return not spec.startswith(("SYMMETRIC_", "HMAC_"))


def material_bytes(spec: str) -> int | None:
    """Return the length of a secret key's material in bytes; None for key pairs."""
    return 32 if spec == "SYMMETRIC_DEFAULT" else _MAC_BYTES.get(spec)


def message_types(algorithm: str) -> tuple[str, ...]:
    """Return the message types that a signing algorithm takes."""
    if algorithm in DIGEST_BYTES:
        return ("RAW", "DIGEST")
    return ("RAW", "EXTERNAL_MU") if algorithm == "ML_DSA_SHAKE_256" else ("RAW",)
