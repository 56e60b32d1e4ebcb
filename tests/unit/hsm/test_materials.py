"""The compact index: it reads as the plain dictionary of versions that it stands for, and takes few bytes."""

import os
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfold.custody import KeyReference
from keyfold.events.streams import key_id_bytes
from keyfold.hsm.materials import Material, Materials, Versions

KEYS = [f"01234567-89ab-7def-8123-{number:012x}" for number in range(5)]
KINDS: list[tuple[Any, ...]] = [
    ("SYMMETRIC_DEFAULT", "HSM"),
    ("SYMMETRIC_DEFAULT", "SOFTWARE"),
    ("RSA_4096", "HSM", "SIGN_VERIFY"),
]


def material(key_id: str, version: int, kind: tuple[Any, ...], blob: bytes, public_key: bytes | None) -> Material:
    return Material(KeyReference(key_id_bytes(key_id), version, *kind), blob, public_key)


@st.composite
def versions_of(draw: st.DrawFn, key_id: str) -> Versions:
    numbers = draw(st.lists(st.integers(1, 2**32 - 1), max_size=3, unique=True))
    return {
        number: material(
            key_id,
            number,
            draw(st.sampled_from(KINDS)),
            draw(st.binary(max_size=100)),
            draw(st.none() | st.binary(max_size=40)),
        )
        for number in numbers
    }


@given(st.lists(st.sampled_from(KEYS).flatmap(lambda key: st.tuples(st.just(key), versions_of(key))), max_size=20))
@settings(deadline=None, max_examples=150)
def test_it_reads_as_a_dictionary_would(steps: list[tuple[str, Versions]]) -> None:
    """Every version comes back whole: reference, blob and public key; none at all removes the key."""
    materials, model = Materials(), dict[str, Versions]()
    for key_id, versions in steps:
        if versions:
            materials[key_id] = versions
            model[key_id] = versions
        else:
            materials.pop(key_id, None)
            model.pop(key_id, None)
        assert dict(materials) == model
        assert [list(each) for each in materials.values()] == [list(each) for each in model.values()]
        assert (key_id in materials) == (key_id in model)
        assert len(materials) == len(model)
        for number in {*model.get(key_id, {}), *versions, 0, 1, 2**32 - 1}:
            assert materials.find(key_id, number) == model.get(key_id, {}).get(number)


def test_an_unknown_key() -> None:
    """It is not there, under its own name."""
    materials = Materials()
    assert KEYS[0] not in materials
    with pytest.raises(KeyError, match=KEYS[0]):
        materials[KEYS[0]]
    with pytest.raises(KeyError):
        del materials[KEYS[0]]


def test_a_key_takes_few_bytes() -> None:
    """A key with one version is one byte string, little longer than its blob; the names of its kind are shared."""
    materials, blob = Materials(), os.urandom(80)
    for key_id in KEYS:
        materials[key_id] = {1: material(key_id, 1, KINDS[0], blob, None)}
    for name, row in materials._rows.items():
        assert isinstance(row, bytes)
        assert len(name) == 16
        assert sys.getsizeof(row) <= sys.getsizeof(blob) + 8
    assert materials._kinds == [materials[KEYS[0]][1].reference[2:]]
