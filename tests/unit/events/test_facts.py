"""Events: a closed vocabulary of immutable facts."""

import json
from collections.abc import Callable
from hashlib import sha256
from types import ModuleType
from typing import Any

import pytest

from keyfold.events import (
    commands,
    event,
    facts,
    governance,
    incident_facts,
    key_life,
    keystore,
    outcomes,
    root,
    storage,
    topics,
)
from keyfold.events.errors import InvalidCommand, UnsupportedVersion
from keyfold.events.signatures import Verifier, command_message_of_digest

NAMES = [model.type_name for model in facts.EVENT_TYPES]
VARIANTS = [
    "CommandAuthorized as proposed, under a grant and a limit",
    "KeyDestroyed by a proposal",
    "ProposalApproved for a use",
    "ProposalApproved in vain",
    "GrantCreated under a parent",
    "PrincipalRegistered with ML-DSA-65",
    "CommandAuthorized with refused versions",
    "CommandAuthorized to import",
    "KeyCreated for signatures",
    "KeyRotated to be imported",
    "KeyMaterialGenerated of a key pair",
    "OperationFailed to import",
    "KeyMaterialStored of a key pair",
    "KeyMaterialStored of imported material",
    "KeyMaterialErased of deleted material",
    "ServiceKeyCertified of a notary",
]


MODULES = (facts, governance, incident_facts, key_life, keystore, outcomes, root, storage)


@pytest.fixture(params=NAMES + VARIANTS)
def case(request: pytest.FixtureRequest, vectors: Callable[[str], Any]) -> dict[str, Any]:
    """The golden vector of each event type, and of each variant."""
    golden = vectors("events")
    found: dict[str, Any] = (golden["cases"] | golden["variants"])[request.param]
    return found


def test_vocabulary_is_closed(vectors: Callable[[str], Any]) -> None:
    """Every concrete event class is listed once, has one type name, and a golden vector."""

    def concrete(root: type[facts.Event]) -> set[type[facts.Event]]:
        own = {root} if "type_name" in root.__dict__ else set()
        return own.union(*(concrete(child) for child in root.__subclasses__()))

    ours = {module.__name__ for module in MODULES}
    listed = {kind for kind in concrete(facts.Event) if kind.__module__ in ours}
    assert listed == set(facts.EVENT_TYPES)
    assert len(set(NAMES)) == len(NAMES)
    assert dict(zip(NAMES, facts.EVENT_TYPES, strict=True)) == facts.BY_TYPE
    assert list(vectors("events")["cases"]) == NAMES
    assert list(vectors("events")["variants"]) == VARIANTS


