"""Entities as bytes: what is read is what was stored, however few are kept parsed."""

from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.desk import fresh_registry

from keyfold.events.entities import DEPLOYMENT, Alias, Entity, SigningKey
from keyfold.policy.entities import Entities, to_bytes

TIME = "2026-01-01T00:00:00.000Z"
NAMES = [f"alias/{letter}" for letter in "abcdef"]


def alias(name: str, number: int) -> Alias:
    return Alias(alias=name, key_id=f"01234567-89ab-7def-8123-{number:012x}", updated_at=TIME)


def test_a_bounded_number_is_kept_parsed() -> None:
    """What was asked for lately is the same object; the others are parsed anew, to the same value."""
    entities = Entities({name: to_bytes(alias(name, 1)) for name in NAMES}, most_parsed=2)
    first = entities["alias/a"]
    assert entities["alias/a"] is first
    assert [entities[name] for name in NAMES] == [alias(name, 1) for name in NAMES]
    assert entities["alias/f"] is entities["alias/f"]
    again = entities["alias/a"]
    assert again == first
    assert again is not first


def test_the_use_decides_what_is_kept() -> None:
    """What is asked for again and again stays, whatever else comes."""
    entities = Entities({name: to_bytes(alias(name, 1)) for name in NAMES}, most_parsed=2)
    kept = entities["alias/a"]
    for name in NAMES[1:]:
        assert entities[name].kind == "alias"
        assert entities["alias/a"] is kept


def test_a_registry_is_kept_parsed_wholly() -> None:
    """Where the deployment's own entity is, everything is looked over again and again."""
    stored = {name: to_bytes(entity) for name, entity in fresh_registry().items()}
    assert DEPLOYMENT in stored
    entities = Entities(stored, most_parsed=1)
    first = list(entities.values())
    assert all(one is other for one, other in zip(first, entities.values(), strict=True))
    assert dict(entities) == fresh_registry()


def test_asking_whether_there_is_one_parses_nothing() -> None:
    """Names are known without their entities."""
    entities = Entities({"alias/a": b"not an entity"})
    assert "alias/a" in entities
    assert list(entities) == ["alias/a"]
    assert len(entities) == 1
    assert entities.unreadable is None


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.integers(1, 5)), max_size=40), st.integers(1, 4))
@settings(deadline=None, max_examples=100)
def test_it_reads_as_a_dictionary_would(steps: list[tuple[str, int | None]], most: int) -> None:
    """Whatever is put, replaced and removed, in any order; and its bytes are those of its entities."""
    entities, model = Entities({}, most_parsed=most), dict[str, Entity]()
    for name, number in steps:
        if number is None:
            entities.put(name, None, None)
            model.pop(name, None)
        else:
            made: Entity = alias(name, number) if number % 2 else SigningKey(principal=f"p{number}")
            entities.put(name, made, to_bytes(made))
            model[name] = made
        assert entities == model
        assert entities.get(name) == model.get(name)
        assert list(entities) == list(model)
    assert {name: entities.stored(name) for name in entities} == {name: to_bytes(each) for name, each in model.items()}


def test_every_kind_of_entity_is_read_by_its_kind() -> None:
    """Each has a kind of its own, so that reading one tries one model and no other."""
    kinds = [kind.model_fields["kind"].default for kind in get_args(Entity)]
    assert len(set(kinds)) == len(kinds)
    for kind, model in zip(kinds, get_args(Entity), strict=True):
        assert get_args(model.model_fields["kind"].annotation) == (kind,)
