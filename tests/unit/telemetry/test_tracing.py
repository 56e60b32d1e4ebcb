"""Traces: what is taken for a `traceparent`, what is handed on, and what a process without a tracer does."""

import subprocess
import sys

import pytest
from tests.support.spans import PARENT, collected, identity, links, named_in, parent, trace

from keyfold.bus import Outbound
from keyfold.config import ConfigError, Telemetry
from keyfold.telemetry.serving import serving
from keyfold.telemetry.tracing import NO_SPAN, BatchSpans, PassedOn, Trace, carried, current, handed_on

RECORD = Outbound("topic", 0, b"key", b"value", (("kf_signer", b"s"),))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"01" + PARENT[2:],
        PARENT[:-1],
        PARENT + b"0",
        PARENT.upper(),
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-01",
        PARENT + b"\n",
        b"\xff" * 55,
    ],
)
def test_what_has_not_the_form_is_left_out(value: bytes) -> None:
    """The header is a stranger's: nothing else than the form of W3C Trace Context, version 00, goes on."""
    assert carried((("traceparent", value),)) is None


def test_a_trace_is_named_once() -> None:
    """Two are ambiguous; other headers are passed over."""
    assert carried((("kf_signer", b"s"), ("traceparent", PARENT))) == PARENT
    assert carried((("traceparent", PARENT), ("traceparent", PARENT))) is None
    assert carried(()) is None


def test_a_header_without_a_value_is_none() -> None:
    """Kafka has null values; whoever may send records may send those."""
    assert carried((("traceparent", None),)) is None
    trace = carried((("traceparent", PARENT), ("tracestate", None)))
    assert trace == PARENT
    assert trace.state == b""


def test_a_record_is_handed_on_with_its_trace() -> None:
    """Beside what it had; without one it stays as it is."""
    assert handed_on(RECORD, PARENT).headers == (*RECORD.headers, ("traceparent", PARENT))
    assert handed_on(RECORD, None) is RECORD


STATE = b"rojo=00f067aa0ba902b7,fw529a3039@dt=FfffffC8; a b"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (STATE, STATE),
        (b" a=1 ,\t, b=2,", b"a=1,b=2"),
        (b"a=" + b"1" * 256, b"a=" + b"1" * 256),
        (b",".join(b"k%d=1" % number for number in range(32)), b",".join(b"k%d=1" % number for number in range(32))),
        (b"", b""),
    ],
)
def test_a_state_goes_with_its_trace(value: bytes, kept: bytes) -> None:
    """Members as they came and in their order; empty ones and space around them are none."""
    trace = carried((("tracestate", value), ("traceparent", PARENT)))
    assert trace == PARENT
    assert trace.state == kept
    state = (("tracestate", kept),) if kept else ()
    assert handed_on(RECORD, trace).headers == (*RECORD.headers, ("traceparent", PARENT), *state)
    assert {type(value) for _, value in handed_on(RECORD, trace).headers} == {bytes}, "the broker's client wants those"


@pytest.mark.parametrize(
    "value",
    [
        b"a",
        b"a=",
        b"=1",
        b"a=1,A=2",
        b"a=1=2",
        b"a=1,b=2,a=3",
        b"a@b@c=1",
        b"a@B=1",
        b"a=1\n",
        b"a=\xff",
        b"a=" + b"1" * 257,
        b"a" * 257 + b"=1",
        b"a=" + b"1" * 255 + b",b=" + b"1" * 253,
        b",".join(b"k%d=1" % number for number in range(33)),
    ],
)
def test_a_state_of_another_form_is_left_out_whole(value: bytes) -> None:
    """The trace goes on without it."""
    trace = carried((("traceparent", PARENT), ("tracestate", value)))
    assert trace == PARENT
    assert trace.state == b""


def test_a_state_is_named_once_and_never_alone() -> None:
    """Two are ambiguous, and one without its trace belongs to nothing."""
    trace = carried((("tracestate", STATE), ("traceparent", PARENT), ("tracestate", STATE)))
    assert trace == PARENT
    assert trace.state == b""
    assert carried((("tracestate", STATE), ("traceparent", PARENT[:-1]))) is None


