"""Entities: frozen values, each under one name."""

from typing import Any

import pytest

from keyfold.events import entities
from keyfold.events.evolve import evolve
from keyfold.events.facts import Genesis, KeyCreated


@pytest.fixture
def key(world: Any) -> entities.Key:
    """The key of the example."""
    event = world.event(KeyCreated)
    made = evolve({}, event)[event.subject]
    assert isinstance(made, entities.Key)
    return made


def test_names(world: Any, key: entities.Key) -> None:
    """Every entity is kept under the name that `evolve` gives it."""
    for name, entity in {**evolve({}, world.event(Genesis)), world.key_stream: key}.items():
        assert entity is not None
        if not isinstance(entity, entities.SigningKey):
            assert entities.name_of(entity) == name
    alias = entities.Alias(alias="alias/a", key_id=key.key_id, updated_at="")
    sealing = entities.SealingKey(sealing_key=key.key_id, public_key="", published_at="")
    assert entities.name_of(alias) == "alias/a"
    assert entities.name_of(sealing) == f"sealing-key/{key.key_id}"


def test_a_signing_key_has_no_name_of_its_own() -> None:
    """A signing key is kept under its fingerprint, which is not in it."""
    with pytest.raises(TypeError, match="fingerprint"):
        entities.name_of(entities.SigningKey(principal="alice"))


@pytest.mark.parametrize("number", [0, -1, 2])
def test_no_such_version(key: entities.Key, number: int) -> None:
    """A version that does not exist is a KeyError, never another version."""
    with pytest.raises(KeyError):
        key.version(number)


def test_version(key: entities.Key) -> None:
    """Versions are numbered from 1."""
    assert key.version(1) is key.versions[0]


def test_stored_form_round_trips(key: entities.Key) -> None:
    """An entity read back from its JSON is the same value."""
    assert entities.Key.model_validate_json(key.model_dump_json()) == key
