"""The spans of a batch of tickets: each from its execution's begin to the transaction that states its outcome."""

from collections.abc import Sequence
from dataclasses import replace

from keyfold.hsm.engine import Work
from keyfold.hsm.tickets import Ticket
from keyfold.telemetry import tracing
from keyfold.telemetry.tracing import BatchSpans, Span


class TicketSpans:
    """Spans `hsm.execute` of one batch, and `hsm.transaction`, which links to them; nothing without a tracer."""

    def __init__(self) -> None:
        self._batch = BatchSpans()
        self._by_offset: dict[int, Span] = {}

    def begin(self, tickets: list[Ticket]) -> list[Ticket]:
        """Begin a span for each ticket; return the tickets as what continues it."""
        tracer = tracing.current()
        if not tracer.records:
            return tickets
        begun: list[Ticket] = []
        for ticket in tickets:
            span = tracer.begin("hsm.execute", "consumer", parent=ticket.trace)
            span.set(verb=ticket.verb, command=ticket.command_id, partition=ticket.partition)
            self._batch.spans.append(span)
            self._by_offset[ticket.decision.offset] = span
            begun.append(replace(ticket, trace=span.header))
        return begun

    def executed(self, works: Sequence[Work]) -> None:
        """Note what came of each; the transaction begins."""
        for work in works if self._by_offset else ():
            span = self._by_offset.get(work.ticket.decision.offset) if work.ticket is not None else None
            if span is not None:
                span.event("executed")
                span.set(code=getattr(work.events[-1].data, "code", ""))
        self._batch.transaction("hsm.transaction")

    def end(self, code: str | None = None) -> None:
        """The transaction stands, or it failed by this code."""
        self._batch.end(code)
