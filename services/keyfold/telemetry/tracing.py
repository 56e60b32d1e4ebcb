"""Traces: spans from a client's call through policy and HSM worker to the reply, handed on in a header `traceparent`.

The header is that of W3C Trace Context, beside the record and not in it: it is signed by nobody, believed for nothing,
and never kept in the log. What does not have its form is left out. Its `tracestate`, which others have written for
themselves, goes with it, unread. A process that traces nothing hands on what it was given, so the parts before and
after it stay one trace.

There is one tracer in a process, as there is one registry of metrics. By default it is off, which costs next to
nothing. Spans name verbs, codes, partitions and command ids: never a principal, a key, a context or anything sealed.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

from keyfold.bus import Outbound

TRACE_HEADER: Final = "traceparent"
STATE_HEADER: Final = "tracestate"
MAX_STATE_BYTES: Final = 512
_MAX_MEMBERS: Final = 32
_FORM: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# W3C Trace Context, section 3.3.1.3: a key, of one system or of a tenant of one, and a value that ends in no space.
_MEMBER: Final = re.compile(
    rb"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)

Kind = Literal["client", "consumer", "producer", "internal"]


class Trace(bytes):
    """A `traceparent`, and the `tracestate` beside it: as it was given, or empty where it has not the form."""

    state: bytes

    def __new__(cls, parent: bytes, state: bytes = b"") -> "Trace":
        made = super().__new__(cls, parent)
        made.state = _formed(state)
        return made


def _formed(state: bytes) -> bytes:
    """Return a `tracestate` without empty members; nothing of one that is too long, or has a member of another form."""
    if len(state) > MAX_STATE_BYTES:
        return b""
    members = [member for part in state.split(b",") if (member := part.strip(b" \t"))]
    keys = {found[1] for member in members if (found := _MEMBER.fullmatch(member))}
    return b",".join(members) if len(keys) == len(members) <= _MAX_MEMBERS else b""


class Span(Protocol):
    """One step of a trace. `header` is what the next step continues; None where there is nothing to continue."""

    @property
    def header(self) -> bytes | None: ...

    def set(self, **attributes: str | int) -> None:
        """Add attributes, each under `keyfold.<name>`."""

    def event(self, name: str) -> None:
        """Note that something happened now."""

    def end(self, code: str | None = None) -> None:
        """End it now; with an error's code, as failed. Once."""


class Tracer(Protocol):
    """Makes spans. `records` tells whether anybody will see them."""

    records: bool

    def begin(
        self, name: str, kind: Kind = "internal", *, parent: bytes | None = None, links: Sequence[bytes] = ()
    ) -> Span:
        """Begin a span now: below `parent`, else as the root of a new trace."""

    def ambient(self) -> bytes | None:
        """Return the span that the caller is in, as a header."""


@dataclass(frozen=True, slots=True)
class PassedOn:
    """No span: it hands on what it was given."""

    header: bytes | None = None

    def set(self, **attributes: str | int) -> None:  # noqa: ARG002 - the port's names
        return

    def event(self, name: str) -> None:  # noqa: ARG002
        return

    def end(self, code: str | None = None) -> None:  # noqa: ARG002
        return


NO_SPAN: Final = PassedOn()


class Off:
    """Traces nothing."""

    records = False

    def begin(
        self,
        name: str,  # noqa: ARG002
        kind: Kind = "internal",  # noqa: ARG002
        *,
        parent: bytes | None = None,
        links: Sequence[bytes] = (),  # noqa: ARG002
    ) -> Span:
        return NO_SPAN if parent is None else PassedOn(parent)

    def ambient(self) -> bytes | None:
        return None


_OFF: Final = Off()
_tracer: list[Tracer] = [_OFF]


def current() -> Tracer:
    """The tracer of this process."""
    return _tracer[-1]


@contextmanager
def using(tracer: Tracer) -> Iterator[None]:
    """Trace with this one inside the block."""
    _tracer.append(tracer)
    try:
        yield
    finally:
        _tracer.remove(tracer)


def of_program() -> Tracer:
    """The tracer of a program that uses the client: OpenTelemetry, where the program has loaded it itself."""
    if current().records or "opentelemetry.trace" not in sys.modules:
        return current()
    from keyfold.telemetry.otel import program_tracer

    return program_tracer()


def carried(headers: Sequence[tuple[str, bytes | None]]) -> Trace | None:
    """Return the trace that a record belongs to; None where it names none, or two, or nothing of the form."""
    parents = [value for name, value in headers if name == TRACE_HEADER and value is not None]
    if len(parents) != 1 or not _FORM.fullmatch(parents[0]):
        return None
    states = [value for name, value in headers if name == STATE_HEADER and value is not None]
    return Trace(parents[0], states[0] if len(states) == 1 else b"")


def handed_on(record: Outbound, trace: bytes | None) -> Outbound:
    """Return the record with the trace that it belongs to."""
    if trace is None:
        return record
    headers = (*record.headers, (TRACE_HEADER, bytes(trace)))
    if isinstance(trace, Trace) and trace.state:
        headers = (*headers, (STATE_HEADER, trace.state))
    return replace(record, headers=headers)


class BatchSpans:
    """The spans of one batch's records, and of the transaction that they share, which links to them."""

    __slots__ = ("_shared", "spans")

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._shared: Span = NO_SPAN

    def transaction(self, name: str, **attributes: Any) -> None:
        """The transaction begins."""
        tracer = current()
        if tracer.records and self.spans:
            links = [span.header for span in self.spans if span.header is not None]
            self._shared = tracer.begin(name, links=links)
            self._shared.set(records=len(self.spans), **attributes)

    def end(self, code: str | None = None) -> None:
        """The transaction stands, or failed by this code. Again, it does nothing."""
        self._shared.end(code)
        for span in self.spans:
            span.end(code)
        self.spans, self._shared = [], NO_SPAN
