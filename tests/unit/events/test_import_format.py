"""The layout of imported key material: taken apart by length alone, with one refusal."""

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from keyfold.events.errors import InvalidCiphertext
from keyfold.events.import_format import (
    MAX_WRAPPED_BYTES,
    MODULUS_BYTES,
    SEED_BYTES,
    fits,
    longest,
    longest_wrapped,
    split,
    takes,
)
from keyfold.events.specs import ALGORITHMS, material_bytes

KWP, OAEP = "RSA_AES_KEY_WRAP_SHA_256", "RSAES_OAEP_SHA_256"


@pytest.mark.parametrize(("spec", "size"), MODULUS_BYTES.items())
def test_parts_are_told_apart_by_the_modulus(spec: str, size: int) -> None:
    """First the RSA part, then the wrapped material."""
    assert split(KWP, spec, bytes(size) + b"0123456789abcdef") == (bytes(size), b"0123456789abcdef")
    assert split(OAEP, spec, bytes(size)) == (bytes(size), b"")


@pytest.mark.parametrize("tail", [0, 1, 8, 15, 17, 23, MAX_WRAPPED_BYTES])
def test_no_other_length_is_taken(tail: int) -> None:
    """AES-KWP gives multiples of 8 bytes, 16 at least; OAEP alone has nothing after it."""
    with pytest.raises(InvalidCiphertext):
        split(KWP, "RSA_3072", bytes(384 + tail))
    with pytest.raises(InvalidCiphertext):
        split(OAEP, "RSA_3072", bytes(384 + tail + 1))
    for algorithm in (KWP, OAEP):
        with pytest.raises(InvalidCiphertext):
            split(algorithm, "RSA_4096", bytes(511))


def test_oaep_alone_takes_secret_keys_only() -> None:
    """Private keys are too long for it, and seeds are imported the same way as they."""
    specs = {spec for spec, _ in ALGORITHMS}
    assert {spec for spec in specs if takes(KWP, spec)} == specs
    assert {spec for spec in specs if takes(OAEP, spec)} == {
        "SYMMETRIC_DEFAULT", "HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512",
    }  # fmt: skip
    assert not any(takes("RSAES_OAEP_SHA_1", spec) for spec in specs)


def test_seeds_are_as_long_as_the_standards_say() -> None:
    """ξ of ML-DSA has 32 bytes, d ‖ z of ML-KEM 64."""
    assert {size for spec, size in SEED_BYTES.items() if spec.startswith("ML_DSA")} == {32}
    assert {size for spec, size in SEED_BYTES.items() if spec.startswith("ML_KEM")} == {64}


def test_secrets_and_seeds_have_one_length_and_private_keys_a_longest_one() -> None:
    """A byte more is never material of the spec; a byte less only of a key pair that comes as PKCS #8."""
    for spec in {spec for spec, _ in ALGORITHMS} - {"ML_KEM_512"}:
        size, is_encoded = longest(spec), material_bytes(spec) is None and spec not in SEED_BYTES
        assert (fits(spec, size - 1), fits(spec, size), fits(spec, size + 1)) == (is_encoded, True, False)
        assert not fits(spec, 0)
    assert [longest(f"RSA_{bits}") for bits in (2048, 3072, 4096)] == [1300, 1900, 2500]
    assert longest("ML_KEM_512") == 0
    assert not fits("ML_KEM_512", 0)


def test_the_longest_ciphertext_is_that_of_the_longest_material() -> None:
    """AES-KWP (RFC 5649) fills up to 8 bytes and adds 8."""
    for spec in ("SYMMETRIC_DEFAULT", "HMAC_224", "RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519"):
        assert longest_wrapped(spec) == len(aes_key_wrap_with_padding(bytes(32), bytes(longest(spec))))
