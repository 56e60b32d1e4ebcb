"""`evolve`: what the token can do, and storage epochs."""

from typing import Any

from tests.unit.events.book import LATER, Book

from keyfold.events import facts
from keyfold.events.entities import CAPABILITIES, Capabilities
from keyfold.events.evolve import get


def test_capabilities(book: Book, world: Any) -> None:
    """What was found last is what is offered; it is no registry revision, as nobody decided it."""
    book.tell(facts.TokenCapabilitiesFound)
    found = get(book.view, CAPABILITIES, Capabilities)
    data: Any = world.event(facts.TokenCapabilitiesFound).data
    assert (found.capabilities, found.module, found.found_at) == (tuple(data.capabilities), data.module, LATER)
    assert found.imports == data.imports
    book.tell(facts.TokenCapabilitiesFound, capabilities=[], imports={})
    assert get(book.view, CAPABILITIES, Capabilities).capabilities == ()
    assert book.deployment().revision == 0


def test_the_first_epoch(book: Book) -> None:
    """A deployment begins in epoch 1, before which nothing ended."""
    deployment = book.deployment()
    assert (deployment.storage_epoch, deployment.storage_epoch_ended, deployment.storage_epoch_end) == (1, 0, None)


def test_an_epoch_turns(book: Book) -> None:
    """A begun epoch is current; the old one has ended when its key is destroyed, by that event."""
    book.tell(facts.StorageEpochBegun, epoch=2)
    assert (book.deployment().storage_epoch, book.deployment().storage_epoch_ended) == (2, 0)
    for partition in range(4):
        assert book.tell(facts.StorageEpochTurned, f"partition/{partition}", partition=partition) == {}
    book.tell(facts.StorageEpochKeyDestroyed, epoch=1)
    deployment = book.deployment()
    assert (deployment.storage_epoch, deployment.storage_epoch_ended, deployment.storage_epoch_end) == (2, 1, "id")


def test_only_the_decision_counts_in_the_registry(book: Book) -> None:
    """Beginning an epoch is a registry revision, since policy decided it; the end of one is the worker's fact."""
    book.tell(facts.StorageEpochBegun, epoch=2)
    assert (book.deployment().revision, book.deployment().policies_revision) == (1, 0)
    book.tell(facts.StorageEpochKeyDestroyed, epoch=1)
    assert book.deployment().revision == 1


def test_the_end_is_read_late(book: Book) -> None:
    """The end of an epoch before or behind the next beginning, or another decision, leaves the same deployment."""
    views = []
    for end in (1, 2, 3):
        other = Book(book.world)
        other.tell(facts.Genesis)
        decided: list[tuple[type[facts.Event], dict[str, Any]]] = [
            (facts.StorageEpochBegun, {"epoch": 2}),
            (facts.LimitPut, {}),
            (facts.StorageEpochBegun, {"epoch": 3}),
        ]
        for number, (kind, data) in enumerate(decided, 1):
            other.tell(kind, **data)
            if number == end:
                other.tell(facts.StorageEpochKeyDestroyed, epoch=1)
        views.append(other.deployment())
    assert views[0] == views[1] == views[2]
    assert (views[0].storage_epoch, views[0].storage_epoch_ended) == (3, 1)
