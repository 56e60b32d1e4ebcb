"""Entities: frozen values, each under one name."""

from typing import Any

import pytest
from tests.unit.events.book import Book

from keyfold.events import entities, facts
from keyfold.events.evolve import evolve
from keyfold.events.times import to_milliseconds


@pytest.fixture
def key(world: Any) -> entities.Key:
    """The key of the example."""
    event = world.event(facts.KeyCreated)
    made = evolve({}, event)[event.subject]
    assert isinstance(made, entities.Key)
    return made


@pytest.fixture
def full(with_key: Book) -> Book:
    """A deployment with an entity of every kind."""
    for kind in (
        facts.SealingKeyPublished, facts.AliasCreated, facts.PrincipalAuthenticated, facts.IssuerPut, facts.LimitPut,
        facts.GrantCreated, facts.ProposalCreated, facts.TokenCapabilitiesFound, facts.IncidentClosed,
        facts.SuppressionPut,
    ):  # fmt: skip
        with_key.tell(kind)
    with_key.tell(facts.CommandDenied, why={"charges": {"bucket/rate/readers-rate/alice": 1}})
    return with_key


def test_names(full: Book) -> None:
    """Every entity is kept under its kind and what names it; kinds with one entity, and aliases, under that alone."""
    own = {
        "key": "key_id", "principal": "principal", "policy": "policy", "issuer": "issuer", "limit": "limit",
        "grant": "grant", "proposal": "proposal", "sealing-key": "sealing_key",
            "incident": "incident", "suppression": "suppression",
    }  # fmt: skip
    kinds = set()
    for name, entity in full.view.items():
        kinds.add(entity.kind)
        if entity.kind in own:
            assert name == f"{entity.kind}/{getattr(entity, own[entity.kind])}"
        elif isinstance(entity, entities.Alias):
            assert name == entity.alias
        elif entity.kind in {entities.DEPLOYMENT, entities.CAPABILITIES}:
            assert name == entity.kind
        else:
            assert name.startswith(f"{entity.kind}/")
    assert kinds == {kind.model_fields["kind"].default for kind in entities.Entity.__args__}


def test_kinds_tell_entities_apart(full: Book) -> None:
    """An entity read back from its JSON as any of them is the same value, of its own kind."""
    for entity in full.view.values():
        written = entity.model_dump_json()
        fitting = [kind for kind in entities.Entity.__args__ if kind.model_fields["kind"].default == entity.kind]
        assert fitting == [type(entity)]
        assert fitting[0].model_validate_json(written) == entity


def test_frozen(full: Book) -> None:
    """No entity can be changed, so a view can be shared."""
    for entity in full.view.values():
        with pytest.raises(ValueError, match="frozen"):
            entity.kind = "other"  # type: ignore[assignment]


@pytest.mark.parametrize("number", [0, -1, 2])
def test_no_such_version(key: entities.Key, number: int) -> None:
    """A version that does not exist is a KeyError, never another version."""
    with pytest.raises(KeyError):
        key.version(number)


def test_version(key: entities.Key) -> None:
    """Versions are numbered from 1."""
    assert key.version(1) is key.versions[0]


def test_stored_before(key: entities.Key) -> None:
    """A key that was stored before it had a budget, a usage, an origin or a validity is read with today's defaults."""
    of_versions = {"reason", "changed_at", "compromised_at", "occurred_at", "compromise_reason", "material"}
    of_versions |= {"material_offset", "valid_to", "key_check_value", "erased_at"}
    added = {"usage_budget", "rotate_at_percent", "key_usage", "origin", "not_before", "not_after", "changed_at"}
    added |= {"rotation_period_seconds", "rotation_enabled_at", "import_parameters", "importing"}
    stored = key.model_dump_json(exclude={**dict.fromkeys(added, True), "versions": {"__all__": of_versions}})
    assert entities.Key.model_validate_json(stored) == key


@pytest.mark.parametrize(
    ("change", "there"),
    [
        ({}, True),
        ({"status": "Disabled"}, True),
        ({"material": False}, False),
        ({"valid_to": "2026-01-31T12:00:00.001Z"}, True),
        ({"valid_to": "2026-01-31T12:00:00.000Z"}, False),
    ],
    ids=str,
)
def test_material(key: entities.Key, change: dict[str, Any], there: bool) -> None:
    """Material is there until it is deleted or its end has come, to the millisecond, whatever the version's status."""
    version = key.current.model_copy(update=change)
    assert version.has_material(to_milliseconds("2026-01-31T12:00:00.000Z")) is there


def test_compromised(key: entities.Key) -> None:
    """A version is compromised from the moment that it is marked, beside its status."""
    assert not key.current.compromised
    marked = key.current.model_copy(update={"compromised_at": "2026-01-31T12:00:00.000Z"})
    assert (marked.compromised, marked.status) == (True, "Active")


def test_offers(world: Any) -> None:
    """What is offered is found by spec, usage and protection together; what was not found is not offered."""
    found = evolve({}, world.event(facts.TokenCapabilitiesFound))[entities.CAPABILITIES]
    assert isinstance(found, entities.Capabilities)
    edwards = found.offer("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "HSM")
    assert edwards is not None
    assert (edwards.algorithms, edwards.resident) == (["ED25519_SHA_512"], True)
    assert found.offer("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "SOFTWARE") is None
    assert found.offer("ECC_NIST_EDWARDS25519", "KEY_AGREEMENT", "HSM") is None
    assert found.offer("RSA_2048", "SIGN_VERIFY", "HSM") is None
