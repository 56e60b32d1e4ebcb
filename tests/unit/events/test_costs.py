"""What items cost: every verb and spec has a weight, larger keys are never cheaper, and a batch holds what fits."""

from typing import Final, get_args

import pytest

from keyfold.events.arguments import MAX_ITEMS
from keyfold.events.costs import BUDGET_US, max_items, weight_us
from keyfold.events.specs import ALGORITHMS, SYMMETRIC_ONLY, USAGE_OF_VERB, KeyPairSpec, KeySpec

PAIRS: Final = ("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext")
BY_SIZE: Final = (
    ("HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512"),
    ("RSA_2048", "RSA_3072", "RSA_4096"),
    ("ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"),
    ("ML_DSA_44", "ML_DSA_65", "ML_DSA_87"),
    ("ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"),
)
"""Specs that differ in size alone, the smallest first."""


def _specs(verb: str) -> set[str]:
    """The specs for which policy asks what the verb costs."""
    if verb in PAIRS:
        return {*get_args(KeyPairSpec)}
    if verb in SYMMETRIC_ONLY:
        return {"SYMMETRIC_DEFAULT"}
    return {spec for spec, usage in ALGORITHMS if usage == USAGE_OF_VERB[verb]}


CASES: Final = [(verb, spec) for verb in sorted(USAGE_OF_VERB) for spec in sorted(_specs(verb))]


def test_the_sizes_are_those_of_all_specs() -> None:
    """Besides, there is one size of symmetric encryption keys and one of Edwards curves."""
    listed = {spec for family in BY_SIZE for spec in family}
    assert listed == {*get_args(KeySpec)} - {"SYMMETRIC_DEFAULT", "ECC_NIST_EDWARDS25519"}


@pytest.mark.parametrize(("verb", "spec"), CASES)
def test_a_batch_is_as_large_as_its_time_allows(verb: str, spec: str) -> None:
    """At least one item, at most what any command may hold, and between them the last that fits."""
    weight, most = weight_us(verb, spec), max_items(verb, spec)
    assert weight > 0
    assert 1 <= most <= MAX_ITEMS
    assert most == 1 or most * weight <= BUDGET_US
    assert most == MAX_ITEMS or (most + 1) * weight > BUDGET_US


@pytest.mark.parametrize(("verb", "spec"), CASES)
def test_one_item_alone_is_within_the_time(verb: str, spec: str) -> None:
    """No single item occupies the worker for longer than a whole record may."""
    assert weight_us(verb, spec) <= BUDGET_US


@pytest.mark.parametrize("verb", sorted(USAGE_OF_VERB))
@pytest.mark.parametrize("family", BY_SIZE, ids=lambda family: family[0])
def test_larger_keys_are_never_cheaper(verb: str, family: tuple[str, ...]) -> None:
    """Nor do more items of them fit into a batch."""
    weights = [weight_us(verb, spec) for spec in family]
    assert weights == sorted(weights)
    fitting = [max_items(verb, spec) for spec in family]
    assert fitting == sorted(fitting, reverse=True)


@pytest.mark.parametrize("spec", sorted(spec for spec, usage in ALGORITHMS if usage == "SIGN_VERIFY"))
def test_the_private_half_is_the_dear_one(spec: str) -> None:
    """Signing costs at least what verifying does."""
    assert weight_us("Sign", spec) >= weight_us("Verify", spec)


def test_symmetric_batches_are_full() -> None:
    """What encrypts data and makes MACs is bounded by the size of a command alone."""
    assert {max_items(verb, spec) for verb, spec in CASES if spec.startswith(("SYMMETRIC", "HMAC"))} == {MAX_ITEMS}
