"""Spans that a test collects in memory, by name, with the ids of who is whose parent."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from keyfold.telemetry.otel import OtelTracer
from keyfold.telemetry.tracing import using

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    """What was collected so far; `tracer` is OpenTelemetry's own, for spans of the test."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("keyfold.test")

    def all(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found


def identity(span: ReadableSpan) -> tuple[int, int]:
    """Trace id and span id."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def parent(span: ReadableSpan) -> tuple[int, int] | None:
    """The same of the span above."""
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    """The same of the spans that it links to."""
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def named_in(header: bytes) -> tuple[int, int]:
    """The same of a header `traceparent`."""
    _, trace_id, span_id, _ = header.split(b"-")
    return int(trace_id, 16), int(span_id, 16)


@contextmanager
def collected() -> Iterator[Spans]:
    """Collect the spans of this process inside the block."""
    spans = Spans()
    with using(OtelTracer(spans.tracer)):
        yield spans


__all__ = ["PARENT", "Spans", "collected", "identity", "links", "named_in", "parent", "trace"]
