"""Using a key: spec and usage, algorithms, versions that must not be used, and what a batch may cost."""

from typing import Any

import pytest
from tests.support.office import KEY, Office, office
from tests.support.people import key_on

from keyfold.events import facts
from keyfold.events.costs import BUDGET_US, max_items, weight_us
from keyfold.events.specs import ALGORITHMS
from keyfold.events.times import DAY_MS, to_text

SIGNING = {"signing_algorithm": "ECDSA_SHA_256"}
OTHER = key_on(2, 7000)
OPENERS = 'permit (principal in Group::"openers", action == Action::"UseCompromisedVersion", resource);'
USERS = 'permit (principal, action in [Action::"Decrypt", Action::"Verify", Action::"ReEncryptFrom"], resource);'
ADMINISTRATORS = 'permit (principal in Group::"administrators", action, resource);'


def key_of(spec: str, usage: str | None = None, **arguments: Any) -> Office:
    made = Office()
    assert made.code("CreateKey", arguments={"key_spec": spec, "key_usage": usage, **arguments}) is None
    return made


@pytest.mark.parametrize(("spec", "usage"), sorted(ALGORITHMS))
def test_every_spec_has_the_verbs_of_its_usage_and_no_other(spec: str, usage: str) -> None:
    """A key signs, or encrypts, or makes MACs, or agrees, or encapsulates: never two of these."""
    made = key_of(spec, usage)
    algorithm = ALGORITHMS[spec, usage][0]
    asked = {
        "ENCRYPT_DECRYPT": ("Decrypt", {"encryption_algorithm": algorithm}),
        "SIGN_VERIFY": ("Sign", {"signing_algorithm": algorithm}),
        "GENERATE_VERIFY_MAC": ("GenerateMac", {"mac_algorithm": algorithm}),
        "KEY_AGREEMENT": ("DeriveSharedSecret", {"key_agreement_algorithm": algorithm}),
        "KEY_ENCAPSULATION": ("Decapsulate", {"key_encapsulation_algorithm": algorithm}),
    }
    assert made.code(asked[usage][0], arguments=asked[usage][1]) is None
    defaults = {
        "Decrypt": {}, "Sign": SIGNING, "GenerateMac": {"mac_algorithm": "HMAC_SHA_256"}, "DeriveSharedSecret": {},
        "Decapsulate": {},
    }  # fmt: skip
    for other, (verb, _) in asked.items():
        if other != usage:
            assert made.code(verb, arguments=defaults[verb]) == "InvalidKeyUsage"


@pytest.mark.parametrize(
    ("spec", "usage"),
    [("RSA_2048", None), ("ECC_NIST_P256", None), ("RSA_2048", "KEY_AGREEMENT"), ("HMAC_256", "ENCRYPT_DECRYPT")],
)
def test_a_usage_is_chosen_where_there_are_several(spec: str, usage: str | None) -> None:
    """And it must be one that the spec has."""
    assert Office().code("CreateKey", arguments={"key_spec": spec, "key_usage": usage}) == "InvalidKeyUsage"


def test_only_what_the_token_offers_is_created() -> None:
    """Once capabilities are known, a kind of key that is not among them is refused; before, the worker finds out."""
    made = Office()
    arguments = {"key_spec": "ML_DSA_65", "protection": "HSM"}
    assert made.code("CreateKey", OTHER, arguments=arguments) is None
    offer = facts.Capability(
        key_spec="ML_DSA_65", key_usage="SIGN_VERIFY", protection="SOFTWARE", algorithms=["ML_DSA_SHAKE_256"]
    )
    found = facts.TokenCapabilitiesFound.new(
        "0.1.capabilities", "registry", to_text(made.now_ms), module="SoftHSM 2.6", capabilities=[offer], imports={}
    )
    made.front.state.apply(_evolved(made, found))
    made.registry.update(made.front.state.entities)
    assert made.code("CreateKey", arguments=arguments) == "Unsupported"
    assert made.code("CreateKey", arguments=arguments | {"protection": "SOFTWARE"}) is None


