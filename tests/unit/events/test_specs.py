"""Key specs: one table of what keys there are and by which algorithms they are used."""

from typing import Any, get_args

import pytest

from keyfold.events import commands, specs
from keyfold.events.commands import BY_VERB
from keyfold.events.evolve import PROTECTING

SPECS, USAGES = get_args(specs.KeySpec), get_args(specs.KeyUsage)
PAIRS = list(specs.ALGORITHMS)
ALGORITHM_TYPES: dict[str, Any] = {
    "ENCRYPT_DECRYPT": specs.EncryptionAlgorithm,
    "SIGN_VERIFY": specs.SigningAlgorithm,
    "GENERATE_VERIFY_MAC": specs.MacAlgorithm,
    "KEY_AGREEMENT": specs.KeyAgreementAlgorithm,
    "KEY_ENCAPSULATION": specs.KeyEncapsulationAlgorithm,
}


def test_the_table_is_whole() -> None:
    """Every spec has a usage, every usage a spec, every algorithm a key; and nothing else is in the table."""
    assert {spec for spec, _ in PAIRS} == set(SPECS)
    assert {usage for _, usage in PAIRS} == set(USAGES) == set(ALGORITHM_TYPES)
    for usage, kind in ALGORITHM_TYPES.items():
        found = {name for (_, own), names in specs.ALGORITHMS.items() if own == usage for name in names}
        assert found == set(get_args(kind)), usage


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_usage_has_algorithms(pair: tuple[str, str]) -> None:
    """A pair of spec and usage that exists can be used by some algorithm, named once."""
    algorithms = specs.ALGORITHMS[pair]
    assert algorithms
    assert len(set(algorithms)) == len(algorithms)


@pytest.mark.parametrize(
    ("spec", "usages"),
    [
        ("SYMMETRIC_DEFAULT", {"ENCRYPT_DECRYPT"}),
        ("HMAC_224", {"GENERATE_VERIFY_MAC"}),
        ("RSA_2048", {"ENCRYPT_DECRYPT", "SIGN_VERIFY"}),
        ("ECC_NIST_P256", {"SIGN_VERIFY", "KEY_AGREEMENT"}),
        ("ECC_NIST_EDWARDS25519", {"SIGN_VERIFY"}),
        ("ML_DSA_65", {"SIGN_VERIFY"}),
        ("ML_KEM_768", {"KEY_ENCAPSULATION"}),
    ],
)
def test_usages(spec: str, usages: set[str]) -> None:
    """The usages of a spec; where there is one it need not be chosen."""
    assert {usage for known, usage in PAIRS if known == spec} == usages
    assert specs.default_usage(spec) == (usages.pop() if len(usages) == 1 else None)


def test_unknown_specs_have_no_usage() -> None:
    """What is no spec has no usage."""
    assert specs.default_usage("RSA_1024") is None


@pytest.mark.parametrize(
    ("spec", "usage", "algorithms"),
    [
        ("HMAC_384", "GENERATE_VERIFY_MAC", ("HMAC_SHA_384",)),
        ("ECC_NIST_P521", "SIGN_VERIFY", ("ECDSA_SHA_512",)),
        ("ECC_NIST_P384", "KEY_AGREEMENT", ("ECDH",)),
        ("RSA_4096", "ENCRYPT_DECRYPT", ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")),
        ("ML_DSA_87", "SIGN_VERIFY", ("ML_DSA_SHAKE_256",)),
    ],
)
def test_algorithms(spec: str, usage: str, algorithms: tuple[str, ...]) -> None:
    """Names are those of AWS KMS, with the hash that belongs to a curve or a MAC key."""
    assert specs.ALGORITHMS[spec, usage] == algorithms


def test_verbs_of_usages() -> None:
    """Every verb that uses a key on items needs one usage; verbs of the table are commands."""
    uses = {model.verb for model in commands.COMMANDS if model.data_plane and model.scope == "key"}
    assert set(specs.USAGE_OF_VERB) == uses - {"ImportKeyMaterial"}
    assert set(specs.USAGE_OF_VERB.values()) == set(USAGES)
    assert set(specs.USAGE_OF_VERB) >= PROTECTING
    assert {verb for verb in specs.SYMMETRIC_ONLY if specs.USAGE_OF_VERB[verb] != "ENCRYPT_DECRYPT"} == set()


@pytest.mark.parametrize("verb", sorted(set(specs.USAGE_OF_VERB) - specs.SYMMETRIC_ONLY))
def test_verbs_take_their_usages_algorithms(verb: str) -> None:
    """A verb takes every algorithm of its usage, and no other."""
    arguments = BY_VERB[verb].model_fields["data"].annotation.model_fields["arguments"].annotation  # type: ignore[union-attr]
    assert arguments is not None
    (field,) = [name for name in arguments.model_fields if name.endswith("_algorithm")]
    taken = arguments.model_fields[field].annotation
    assert set(get_args(taken)) == set(get_args(ALGORITHM_TYPES[specs.USAGE_OF_VERB[verb]]))


def test_protecting_verbs_and_their_opposites() -> None:
    """What applies protection is counted and needs the current version; what takes it off or checks it is not."""
    opening = {"Decrypt", "Verify", "VerifyMac", "Decapsulate", "DeriveSharedSecret", "ReEncryptFrom"}
    assert set(specs.USAGE_OF_VERB) == PROTECTING | opening
    assert not PROTECTING & opening


def test_asymmetric() -> None:
    """Key pairs have a public half; keys that can be data key pairs are among them."""
    secret = {"SYMMETRIC_DEFAULT", "HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512"}
    assert {spec for spec in SPECS if not specs.is_asymmetric(spec)} == secret
    assert all(specs.is_asymmetric(spec) for spec in get_args(specs.KeyPairSpec))
    assert set(get_args(specs.KeyPairSpec)) < set(SPECS)


@pytest.mark.parametrize("spec", SPECS)
def test_material_bytes(spec: str) -> None:
    """A secret key is as long as its hash (224 bits: 28 bytes) or an AES-256 key; key pairs have no fixed length."""
    bits = {"SYMMETRIC_DEFAULT": 256} | {f"HMAC_{size}": size for size in (224, 256, 384, 512)}
    assert specs.material_bytes(spec) == (bits[spec] // 8 if spec in bits else None)
    assert (specs.material_bytes(spec) is None) == specs.is_asymmetric(spec)


@pytest.mark.parametrize("algorithm", get_args(specs.SigningAlgorithm))
def test_message_types(algorithm: str) -> None:
    """All algorithms sign messages; RSA and ECDSA a digest of their hash, ML-DSA a representative, Ed25519 no other."""
    types = specs.message_types(algorithm)
    assert types[0] == "RAW"
    assert set(types) <= set(get_args(specs.MessageType))
    assert ("DIGEST" in types) == (algorithm in specs.DIGEST_BYTES) == algorithm.startswith(("RSASSA_", "ECDSA_"))
    assert ("EXTERNAL_MU" in types) == algorithm.startswith("ML_DSA_")
    if algorithm in specs.DIGEST_BYTES:
        assert specs.DIGEST_BYTES[algorithm] * 8 == int(algorithm.rpartition("_")[2])
