"""Exit codes and the one line: what scripts rely on."""

import json

import pytest

from keyfold.bus import BusUnavailable
from keyfold.ceremony import CeremonyRefused
from keyfold.cli.exits import Differs, NotReady, UsageError, describe, exit_code, render
from keyfold.client import DeadlineExceeded, InvalidArgument, TokenSourceFailed
from keyfold.client.envelope import EnvelopeInvalid
from keyfold.config import ConfigError
from keyfold.embedded import PortInUse
from keyfold.events.chains import ChainGap
from keyfold.events.errors import (
    AccessDenied,
    ApprovalRequired,
    InvalidCiphertext,
    InvalidPolicy,
    KeyDisabled,
    NotFound,
    RateLimited,
    TokenNotBound,
    TokenUnavailable,
)
from keyfold.identity import IdentityUnusable
from keyfold.log import StateCorrupt

CASES: list[tuple[Exception, int]] = [
    (AccessDenied(), 1),
    (NotFound("no such thing"), 1),
    (KeyDisabled(), 1),
    (CeremonyRefused("no"), 1),
    (ApprovalRequired(), 1),
    (InvalidPolicy("statement 0"), 1),
    (RateLimited(), 1),
    (TokenNotBound(), 1),
    (UsageError("what?"), 2),
    (InvalidArgument("what?"), 2),
    (IdentityUnusable("no file"), 2),
    (FileNotFoundError(2, "No such file", "x"), 2),
    (BusUnavailable("down"), 3),
    (DeadlineExceeded("late"), 3),
    (TokenSourceFailed("away"), 3),
    (TokenUnavailable(), 3),
    (NotReady("not yet"), 3),
    (ConfigError("none"), 3),
    (PortInUse("taken"), 3),
    (OSError(28, "No space left on device"), 3),
    (InvalidCiphertext(), 4),
    (EnvelopeInvalid("cut off"), 4),
    (ChainGap("hole"), 4),
    (StateCorrupt("changed"), 4),
    (Differs("not the same"), 4),
    (ZeroDivisionError("a bug"), 70),
]


@pytest.mark.parametrize(("error", "code"), CASES, ids=lambda value: type(value).__name__)
def test_each_kind_of_error_has_its_code(error: Exception, code: int) -> None:
    """0 done, 1 refused, 2 usage, 3 unavailable, 4 integrity, 70 a bug."""
    assert exit_code(error) == code
    assert describe(error)["exit_code"] == code


def test_an_error_is_one_line() -> None:
    """Whatever the message is made of, standard error gets one line with the code."""
    line = render(NotReady("first\n  second"), as_json=False)
    assert line == "keyfold: NotReady: first second"


def test_errors_are_machine_readable() -> None:
    """With `--json` the same is one object."""
    told = json.loads(render(AccessDenied(), as_json=True))["error"]
    assert told["code"] == "AccessDenied"
    assert told["retriable"] is False
    assert told["hint"] == AccessDenied.hint


def test_a_file_error_names_the_file() -> None:
    """The system's message alone does not say which file."""
    assert render(FileNotFoundError(2, "No such file or directory", "orders.csv"), as_json=False) == (
        "keyfold: FileNotFoundError: orders.csv: No such file or directory"
    )