def _evolved(made: Office, event: facts.Event) -> Any:
    from keyfold.events.evolve import evolve

    return evolve(made.front.state.entities, event)


def test_an_algorithm_of_another_curve() -> None:
    """The algorithm must be one of the key's."""
    made = key_of("ECC_NIST_P384", "SIGN_VERIFY")
    assert made.code("Sign", arguments=SIGNING) == "InvalidKeyUsage"


@pytest.mark.parametrize(
    ("spec", "algorithm", "message_type", "code"),
    [
        ("ECC_NIST_P256", "ECDSA_SHA_256", "DIGEST", None),
        ("ECC_NIST_P256", "ECDSA_SHA_256", "EXTERNAL_MU", "InvalidKeyUsage"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "DIGEST", "InvalidKeyUsage"),
        ("ML_DSA_65", "ML_DSA_SHAKE_256", "EXTERNAL_MU", None),
        ("ML_DSA_65", "ML_DSA_SHAKE_256", "DIGEST", "InvalidKeyUsage"),
    ],
)
def test_message_types(spec: str, algorithm: str, message_type: str, code: str | None) -> None:
    """Each algorithm takes what it can sign."""
    made = key_of(spec, "SIGN_VERIFY", protection="SOFTWARE")
    arguments = {"signing_algorithm": algorithm, "message_type": message_type}
    assert made.code("Sign", arguments=arguments) == code
    assert made.code("Verify", arguments=arguments) == code


def test_contexts_are_for_symmetric_encryption() -> None:
    """Where a context could not be bound to the result, none is taken: nobody should rely on it."""
    made = key_of("RSA_2048", "ENCRYPT_DECRYPT")
    arguments = {"encryption_algorithm": "RSAES_OAEP_SHA_256"}
    assert made.code("Encrypt", arguments=arguments, contexts=[{"tenant": "7"}]) == "InvalidCommand"
    assert made.code("Encrypt", arguments=arguments) is None


def test_the_version_that_verifies() -> None:
    """Verify uses the version that it names, or the current one; one that never was is not found."""
    made = key_of("ECC_NIST_P256", "SIGN_VERIFY")
    made.ask("RotateKey")
    for chosen, used in ((None, 2), (1, 1), (2, 2)):
        event = made.ask("Verify", arguments=SIGNING | {"key_version": chosen})
        assert isinstance(event, facts.CommandAuthorized)
        assert event.data.key_version == used
    assert made.code("Verify", arguments=SIGNING | {"key_version": 3}) == "NotFound"
    signed = made.ask("Sign", arguments=SIGNING)
    assert isinstance(signed, facts.CommandAuthorized)
    assert (signed.data.key_version, made.key().version(2).protected_items) == (2, 1)


def test_a_disabled_version_is_refused() -> None:
    """A named one is denied; of ciphertexts, which name theirs, the worker is told which not to use."""
    made = key_of("ECC_NIST_P256", "SIGN_VERIFY")
    made.ask("RotateKey")
    made.ask("DisableKeyVersion", arguments={"version": 1})
    assert made.code("Verify", arguments=SIGNING | {"key_version": 1}) == "KeyVersionUnusable"
    made = office()
    made.ask("RotateKey")
    made.ask("DisableKeyVersion", arguments={"version": 1})
    for verb in ("Decrypt", "ReEncrypt", "ReEncryptFrom"):
        arguments = {"destination_key_id": OTHER.removeprefix("key/")} if verb == "ReEncryptFrom" else {}
        event = made.ask(verb, arguments=arguments)
        assert isinstance(event, facts.CommandAuthorized)
        assert event.data.refused_versions == [1]
    made.ask("EnableKeyVersion", arguments={"version": 1})
    event = made.ask("Decrypt")
    assert isinstance(event, facts.CommandAuthorized)
    assert event.data.refused_versions == []


def test_destroyed_versions_are_not_listed() -> None:
    """What has no blob needs no refusal: a key with many destroyed versions has short authorizations."""
    made = office(development=True)
    for version in range(1, 4):
        made.ask("RotateKey")
        made.ask("DisableKeyVersion", arguments={"version": version})
        if version != 2:
            made.ask("DestroyKeyVersion", arguments={"version": version})
    event = made.ask("Decrypt")
    assert isinstance(event, facts.CommandAuthorized)
    assert event.data.refused_versions == [2]


