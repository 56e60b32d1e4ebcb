"""How many items a record holds: never more than policy takes, whatever the key's spec turns out to be."""

import asyncio
import json
from typing import Any

import pytest

from keyfold.client import Keyfold, Signature
from keyfold.client.intents import Intent
from keyfold.client.sizes import most_items
from keyfold.events.commands import algorithm_of
from keyfold.events.costs import max_items
from keyfold.events.specs import ALGORITHMS, USAGE_OF_VERB

NAMES = {
    "Encrypt": "encryption_algorithm", "Decrypt": "encryption_algorithm",
    "Sign": "signing_algorithm", "Verify": "signing_algorithm",
    "GenerateMac": "mac_algorithm", "VerifyMac": "mac_algorithm",
    "DeriveSharedSecret": "key_agreement_algorithm",
    "Encapsulate": "key_encapsulation_algorithm", "Decapsulate": "key_encapsulation_algorithm",
}  # fmt: skip


@pytest.mark.parametrize("verb", sorted(NAMES))
def test_a_record_fits_every_key_that_has_the_algorithm(verb: str) -> None:
    """And is as large as the most expensive of them allows."""
    for algorithm in {name for pair, names in ALGORITHMS.items() if pair[1] == USAGE_OF_VERB[verb] for name in names}:
        specs = [spec for (spec, usage), names in ALGORITHMS.items() if algorithm in names]
        bound = most_items(Intent(verb, "key/k", json.dumps({NAMES[verb]: algorithm})))
        assert bound == min(max_items(verb, spec) for spec in specs)


@pytest.mark.parametrize(
    ("verb", "arguments", "expected"),
    [
        ("Encrypt", {}, 1000),
        ("Decrypt", {}, 1000),
        ("ReEncrypt", {"destination": [1, 1]}, 1000),
        ("ReEncryptFrom", {"destination_key_id": "x"}, 1000),
        ("GenerateDataKey", {"number_of_bytes": 32}, 1000),
        ("GenerateRandom", {"number_of_bytes": 32}, 1000),
        ("ImportKeyMaterial", {"import_token": "x"}, 1000),
        ("GenerateDataKeyPair", {"key_pair_spec": "RSA_4096"}, 1),
        ("GenerateDataKeyPair", {"key_pair_spec": "RSA_2048"}, 10),
        ("Decrypt", {"encryption_algorithm": "RSAES_OAEP_SHA_256", "key_version": 3}, 250),
    ],
)
def test_bounds_of_a_verb(verb: str, arguments: dict[str, Any], expected: int) -> None:
    """Symmetric keys are cheap; key pairs are made a few at a time."""
    assert most_items(Intent(verb, "key/k", json.dumps(arguments))) == expected


async def test_batches_and_single_calls_are_cut_to_it(kms: Keyfold, deployment: Any) -> None:
    """Policy's own bound is asked of each record that was sent."""
    key = (await kms.create_key()).key_id
    deployment.held.specs[key] = "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"
    assert len(await kms.generate_data_key_pair_batch(key, "ECC_NIST_EDWARDS25519", 5)) == 5
    signer = (await kms.create_key(key_spec="RSA_2048", key_usage="SIGN_VERIFY")).key_id
    how: Any = {"signing_algorithm": "RSASSA_PSS_SHA_256"}
    made = await kms.sign_batch(signer, [b"x"] * 300, **how)
    assert [got.data.items for got in deployment.received[-2:]] == [250, 50]
    await asyncio.gather(*(kms.sign(signer, b"%d" % n, **how) for n in range(256)))
    assert [got.data.items for got in deployment.received[-2:]] == [250, 6]
    pairs = [(b"x", one.signature) for one in made if isinstance(one, Signature)]
    assert all(await asyncio.gather(*(kms.verify(signer, *pair, **how) for pair in pairs)))
    for got in deployment.received:
        if got.command.data_plane:
            spec, _ = deployment.held.specs[got.command.subject.removeprefix("key/")]
            assert got.data.items <= max_items(got.command.verb, spec)
            assert algorithm_of(got.command)
