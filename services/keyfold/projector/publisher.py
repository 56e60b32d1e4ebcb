"""Publishing the directory, and telling of records that could not be believed. Both happen after the commit.

The directory is complete when every record is delivered; dead letters are a courtesy (the table `reports` has them
all), limited in number, and nobody waits for them.
"""

import asyncio
from collections.abc import Sequence

from keyfold.bus import BusUnavailable, Outbound, Sender
from keyfold.events import strictjson, topics
from keyfold.events.directory import directory_partition
from keyfold.events.errors import KeyfoldError
from keyfold.logging import get_logger
from keyfold.projections.rows import DirectoryRecord, Report
from keyfold.projector.pace import TokenBucket

_log = get_logger()


class Publisher:
    """Sends what the projections say should be known outside of them."""

    def __init__(self, sender: Sender, partitions: int, *, deadline_s: float, dead_letters_per_s: float) -> None:
        self._sender = sender
        self._partitions = partitions
        self._deadline_s = deadline_s
        self._bucket = TokenBucket(dead_letters_per_s, max(1, int(dead_letters_per_s)))

    async def publish(self, records: Sequence[DirectoryRecord]) -> None:
        """Deliver directory records in order, each under all its names.

        Raises `BusUnavailable`; then some may be delivered; send all again.
        Sending a record twice is harmless: the latest of a name counts, and each partition has one sender at a time.
        """
        if not records:
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                named = [(name, record) for record in records for name in record.names]
                deliveries = [await self._sender.send(self._outbound(name, record)) for name, record in named]
                for delivery in deliveries:
                    await delivery
        except TimeoutError:
            raise BusUnavailable("the directory could not be published in time; it is tried again") from None

    async def report(self, reports: Sequence[Report]) -> None:
        """Log each report, and send as many dead letters as the limit allows."""
        for report in reports:
            place = {"partition": report.partition, "offset": report.kafka_offset}
            _log.error("record-refused", code=report.code, reason=report.detail, digest=report.digest, **place)
            if not self._bucket.try_take(asyncio.get_running_loop().time()):
                continue
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._sender.send(dead_letter(report))
            except (KeyfoldError, TimeoutError) as error:
                _log.warning("dead-letter-not-sent", reason=str(error), **place)

    def _outbound(self, name: str, record: DirectoryRecord) -> Outbound:
        partition = directory_partition(name, self._partitions)
        return Outbound(topics.DIRECTORY, partition, name.encode(), record.value, record.headers)


def dead_letter(report: Report) -> Outbound:
    """Write a report as a dead letter: place, hash and reason, never content."""
    document = {
        "service": "projector",
        "topic": topics.EVENTS,
        "partition": report.partition,
        "offset": report.kafka_offset,
        "reason": f"{report.code}: {report.detail}",
        "sha256": report.digest,
    }
    return Outbound(topics.DEAD_LETTERS, 0, None, strictjson.canonical(document))
