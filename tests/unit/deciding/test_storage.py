"""Storage epochs: one turn after the other, ended by evidence that names every partition."""

import pytest
from tests.support.office import Office
from tests.support.people import PARTITIONS, START_MS

from keyfold.events import facts
from keyfold.events.evolve import evolve
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text

EVIDENCE = [{"partition": partition, "offset": 9} for partition in range(PARTITIONS)]


def destroyed(made: Office, epoch: int) -> None:
    """The worker's fact that ends a turn."""
    event = facts.StorageEpochKeyDestroyed.new(
        f"0.{epoch}.end", REGISTRY, to_text(START_MS), epoch=epoch, token="kms", serial="1", module="m",
        answer="CKR_OK", found_after=0, evidence={},
    )  # fmt: skip
    made.front.state.apply(evolve(made.front.state.entities, event))
    made.registry.clear()
    made.registry.update(made.front.state.entities)


def ending(made: Office, epoch: int, evidence: object = EVIDENCE) -> str | None:
    return made.code("EndStorageEpoch", REGISTRY, arguments={"epoch": epoch, "evidence": evidence})


def test_one_turn_at_a_time() -> None:
    """The next epoch begins when the key of the one before the current is gone."""
    made = Office()
    event = made.ask("BeginStorageEpoch", REGISTRY)
    assert isinstance(event, facts.StorageEpochBegun)
    assert event.data.epoch == 2
    assert made.code("BeginStorageEpoch", REGISTRY) == "InvalidState"
    assert ending(made, 1) is None
    destroyed(made, 1)
    assert ending(made, 1) == "InvalidState"
    event = made.ask("BeginStorageEpoch", REGISTRY)
    assert isinstance(event, facts.StorageEpochBegun)
    assert event.data.epoch == 3


def test_nothing_ends_that_has_not_begun() -> None:
    """The current epoch stays, and so does one that never was."""
    made = Office()
    assert [ending(made, epoch) for epoch in (1, 2)] == ["InvalidState"] * 2
    made.ask("BeginStorageEpoch", REGISTRY)
    assert [ending(made, epoch) for epoch in (2, 3)] == ["InvalidState"] * 2


@pytest.mark.parametrize(
    "evidence", [EVIDENCE[1:], EVIDENCE[:-1], [*EVIDENCE, EVIDENCE[0]], [EVIDENCE[0]] * PARTITIONS]
)
def test_evidence_names_every_partition_once(evidence: object) -> None:
    """What lies at these places is for the worker to read."""
    made = Office()
    made.ask("BeginStorageEpoch", REGISTRY)
    assert ending(made, 1, evidence) == "InvalidCommand"
