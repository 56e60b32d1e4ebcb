"""Times as people type them: what is left out is zero; anything else is a usage error that shows the form."""

import pytest

from keyfold.cli.arguments import moment, time_of
from keyfold.cli.exits import UsageError


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2026-10-01", "2026-10-01T00:00:00.000Z"),
        ("2026-10-01T07:30Z", "2026-10-01T07:30:00.000Z"),
        ("2026-10-01T07:30:15Z", "2026-10-01T07:30:15.000Z"),
        ("2026-10-01T07:30:15.250Z", "2026-10-01T07:30:15.250Z"),
    ],
)
def test_what_is_left_out_is_zero(typed: str, meant: str) -> None:
    """Also where a span may stand instead."""
    assert time_of(typed, "--at") == moment(typed, "--at") == meant


@pytest.mark.parametrize(
    "typed",
    ["", "now", "2026-13-01", "2026-02-30T00:00Z", "2026-10-01T07:30", "2026-10-01T07:30.250Z", "2026-10-01T24:00Z",
     "2026-10-01T07:30:15+02:00", "2026-10-1", "٢٠٢٦-10-01", "2026-10-01T07:30:15.25Z"],
)  # fmt: skip
def test_what_is_no_time_is_refused(typed: str) -> None:
    """Other zones, too: nobody has to guess."""
    with pytest.raises(UsageError, match="2026-01-31T12:00Z"):
        time_of(typed, "--at")
    with pytest.raises(UsageError, match=r"2026-01-31T12:00Z.*span like"):
        moment(typed, "--at")
