"""Replies on their way out: sent after the commit, awaited by nobody, counted where they cannot be sent.

The outcome stands whether its reply arrives or not: a caller that hears nothing asks again and learns it from policy.
"""

from collections.abc import Sequence

from keyfold.bus import Sender
from keyfold.events.errors import KeyfoldError
from keyfold.hsm import metrics
from keyfold.hsm.engine import Work
from keyfold.logging import get_logger
from keyfold.telemetry import tracing
from keyfold.telemetry.tracing import NO_SPAN

_log = get_logger()


class Outbox:
    """Sends replies through one sender of the process."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def send(self, works: Sequence[Work]) -> None:
        """Enqueue the replies of a committed batch. While the cluster takes none, the rest of the batch is dropped."""
        waiting = [(work.reply, work.ticket) for work in works if work.reply is not None]
        dropped = sum(work.ticket is not None for work in works) - len(waiting)
        if dropped:
            metrics.REPLIES_DROPPED.labels("NoAddress").inc(dropped)
        for place, (reply, ticket) in enumerate(waiting):
            partitions = self._sender.partitions_of(reply.topic)
            if partitions is None or reply.partition >= partitions:
                metrics.REPLIES_DROPPED.labels("UnknownDestination").inc()
                continue
            span = NO_SPAN if ticket is None else tracing.current().begin("reply", "producer", parent=ticket.trace)
            try:
                await self._sender.send(reply)
                span.end()
            except KeyfoldError as error:
                span.end(error.code)
                lost = len(waiting) - place if error.retriable else 1
                metrics.REPLIES_DROPPED.labels(error.code).inc(lost)
                _log.warning("replies-dropped", topic=reply.topic, partition=reply.partition, code=error.code)
                if error.retriable:
                    return
