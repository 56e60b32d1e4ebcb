"""`evolve` over the whole vocabulary: total, a function, and blind to what an event is not about."""

import json
import runpy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyfold.events import facts
from keyfold.events.entities import Entity
from keyfold.events.errors import InvalidCommand
from keyfold.events.evolve import evolve

EXAMPLES = runpy.run_path(str(Path(__file__).resolve().parents[1] / "vectors" / "examples.py"))
EVENTS: list[facts.Event] = [*EXAMPLES["events"](), *EXAMPLES["event_variants"]().values()]
BY_KIND = {type(event): event for event in reversed(EVENTS)}
GENESIS = BY_KIND[facts.Genesis]
OTHER_USE = EXAMPLES["command_id"]("ProposeCommand of a use")
# What is swapped for what, so that events are about the same things, about others, or about both.
SWAPS = [
    (EXAMPLES["KEY_ID"], "0193f3a0-7c00-7000-8000-0000000000fa"),
    (EXAMPLES["command_id"]("CreateGrant"), "0193f3a0-7c00-7000-8000-0000000000fb"),
    (EXAMPLES["command_id"]("ProposeCommand"), OTHER_USE),
    (EXAMPLES["SEALING_KEY"], EXAMPLES["OLD_SEALING_KEY"]),
    ('"bob"', '"dave"'),
    ('"acme"', '"other"'),
    ('"readers-rate"', '"writers-rate"'),
    ('"readers-use"', '"administrators"'),
    ("alias/orders", "alias/bills"),
    ('"version":2', '"version":3'),
    ('"subject":"registry"', f'"subject":"key/{EXAMPLES["KEY_ID"]}"'),
    (EXAMPLES["TIME"], "2026-03-31T12:00:00.000Z"),
    ('"origin":"KEYFOLD"', '"origin":"EXTERNAL"'),
    ('"version":1', '"version":2'),
    ('"versions":[1', '"versions":[2'),
    ('"epoch":2', '"epoch":3'),
    ('"offset":41', '"offset":42'),
]


def swapped(event: facts.Event, *swaps: tuple[str, str]) -> facts.Event:
    """Return an event about other things, with the same command. Raises `InvalidCommand` where that makes none."""
    document = json.loads(event.to_value())
    command = document["data"].get("decision", {}).pop("command", None)
    text = json.dumps(document, separators=(",", ":"))
    for old, new in swaps:
        text = text.replace(old, new)
    document = json.loads(text)
    if command is not None:
        document["data"]["decision"]["command"] = command
    return facts.parse_event(json.dumps(document).encode())


# What the examples of all other events are about, in an order in which it can happen.
BASIS = [
    swapped(BY_KIND[facts.SealingKeyPublished], (EXAMPLES["SEALING_KEY"], EXAMPLES["OLD_SEALING_KEY"])),
    *(
        BY_KIND[kind]
        for kind in (
            facts.SealingKeyPublished, facts.PrincipalRegistered, facts.SigningKeyAdded, facts.PrincipalAuthenticated,
            facts.IssuerPut, facts.LimitPut, facts.KeyCreated, facts.GrantCreated, facts.ProposalCreated,
            facts.TokenCapabilitiesFound, facts.StorageEpochBegun, facts.IncidentAcknowledged, facts.SuppressionPut,
        )
    ),
    swapped(BY_KIND[facts.ImportParametersIssued], ('"version":2', '"version":1')),
    swapped(BY_KIND[facts.ProposalCreated], (EXAMPLES["command_id"]("ProposeCommand"), OTHER_USE)),
    BY_KIND[facts.KeyRotated],
]  # fmt: skip


@st.composite
def altered(draw: st.DrawFn) -> facts.Event:
    """An example, or one about other things, at another time or on another stream."""
    event = draw(st.sampled_from(EVENTS))
    try:
        return swapped(event, *draw(st.lists(st.sampled_from(SWAPS), max_size=3)))
    except InvalidCommand:  # a swap that makes no event
        return event


@st.composite
def histories(draw: st.DrawFn) -> list[facts.Event]:
    """Some of what examples are about, then anything."""
    left_out = draw(st.sets(st.sampled_from(range(len(BASIS))), max_size=4))
    return [event for i, event in enumerate(BASIS) if i not in left_out] + draw(st.lists(altered(), max_size=8))


def fold(events: list[facts.Event]) -> dict[str, Entity]:
    """Fold what can follow, and leave the rest out."""
    view: dict[str, Entity] = {}
    for event in [GENESIS, *events]:
        try:
            changes = evolve(view, event)
        except KeyError:
            continue
        for name, entity in changes.items():
            if entity is None:
                view.pop(name, None)
            else:
                view[name] = entity
    return view


class Watched(Mapping[str, Entity]):
    """A view that remembers what was asked for, and cannot be walked through."""

    def __init__(self, view: Mapping[str, Entity]) -> None:
        self.view, self.asked = view, set[str]()

    def __getitem__(self, name: str) -> Entity:
        self.asked.add(name)
        return self.view[name]

    def __iter__(self) -> Iterator[str]:
        self._refuse()

    def __len__(self) -> int:  # noqa: PLE0303
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise AssertionError("a view may be incomplete: nothing may depend on all that is in it")


@given(histories(), altered())
@settings(max_examples=150, deadline=None)
def test_total(history: list[facts.Event], event: facts.Event) -> None:
    """Every event gives changes or, where it cannot follow, a KeyError; the view it was given stays as it is."""
    view = fold(history)
    before = dict(view)
    try:
        changes = evolve(view, event)
    except KeyError:
        changes = None
    assert view == before
    if changes is None:
        with pytest.raises(KeyError):
            evolve(view, event)
        return
    assert evolve(view, event) == changes
    assert all(isinstance(entity, Entity | None) for entity in changes.values())
    for name, entity in changes.items():
        assert entity is None or type(entity).model_validate_json(entity.model_dump_json()) == entity, name


@given(histories(), histories(), altered())
@settings(max_examples=150, deadline=None)
def test_blind_to_the_unrelated(history: list[facts.Event], others: list[facts.Event], event: facts.Event) -> None:
    """What an event changes follows from the entities that it asks for by name: no other can make a difference."""
    view = Watched(fold(history))
    try:
        changes: Any = evolve(view, event)
    except KeyError:
        changes = KeyError
    asked = {name: entity for name, entity in view.view.items() if name in view.asked}
    unrelated = {name: entity for name, entity in fold(others).items() if name not in view.asked}
    for same in (asked, {**unrelated, **asked}):
        if changes is KeyError:
            with pytest.raises(KeyError):
                evolve(same, event)
        else:
            assert evolve(same, event) == changes


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_type_is_folded(event: facts.Event) -> None:
    """Told after everything that it is about, every event of the vocabulary can follow."""
    evolve(fold(BASIS[:-1] if isinstance(event, facts.KeyRotated) else BASIS), event)
