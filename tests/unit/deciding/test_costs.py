"""What batches may cost, asked of policy itself: whatever the client cuts, no record is `BatchTooExpensive`."""

import json
from functools import cache
from typing import Any, Final, get_args

import pytest
from tests.support.forks import fork
from tests.support.office import KEY, Office

from keyfold.client.coalescing import Limits, slices
from keyfold.client.intents import Intent
from keyfold.client.sizes import most_items
from keyfold.events.arguments import MAX_ITEMS
from keyfold.events.costs import max_items
from keyfold.events.specs import ALGORITHMS, SYMMETRIC_ONLY, USAGE_OF_VERB, KeyPairSpec

KEY_ID: Final = KEY.removeprefix("key/")
NAMES: Final = {
    "Encrypt": "encryption_algorithm", "Decrypt": "encryption_algorithm",
    "Sign": "signing_algorithm", "Verify": "signing_algorithm",
    "GenerateMac": "mac_algorithm", "VerifyMac": "mac_algorithm",
    "DeriveSharedSecret": "key_agreement_algorithm",
    "Encapsulate": "key_encapsulation_algorithm", "Decapsulate": "key_encapsulation_algorithm",
}  # fmt: skip
Use = tuple[str, dict[str, Any]]


def _uses(spec: str, usage: str) -> list[Use]:
    """Every verb that keys of this spec and usage have, with everything in its arguments that could change its cost."""
    named = [verb for verb in NAMES if USAGE_OF_VERB[verb] == usage]
    found: list[Use] = [(verb, {NAMES[verb]: each}) for verb in named for each in ALGORITHMS[spec, usage]]
    if spec == "SYMMETRIC_DEFAULT":
        pairs = [verb for verb in SYMMETRIC_ONLY if "KeyPair" in verb]
        found += [(verb, {"key_pair_spec": pair}) for verb in pairs for pair in get_args(KeyPairSpec)]
        found += [("GenerateDataKey", {}), ("GenerateDataKeyWithoutPlaintext", {}), ("ReEncrypt", {})]
        found += [("ReEncryptFrom", {"destination_key_id": KEY_ID}), ("ReEncryptTo", {"source_key_id": KEY_ID})]
    return found


CASES: Final = [
    (spec, usage, *use) for spec, usage in sorted(ALGORITHMS) for use in sorted(_uses(spec, usage), key=str)
]


@cache
def key_of(spec: str, usage: str) -> Office:
    made = Office()
    kind = {"key_spec": spec, "key_usage": usage, "protection": "SOFTWARE"}
    assert made.code("CreateKey", arguments=kind) is None
    return made


def test_every_verb_on_keys_is_asked() -> None:
    """And every spec and usage."""
    assert {verb for _, _, verb, _ in CASES} == set(USAGE_OF_VERB)
    assert {(spec, usage) for spec, usage, _, _ in CASES} == set(ALGORITHMS)


@pytest.mark.parametrize(("spec", "usage", "verb", "arguments"), CASES, ids=str)
def test_what_the_client_cuts_is_never_too_expensive(
    spec: str, usage: str, verb: str, arguments: dict[str, Any]
) -> None:
    """The client, who does not know the spec, cuts a large batch into records; policy takes each of them."""
    made = fork(key_of(spec, usage))
    most = most_items(Intent(verb, KEY_ID, json.dumps(arguments)))
    cut = slices([8] * (MAX_ITEMS + 1), ["{}"] * (MAX_ITEMS + 1), Limits(most, 1_000_000, 1))
    assert sum(len(part) for part in cut) == MAX_ITEMS + 1
    for items in {len(part) for part in cut}:
        assert made.code(verb, arguments=arguments, items=items) is None


@pytest.mark.parametrize(("spec", "usage", "verb", "arguments"), CASES, ids=str)
def test_one_item_more_than_fits_is_refused(spec: str, usage: str, verb: str, arguments: dict[str, Any]) -> None:
    """As too expensive, or as more than any command may hold."""
    made = fork(key_of(spec, usage))
    most = max_items(verb, arguments.get("key_pair_spec", spec))
    assert made.code(verb, arguments=arguments, items=most) is None
    code = "BatchTooLarge" if most == MAX_ITEMS else "BatchTooExpensive"
    assert made.code(verb, arguments=arguments, items=most + 1) == code
