"""What items cost: how many of a verb one command may hold, so that no record occupies a worker for more than 2 s.

Weights are upper bounds in microseconds per item, measured on SoftHSM 2.6 and OpenSSL on one core, rounded up. They are
part of the contract between clients, who cut batches, and policy, which refuses larger ones. Pure.
"""

from typing import Final

from keyfold.events.arguments import MAX_ITEMS

BUDGET_US: Final = 2_000_000
_ONE: Final = 100

_PRIVATE: Final = {
    "RSA_2048": 1_500, "RSA_3072": 4_000, "RSA_4096": 8_000,
    "ECC_NIST_P256": 300, "ECC_NIST_P384": 1_500, "ECC_NIST_P521": 1_500, "ECC_NIST_EDWARDS25519": 300,
    "ML_DSA_44": 1_500, "ML_DSA_65": 2_000, "ML_DSA_87": 2_500,
}  # fmt: skip
"""Signing, RSA decryption and key agreement: the private half at work."""

_PUBLIC: Final = {"ECC_NIST_P384": 1_500, "ECC_NIST_P521": 1_500, "ML_DSA_65": 500, "ML_DSA_87": 800}
_PAIR: Final = {"RSA_2048": 200_000, "RSA_3072": 600_000, "RSA_4096": 2_000_000}
_BY_PRIVATE: Final = frozenset({"Sign", "Decrypt", "DeriveSharedSecret"})
_BY_PUBLIC: Final = frozenset({"Verify", "Encrypt"})
_PAIRS: Final = frozenset({"GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"})


def weight_us(verb: str, spec: str) -> int:
    """Return what one item costs. `spec` is the key's; of the verbs that generate key pairs, the pair's."""
    if verb in _PAIRS:
        return _PAIR.get(spec, 1_500)
    if verb in _BY_PRIVATE:
        return _PRIVATE.get(spec, _ONE)
    return _PUBLIC.get(spec, 300) if verb in _BY_PUBLIC and spec in _PRIVATE else _ONE


def max_items(verb: str, spec: str) -> int:
    """Return how many items one command may hold, at least one."""
    return max(1, min(MAX_ITEMS, BUDGET_US // weight_us(verb, spec)))
