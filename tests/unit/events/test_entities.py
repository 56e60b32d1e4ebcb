"""Entities: frozen values, each under one name."""

from typing import Any

import pytest
from tests.unit.events.book import Book

from keyfold.events import entities, facts
from keyfold.events.evolve import evolve


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
        facts.GrantCreated, facts.ProposalCreated,
    ):  # fmt: skip
        with_key.tell(kind)
    with_key.tell(facts.CommandDenied, why={"charges": {"bucket/rate/readers-rate/alice": 1}})
    return with_key


def test_names(full: Book) -> None:
    """Every entity is kept under its kind and what names it; kinds with one entity, and aliases, under that alone."""
    own = {
        "key": "key_id", "principal": "principal", "policy": "policy", "issuer": "issuer", "limit": "limit",
        "grant": "grant", "proposal": "proposal", "sealing-key": "sealing_key",
    }  # fmt: skip
    kinds = set()
    for name, entity in full.view.items():
        kinds.add(entity.kind)
        if entity.kind in own:
            assert name == f"{entity.kind}/{getattr(entity, own[entity.kind])}"
        elif isinstance(entity, entities.Alias | entities.Deployment):
            assert name == (entity.alias if isinstance(entity, entities.Alias) else entities.DEPLOYMENT)
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
    """A key that was stored before budgets and tags could change is read with today's defaults."""
    added = {"usage_budget", "rotate_at_percent"}
    stored = key.model_dump_json(exclude=added)
    assert entities.Key.model_validate_json(stored) == key
