"""Instants: one text form, whole milliseconds."""

from datetime import UTC, datetime

import pytest

from keyfold.events.errors import InvalidCommand
from keyfold.events.strictjson import Frozen, parse
from keyfold.events.times import Instant, nearest_text, to_milliseconds, to_text


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00.000Z", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2026-01-31T12:00:00.001Z", 1_769_860_800_001),
        ("0999-01-01T00:00:00.000Z", -30_641_760_000_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ("2024-02-29T00:00:00.000Z", 1_709_164_800_000),
    ],
)
def test_both_ways(text: str, milliseconds: int) -> None:
    """Text and milliseconds are the same instant, to the millisecond, before 1970 too."""
    assert to_milliseconds(text) == milliseconds
    assert to_text(milliseconds) == text


def test_no_rounding_error() -> None:
    """No millisecond of a second is lost to floating point."""
    base = 253_402_300_799_000
    assert [to_milliseconds(to_text(base + i)) - base for i in range(1000)] == list(range(1000))


def test_agrees_with_datetime() -> None:
    """The text is RFC 3339 as the standard library reads it."""
    assert datetime.fromisoformat(to_text(1_769_860_800_001)) == datetime(2026, 1, 31, 12, 0, 0, 1000, UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.000000Z",
        "2026-01-31T12:00:00.000+00:00",
        "2026-01-31 12:00:00.000Z",
        "2026-01-31T12:00:00,000Z",
        "2026-01-31T12:00:00.000z",
        "2026-W05-6T12:00:00.000Z",
        "2026-01-31T120000.00000Z",
        "2026-02-30T12:00:00.000Z",
        "2026-01-31T24:00:00.000Z",
        "2026-01-31T23:59:60.000Z",
        "0000-01-01T00:00:00.000Z",
        "２026-01-31T12:00:00.000Z",
        "2026-01-31T12:00:00.000Z\n",
    ],
)
def test_other_forms(text: str) -> None:
    """Any other form is refused, in code and in documents."""

    class Document(Frozen):
        at: Instant

    with pytest.raises(InvalidCommand, match="UTC with milliseconds"):
        to_milliseconds(text)
    with pytest.raises(InvalidCommand, match="schema at: at"):
        parse(Document, b'{"at":"%s"}' % text.replace("\n", "\\n").encode())


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (-1, "1970-01-01T00:00:00.000Z"),
        (-(1 << 63), "1970-01-01T00:00:00.000Z"),
        (1_769_860_800_000, "2026-01-31T12:00:00.000Z"),
        (253_402_300_800_000, "9999-12-31T23:59:59.999Z"),
        (1 << 62, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_that_nobody_vouches_for(milliseconds: int, text: str) -> None:
    """A record's timestamp may be anything: what cannot be written is the nearest that can."""
    assert nearest_text(milliseconds) == text
