"""Traces by OpenTelemetry: the optional extra `otel`. The only module that meets it.

Spans leave through a bounded queue and a thread of the SDK's own; while a collector is away they are dropped.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from keyfold.telemetry.tracing import Kind, Span, Trace, Tracer

_STOP_SECONDS: Final = 3.0
_EXPORT_SECONDS: Final = 5.0
_KINDS: Final[Mapping[Kind, SpanKind]] = {
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
    "producer": SpanKind.PRODUCER,
    "internal": SpanKind.INTERNAL,
}


class OtelSpan:
    """Implements `tracing.Span`."""

    __slots__ = ("_span", "header")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.header = _header(span.get_span_context())

    def set(self, **attributes: str | int) -> None:
        self._span.set_attributes({f"keyfold.{name}": value for name, value in attributes.items()})

    def event(self, name: str) -> None:
        self._span.add_event(name)

    def end(self, code: str | None = None) -> None:
        if code is not None:
            self._span.set_attribute("error.type", code)
            self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()


class OtelTracer:
    """Implements `tracing.Tracer`."""

    records = True

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def begin(
        self, name: str, kind: Kind = "internal", *, parent: bytes | None = None, links: Sequence[bytes] = ()
    ) -> Span:
        context = Context()
        if parent is not None:
            context = trace.set_span_in_context(NonRecordingSpan(_context(parent)), context)
        linked = [Link(_context(link)) for link in links]
        return OtelSpan(self._tracer.start_span(name, context, _KINDS[kind], links=linked))

    def ambient(self) -> bytes | None:
        return _header(trace.get_current_span().get_span_context())


class Exporting:
    """Traces of this process, sent to a collector (OTLP over HTTP) until it is stopped."""

    def __init__(self, address: str, ratio: float, service: str, instance: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

        who = {"service.name": f"keyfold-{service}", "service.namespace": "keyfold", "service.instance.id": instance}
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(ratio), resource=Resource.create(who), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=address, timeout=_EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer: Tracer = OtelTracer(self._provider.get_tracer("keyfold"))

    def stop(self) -> None:
        """Send what is left, within a deadline; blocks."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(_STOP_SECONDS)


def program_tracer() -> Tracer:
    """The tracer of the provider that the program has set; spans are nobody's where it has set none."""
    return OtelTracer(trace.get_tracer("keyfold.client"))


def _context(header: bytes) -> SpanContext:
    _, trace_id, span_id, flags = header.split(b"-")
    state = TraceState.from_header([header.state.decode("ascii")]) if isinstance(header, Trace) else None
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)), state)


def _header(context: SpanContext) -> Trace | None:
    if not context.is_valid:
        return None
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return Trace(parent.encode("ascii"), context.trace_state.to_header().encode("utf-8"))