def compromised() -> Office:
    made = Office(rules=f"{ADMINISTRATORS}\n{USERS}\n{OPENERS}")
    made.register("dave")
    made.register("eve", "openers")
    made.ask("CreateKey")
    made.ask("MarkKeyCompromised", arguments={"occurred_at": to_text(made.now_ms - DAY_MS)})
    return made


def test_a_compromised_version_is_for_those_whom_a_policy_names() -> None:
    """Protection stops at once; others may decrypt with the other versions only; the decision names the policy."""
    made = compromised()
    assert made.code("Encrypt") == "KeyCompromised"
    assert made.code("Decrypt", by="dave") == "KeyCompromised"
    permitted = made.ask("Decrypt", by="eve")
    assert isinstance(permitted, facts.CommandAuthorized)
    assert permitted.data.refused_versions == []
    assert "registry/rules#2" in permitted.data.decision.policies
    made.ask("RotateKey", arguments={"cause": "compromise"})
    assert made.code("Encrypt") is None
    for who, refused in (("dave", [1]), ("eve", [])):
        event = made.ask("Decrypt", by=who)
        assert isinstance(event, facts.CommandAuthorized)
        assert event.data.refused_versions == refused


def test_a_compromised_version_that_is_named() -> None:
    """Verifying with it is denied like opening."""
    made = Office(rules=f"{ADMINISTRATORS}\n{USERS}\n{OPENERS}")
    made.register("dave")
    made.register("eve", "openers")
    made.ask("CreateKey", arguments={"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"})
    made.ask("MarkKeyCompromised", arguments={"occurred_at": to_text(made.now_ms)})
    made.ask("RotateKey", arguments={"cause": "compromise"})
    arguments = SIGNING | {"key_version": 1}
    assert made.code("Verify", by="dave", arguments=arguments) == "KeyCompromised"
    assert made.code("Verify", by="eve", arguments=arguments) is None


@pytest.mark.parametrize("spec", ["RSA_4096", "ECC_NIST_P521", "SYMMETRIC_DEFAULT"])
def test_a_batch_costs_at_most_two_seconds(spec: str) -> None:
    """One item more than fits is `BatchTooExpensive`."""
    verb, arguments = ("Decrypt", {}) if spec == "SYMMETRIC_DEFAULT" else ("Sign", {})
    usage = "ENCRYPT_DECRYPT" if spec == "SYMMETRIC_DEFAULT" else "SIGN_VERIFY"
    if usage == "SIGN_VERIFY":
        arguments = {"signing_algorithm": ALGORITHMS[spec, usage][0]}
    made, most = key_of(spec, usage), max_items(verb, spec)
    assert most * weight_us(verb, spec) <= BUDGET_US
    assert made.code(verb, arguments=arguments, items=most) is None
    assert made.code(verb, arguments=arguments, items=most + 1) == (
        "BatchTooLarge" if most == 1000 else "BatchTooExpensive"
    )


def test_pairs_cost_by_their_own_spec() -> None:
    """The data key of RSA-4096 is the dear one, whatever key encrypts it."""
    made = office()
    for spec, items, code in (("RSA_4096", 1, None), ("RSA_4096", 2, "BatchTooExpensive"), ("ECC_NIST_P256", 50, None)):
        assert made.code("GenerateDataKeyPair", arguments={"key_pair_spec": spec}, items=items) == code


def test_public_keys_are_of_pairs() -> None:
    """A symmetric key has none; an old version's is there while it is not destroyed."""
    assert office().code("GetPublicKey", KEY) == "InvalidKeyUsage"
    made = key_of("ECC_NIST_P256", "SIGN_VERIFY")
    made.ask("RotateKey")
    event = made.ask("GetPublicKey", arguments={"key_version": 1})
    assert isinstance(event, facts.CommandAuthorized)
    assert event.data.key_version == 1
    assert made.code("GetPublicKey", arguments={"key_version": 9}) == "KeyVersionUnusable"
