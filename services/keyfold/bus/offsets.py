"""Where a partition starts and ends, asked on a connection of its own.

A broker answers one request per connection at a time, and a reader's connection is mostly parked in a fetch that
waits for data: a question sent behind it waits too (half a second). So questions use the coordination connection.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.offset import OffsetRequest

from keyfold.bus.errors import BusUnavailable, NotAuthorized, is_refusal

EARLIEST: Final = -2
LATEST: Final = -1


async def ask_offsets(
    client: AIOKafkaClient, topic: str, partitions: Iterable[int], which: int, *, committed: bool, timeout_s: float
) -> dict[int, int]:
    """Return an offset per partition: `EARLIEST`, or `LATEST` (last stable offset if committed, else high watermark).

    Raises BusUnavailable at the deadline, also for a topic that does not exist (it may be about to).
    """
    wanted = list(partitions)
    cause: Exception | None = None
    try:
        async with asyncio.timeout(timeout_s):
            await client._wait_on_metadata(topic)
            while True:
                try:
                    return await _ask_leaders(client, topic, wanted, which, committed=committed)
                except KafkaError as error:
                    cause = error
                    if not error.retriable:
                        break
                await client.force_metadata_update()
                await asyncio.sleep(client._retry_backoff)
    except (TimeoutError, KafkaError) as error:
        cause = cause or error
    if cause is not None and is_refusal(cause):
        raise NotAuthorized(f"offsets of {topic}", cause) from cause
    raise BusUnavailable(f"no offsets of {topic} within {timeout_s} s; check the brokers and the topic") from cause


async def _ask_leaders(
    client: Any, topic: str, partitions: list[int], which: int, *, committed: bool
) -> dict[int, int]:
    by_leader: dict[int, list[int]] = {}
    for partition in partitions:
        by_leader.setdefault(_leader(client, topic, partition), []).append(partition)
    answers = [
        await _ask(client, node, topic, numbers, which, committed=committed) for node, numbers in by_leader.items()
    ]
    return {partition: offset for answer in answers for partition, offset in answer.items()}


def _leader(client: Any, topic: str, partition: int) -> int:
    metadata = client.cluster._partitions.get(topic, {}).get(partition)
    if metadata is None or metadata.leader == -1:
        raise for_code(5)(f"{topic}-{partition} has no leader")  # LEADER_NOT_AVAILABLE, retriable
    return int(metadata.leader)


async def _ask(
    client: Any, node: int, topic: str, partitions: list[int], which: int, *, committed: bool
) -> dict[int, int]:
    request = OffsetRequest(-1, int(committed), [(topic, [(partition, which) for partition in partitions])])
    response = await client.send(node, request, group=ConnectionGroup.COORDINATION)
    found: dict[int, int] = {}
    for _, rows in response.topics:
        for partition, error_code, _timestamp, offset, *_ in rows:
            if error_code:
                raise for_code(error_code)(f"{topic}-{partition}")
            found[partition] = offset
    return found
