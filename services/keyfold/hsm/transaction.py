"""One transaction of a partition, made ready: signed events, keystore records and state, and where it stands after.

Nothing is sent here. What is returned counts only after the commit returned.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from keyfold.bus import Outbound
from keyfold.events import facts, topics
from keyfold.events.chains import Place
from keyfold.events.statements import Entry
from keyfold.hsm.engine import Work
from keyfold.hsm.heads import Heads
from keyfold.log import Author, Staged, StateTopic


@dataclass(frozen=True, slots=True)
class Prepared:
    """The records to commit, and what becomes true with them. `outcomes` of the works lie in `records`."""

    records: list[Outbound]
    heads: Heads
    staged: Staged


def prepare(
    author: Author,
    partition: int,
    state: StateTopic,
    heads: Heads,
    works: Sequence[Work],
    *,
    read_to: tuple[int | None, dict[str, Place]],
) -> Prepared:
    """Sign the works' records in order; `read_to` is the position and the places behind the last ticket."""
    events = [_entry(event) for work in works for event in work.events]
    stored = [_entry(record) for work in works for record in work.stored]
    events_head, event_records = author.records(topics.EVENTS, partition, heads.events, events)
    keystore_head, stored_records = author.records(topics.KEYSTORE, partition, heads.keystore, stored)
    position, places = read_to
    after = replace(heads, position=position, places=places, events=events_head, keystore=keystore_head)
    staged = state.stage({}, after.document())
    return Prepared([*event_records, *stored_records, *staged.records], after, staged)


def _entry(event: facts.Event) -> Entry:
    return Entry(event.subject.encode(), event.to_value())
