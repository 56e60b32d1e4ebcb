"""Which checkpoints an archive is to end at: partition 0's covers all that the other partitions' leaves knew of it.

Decisions elsewhere name how much of partition 0 they knew. If the archive's partition 0 ended before that, those
decisions would look forged for ever. So its checkpoint is taken after the others', and waited for. Nothing is verified.
"""

from typing import Final

from keyfold.auditing.checkpoints import CheckpointTopics, Published
from keyfold.auditing.sources import RecordSource
from keyfold.events.checkpoints import origin_of

_REGISTRY: Final = 0


async def heads_to_archive(published: CheckpointTopics, source: RecordSource, *, timeout_s: float) -> list[Published]:
    """Return the newest checkpoint of each partition that has one. Raises `NoCheckpoint` where partition 0's does not
    come within `timeout_s`, and what the source raises."""
    registry = origin_of(source.deployment, _REGISTRY)
    rest = [origin_of(source.deployment, number) for number in range(source.partitions) if number != _REGISTRY]
    others = list((await published.latest(rest)).values())
    end_offset = (await source.ends()).get(_REGISTRY, 0)
    first = (await published.latest([registry])).get(registry)
    behind = await _count(source, 0 if first is None else first.next_offset, end_offset)
    if others and behind:
        size = 0 if first is None else first.checkpoint.size
        first = await published.wait_covering(registry, size + behind - 1, timeout_s=timeout_s)
    return others if first is None else [first, *others]


async def _count(source: RecordSource, start: int, end_offset: int) -> int:
    """Return how many records of partition 0 are between two offsets: offsets count markers too."""
    count = 0
    if start < end_offset:
        async for batch in source.records(_REGISTRY, start):
            within = sum(record.offset < end_offset for record in batch)
            count += within
            if within < len(batch):
                break
    return count