def test_spans_hand_on_the_state_of_their_trace() -> None:
    """From what the program's own span has, and from span to span."""
    with collected() as spans:
        span = current().begin("policy.decide", parent=Trace(PARENT, STATE))
        below = current().begin("hsm.execute", parent=span.header)
        below.end()
        span.end()
        context = trace.SpanContext(1, 2, True, trace_state=trace.TraceState([("a", "1"), ("b", "2")]))
        with trace.use_span(trace.NonRecordingSpan(context)):
            ambient = current().ambient()
    for header in (span.header, below.header):
        assert isinstance(header, Trace)
        assert header.state == STATE
    assert isinstance(ambient, Trace)
    assert ambient.state == b"a=1,b=2"
    assert (spans.one("hsm.execute").get_span_context() or context).trace_state.get("rojo") == "00f067aa0ba902b7"


def test_without_a_tracer_a_trace_is_passed_on() -> None:
    """So the parts before and after a process that traces nothing stay one trace."""
    tracer = current()
    assert not tracer.records
    assert tracer.begin("policy.decide", parent=PARENT) == PassedOn(PARENT)
    assert tracer.begin("policy.decide") is NO_SPAN
    assert tracer.ambient() is None
    spans = BatchSpans()
    spans.spans.append(tracer.begin("policy.decide", parent=PARENT))
    spans.transaction("policy.transaction")
    spans.end()


def test_a_span_goes_on_below_its_parent() -> None:
    """With its kind, attributes and events; an error's code makes it failed."""
    with collected() as spans:
        span = current().begin("policy.decide", "consumer", parent=PARENT)
        span.set(verb="Encrypt", partition=3)
        span.event("decided")
        assert span.header is not None
        below = current().begin("hsm.execute", parent=span.header)
        below.end("TokenUnavailable")
        span.end()
    decide, execute = spans.one("policy.decide"), spans.one("hsm.execute")
    assert parent(decide) == named_in(PARENT)
    assert parent(execute) == identity(decide) == named_in(span.header)
    assert dict(decide.attributes or {}) == {"keyfold.verb": "Encrypt", "keyfold.partition": 3}
    assert [event.name for event in decide.events] == ["decided"]
    assert (decide.status.is_ok, execute.status.is_ok) == (True, False)
    assert (execute.attributes or {})["error.type"] == "TokenUnavailable"


def test_a_transaction_links_to_what_it_settles() -> None:
    """It is a trace of its own; each span ends once, with it."""
    with collected() as spans:
        batch = BatchSpans()
        batch.spans += [current().begin("policy.decide", parent=PARENT), current().begin("policy.decide")]
        batch.transaction("policy.transaction", partition=1)
        assert spans.all() == []
        batch.end()
        batch.end()
    shared = spans.one("policy.transaction")
    assert parent(shared) is None
    assert links(shared) == [identity(span) for span in spans.named("policy.decide")]
    assert len(spans.all()) == 3


def test_what_the_client_did_not_sample_is_not_recorded(  # the flag decides, all the way
) -> None:
    """The decision to keep a trace is made once, where it begins."""
    with collected() as spans:
        span = current().begin("policy.decide", parent=PARENT[:-1] + b"0")
        span.end()
    assert span.header is not None
    assert span.header.endswith(b"-00")
    assert spans.all() == []


async def test_traces_that_cannot_be_made_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, with one line that says what to install."""
    monkeypatch.setitem(sys.modules, "keyfold.telemetry.otel", None)
    settings = Telemetry(traces="http://127.0.0.1:4318/v1/traces")
    with pytest.raises(ConfigError, match=r"keyfold\[otel\]"):
        async with serving(settings, "policy"):
            raise AssertionError


def test_services_and_client_do_not_load_opentelemetry() -> None:
    """It is optional: nothing imports it unless the settings, or the program, ask for it."""
    program = (
        "import sys, keyfold.policy.service, keyfold.hsm.service, keyfold.client, keyfold.projector.process\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