@pytest.mark.parametrize("module", [event, *MODULES[1:]], ids=lambda module: module.__name__)
def test_facts_is_the_whole_vocabulary(module: ModuleType) -> None:
    """What other modules define of the vocabulary is exported by `facts`, the same class under the same name."""
    own = {
        name: kind
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, facts.Event) and kind.__module__ == module.__name__
    }
    assert own
    assert {name: getattr(facts, name) for name in own} == own
    assert set(own) <= set(facts.__all__)
    assert facts.__all__ == sorted(facts.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


def test_names_are_versioned() -> None:
    """Every type name is in the project's name space and ends with its version."""
    for name in NAMES:
        parts = name.split(".")
        assert parts[0] == "keyfold"
        assert parts[-1] == "v1"


def test_who_writes_what() -> None:
    """The author of every type is among the writers of its topic."""
    writers = {topic.name: topic.writers for topic in topics.TOPICS}
    for model in facts.EVENT_TYPES:
        assert model.role in writers[model.topic]


def test_golden(case: dict[str, Any]) -> None:
    """The recorded bytes parse to their event, which gives the same bytes again."""
    value = case["value"].encode()
    event = facts.parse_event(value)
    assert event.to_value() == value
    assert facts.parse_event(event.to_value()) == event
    assert (event.role, event.topic, event.source) == (case["role"], case["topic"], f"keyfold/{case['role']}")


def test_every_field_counts(case: dict[str, Any]) -> None:
    """A field of data that is missing, or one too many anywhere, makes an event unreadable."""
    document = json.loads(case["value"])
    for name in list(document["data"]):
        if facts.BY_TYPE[document["type"]].model_fields["data"].annotation.model_fields[name].is_required():  # type: ignore[union-attr]
            data = {key: value for key, value in document["data"].items() if key != name}
            with pytest.raises(InvalidCommand):
                facts.parse_event(json.dumps({**document, "data": data}).encode())
    for bad in ({**document, "more": 1}, {**document, "data": {**document["data"], "more": 1}}):
        with pytest.raises(InvalidCommand):
            facts.parse_event(json.dumps(bad).encode())


@pytest.mark.parametrize("name", ["id", "source", "subject", "time", "data"])
def test_every_attribute_counts(case: dict[str, Any], name: str) -> None:
    """An attribute that is missing or of another type makes an event unreadable."""
    document = json.loads(case["value"])
    del document[name]
    for bad in (document, {**document, name: 1}):
        with pytest.raises(InvalidCommand):
            facts.parse_event(json.dumps(bad).encode())


def test_immutable(case: dict[str, Any]) -> None:
    """A fact cannot be changed."""
    event = facts.parse_event(case["value"].encode())
    with pytest.raises(ValueError, match="frozen"):
        event.time = "2027-01-01T00:00:00.000Z"  # type: ignore[misc]


@pytest.mark.parametrize(
    "value", [b"{}", b'{"type":7}', b'{"type":"keyfold.key.used.v2"}', b'{"type":"keyfold.command.Encrypt.v1"}']
)
def test_unknown_type(value: bytes) -> None:
    """A type that is not in the vocabulary is told apart from a malformed event."""
    with pytest.raises(UnsupportedVersion):
        facts.parse_event(value)


def test_decisions_can_be_checked(examples: Any) -> None:
    """Every decision holds its command's exact bytes, which its principal's signature covers."""
    for fact in (*examples.events(), *examples.event_variants().values()):
        if isinstance(fact, facts.PolicyEvent):
            decision = fact.data.decision
            assert sha256(decision.command.encode()).hexdigest() == decision.command_digest
            verify(examples, decision)


def test_executed_proposals_can_be_checked(examples: Any) -> None:
    """A decision that carries a proposal out holds the proposing command too, as its author signed it."""
    decided = [fact.data.decision for fact in examples.event_variants().values() if isinstance(fact, facts.PolicyEvent)]
    carried = [decision for decision in decided if decision.proposal]
    assert len(carried) == 2
    for decision in carried:
        proposing = verify(examples, decision.proposal)
        assert isinstance(proposing, commands.ProposeCommand)
        assert decision.proposal.proposal == proposing.id
        assert proposing.data.principal not in decision.proposal.approvers


def verify(examples: Any, signed: facts.Decision | facts.ProposalUse) -> commands.AnyCommand:
    """Check a command that an event holds, and return it."""
    value = signed.command.encode()
    command = commands.parse_command(value)
    body_digest = bytes.fromhex(signed.body_digest)
    message = command_message_of_digest(examples.DEPLOYMENT, command.subject.encode(), value, body_digest)
    signer = examples.signer(command.data.principal)
    assert command.data.signing_key == signer.fingerprint
    Verifier(signer.public_key).verify(bytes.fromhex(signed.signature), message)
    return command


def test_decisions_have_defaults(examples: Any) -> None:
    """What a decision need not say is empty, so that events from before are read; what is written says all."""
    plain = examples.decision("Encrypt")
    assert (plain.grant, plain.charges, plain.proposal) == (None, {}, None)
    needed = {name: value for name, value in plain.model_dump().items() if name not in {"registry_n", "root_n"}}
    for name in ("grant", "charges", "proposal"):
        del needed[name]
    read = facts.Decision.model_validate(needed)
    assert (read.registry_n, read.root_n) == (0, 0)
    assert set(json.loads(read.model_dump_json())) == set(facts.Decision.model_fields)


def test_new_fills_the_attributes(examples: Any) -> None:
    """An event is built from its data; type and source follow from the class."""
    event = facts.SealingKeyErased.new("id", "registry", examples.TIME, sealing_key=examples.SEALING_KEY)
    assert isinstance(event, facts.SealingKeyErased)
    assert (event.type, event.source) == ("keyfold.sealing-key.erased.v1", "keyfold/hsm")
    with pytest.raises(ValueError, match="sealing_key"):
        facts.SealingKeyErased.new("id", "registry", examples.TIME, sealing_key="x")


def test_no_secret_has_a_place() -> None:
    """No event has a field for plaintext or ciphertext: fields are whitelisted."""
    banned = {"plaintext", "ciphertext", "secret", "pin", "reply_key", "items_data", "body"}
    for model in facts.EVENT_TYPES:
        data = model.model_fields["data"].annotation
        assert data is not None
        assert not banned & set(data.model_fields)
