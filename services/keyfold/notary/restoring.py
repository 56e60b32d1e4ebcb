"""What a notary goes on from when it takes over: the state, published checkpoints and the token.

The state is a place to read on from, and nothing else. What was signed is what the token and the checkpoints topic say;
whichever of the three was turned back, the log must lead to the largest head of all of them before anything is signed.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from keyfold.bus import Bus, Inbound
from keyfold.events import topics
from keyfold.events.checkpoints import Checkpoint, log_keys, open_checkpoint, partition_of_origin
from keyfold.events.notes import NoteInvalid
from keyfold.events.trust import Trust
from keyfold.log import StateCorrupt, StateTopic
from keyfold.logging import get_logger
from keyfold.notary.position import Expected, Position, Restored, parse_position
from keyfold.notary.publishing import Committed, record_of
from keyfold.notary.token import Head, Heads

_log = get_logger()
_Published = Mapping[int, Collection[Head]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What was found: the live sum of the state topic, the last transaction, and each partition's place.

    `trust` is what it was judged with.
    """

    state: StateTopic
    committed: Committed
    partitions: Mapping[int, Restored]
    trust: Trust


async def restore(
    bus: Bus, trust: Trust, state: StateTopic, kept: Callable[[], Awaitable[Heads]], *, deployment: str, partitions: int
) -> Taken:
    """Read state, checkpoints and the token's heads (`kept`). To be called when the writer has started and is settled.

    Raises `StateCorrupt`, `HeadsUnusable`, and what bus and token raise.
    """
    reader = bus.reader(topics.NOTARY_STATE, 0, committed=True)
    try:
        found = await state.restore(reader, trust)
    finally:
        await reader.stop()
    last, since = _last(found.head)
    published, end = await _published(bus, trust, deployment, since)
    heads = await kept()
    restored = {
        partition: _partition(partition, found.records.get(record_of(partition)), published, heads, trust)
        for partition in range(partitions)
    }
    largest = {p: known.expected.largest for p, known in restored.items()}
    heads = Heads(heads.counter, {p: head for p, head in largest.items() if head is not None})
    return Taken(state, Committed(last, heads, end, since), restored, trust)


def _last(head: Mapping[str, Any] | None) -> tuple[int, int]:
    """Return the last round, and from where on checkpoints may be its own or later."""
    if head is None:
        return 0, 0
    try:
        return int(head["round"]), int(head["checkpoints"])
    except (KeyError, TypeError, ValueError):
        raise StateCorrupt("the head of the notary's state does not parse") from None


async def _published(bus: Bus, trust: Trust, deployment: str, since: int) -> tuple[_Published, int]:
    """Return the largest heads that were published from an offset on, and where the topic ends."""
    found: dict[int, set[Head]] = {}
    reader = bus.reader(topics.CHECKPOINTS, 0, committed=True)
    try:
        await reader.start(since)
        async for batch in reader.read_to_end():
            for record in batch:
                checkpoint = _checkpoint(record, trust, deployment)
                if checkpoint is None:
                    continue
                heads = found.setdefault(partition_of_origin(deployment, checkpoint.origin), set())
                if checkpoint.size > max(heads, default=(0, b""))[0]:
                    heads.clear()
                if checkpoint.size >= max(heads, default=(0, b""))[0]:
                    # Two roots of one size cannot both be found again: the partition stops, whichever is right.
                    heads.add((checkpoint.size, checkpoint.root))
        return found, reader.position()
    finally:
        await reader.stop()


def _checkpoint(record: Inbound, trust: Trust, deployment: str) -> Checkpoint | None:
    """Return a record's checkpoint; None for what is not signed by this log's keys: somebody else's, reported."""
    origin = (record.key or b"").decode("utf-8", "replace")
    try:
        partition_of_origin(deployment, origin)
        checkpoint = open_checkpoint(record.value or b"", log_keys(trust, origin)).checkpoint
    except NoteInvalid as error:
        _log.error("checkpoint-not-ours", offset=record.offset, reason=str(error))
        return None
    return checkpoint if checkpoint.origin == origin else None


def _partition(partition: int, stored: bytes | None, published: _Published, heads: Heads, trust: Trust) -> Restored:
    position = Position() if stored is None else parse_position(stored)
    known = max(position.signed, default=(0, b""))[0]
    signed = {*position.signed, *published.get(partition, ())}
    kept = {heads.heads[partition]} if partition in heads.heads else set()
    expected = Expected(max(signed, default=(0, b""))[0], tuple(signed | kept))
    if known < expected.published:
        _log.error("state-behind", partition=partition, size=known, published=expected.published)
    if max(kept, default=(0, b""))[0] < expected.published:
        # It was exchanged for an older copy. What was published binds all the same, and is kept again.
        _log.error("token-behind", partition=partition, published=expected.published)
    if position.is_outdated(partition, trust):
        # What was believed of authors does not count any more. The tree does not depend on it; it is built anew.
        _log.warning("partition-read-anew", partition=partition)
        position = Position()
    # Where it takes more than one round to reach them, the state must say of them until then.
    return Restored(replace(position, signed=tuple(sorted(signed))), expected, stored)
