"""Flights: orders on their way, and what an answer or the passing of time means for them. No I/O, no clock.

How an answer is taken (design, section 3):
 - results are handed out; so is a refusal that trying again does not cure;
 - a dry run that would have been authorized is a result;
 - a retriable refusal is asked again, under a new id, a bounded number of times;
 - `AlreadyExecuted` completes a control verb from its summary; a data verb's result was lost on the way: it is looked
   for, then asked again with `retry_of`, a bounded number of times;
 - what carries out an approved proposal, or has an id that the caller gave it, is one command for good: neither asked
   again nor divided;
 - a refusal of a record that holds more than one caller's call is not their refusal: the record is divided.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from keyfold.client.answers import Answer
from keyfold.client.intents import Intent
from keyfold.client.orders import Order
from keyfold.client.parcels import Parcel
from keyfold.events import errors, facts
from keyfold.events.replies import ReplyData
from keyfold.telemetry.tracing import NO_SPAN, Span

_RETRIED: Final = frozenset(
    kind.code
    for kind in (
        errors.RegistryBehind, errors.SealingKeyRetired, errors.AliasMoved, errors.TokenUnavailable, errors.RateLimited,
    )
)  # fmt: skip
_DENIED: Final = frozenset(kind.code for kind in (errors.AccessDenied, errors.ApprovalRequired, errors.GrantExhausted))
_ONCE: Final = "ImportKeyMaterial"
"""Its result is that it was done, and its import token is used up by being authorized: it is like a control verb."""
_MAKING: Final = "CreateKey"
"""What it names is there from being authorized on, also where making it failed: asked again, it would exist already."""
_TOO_MUCH: Final = frozenset(
    kind.code for kind in (errors.BatchTooLarge, errors.BatchTooExpensive, errors.ReplyTooLarge)
)


class Step(Enum):
    """What to do with an answered flight."""

    DELIVER = auto()
    FAIL = auto()
    RETRY = auto()
    RECOVER = auto()
    DIVIDE_CONTEXTS = auto()
    DIVIDE_ITEMS = auto()
    IGNORE = auto()


@dataclass(slots=True, eq=False)
class Flight:
    """One order in flight. Times are event loop time; `position` is the reply partition's at sending.

    `callers` are the traces that its calls belong to.
    """

    order: Order
    intent: Intent
    parcel: Parcel
    attempt: int
    position: int
    resend_at: float
    resend_pause_s: float
    last_at: float
    finished: Callable[[], None] = field(repr=False)
    recovering: bool = False
    span: Span = NO_SPAN
    callers: Sequence[bytes] = ()


def next_step(flight: Flight, answer: Answer, retry_attempts: int) -> Step:
    """Decide what an authentic answer means."""
    code = answer.data.code
    if code is None or (flight.intent.dry_run and would_be_authorized(answer.data)):
        return Step.DELIVER
    if code == errors.AlreadyExecuted.code:
        return _executed_before(flight, answer, retry_attempts)
    one = flight.intent.proposal is not None or flight.intent.command_id is not None
    return Step.FAIL if one else _refused(flight, code, retry_attempts)


def _refused(flight: Flight, code: str, retry_attempts: int) -> Step:
    if flight.intent.verb in {_ONCE, _MAKING} and code == errors.TokenUnavailable.code:
        return Step.FAIL
    if code in _RETRIED and flight.attempt < retry_attempts:
        return Step.RETRY
    if code in _DENIED and len(flight.parcel.contexts) > 1:
        return Step.DIVIDE_CONTEXTS
    if code in _TOO_MUCH and len(flight.parcel.items) > 1:
        return Step.DIVIDE_ITEMS
    return Step.FAIL


def failure_code(answer: Answer) -> str:
    """Return the code of the error to raise: for `AlreadyExecuted`, that of the outcome it sums up, if it failed."""
    return _outcome_code(answer.data.outcome) or answer.data.code or errors.InternalError.code


def would_be_authorized(data: ReplyData) -> bool:
    """Tell whether this is the answer to a dry run that was not denied; a repeated answer says it as an outcome."""
    if data.code == errors.AlreadyExecuted.code:
        kind, _, code = data.outcome.partition(":")
        return kind == facts.DryRunSucceeded.type_name or code == errors.DryRunOperation.code
    return data.code == errors.DryRunOperation.code


def _executed_before(flight: Flight, answer: Answer, retry_attempts: int) -> Step:
    if _outcome_code(answer.data.outcome) is not None:
        return Step.FAIL
    if not flight.intent.data_plane or flight.intent.verb == _ONCE:
        return Step.DELIVER
    if flight.recovering:
        return Step.IGNORE
    if flight.intent.proposal is not None:
        return Step.RECOVER
    return Step.RECOVER if flight.attempt < retry_attempts else Step.FAIL


def _outcome_code(outcome: str) -> str | None:
    """A failed outcome is summed up as `<outcome>:<code>`."""
    _, _, code = outcome.partition(":")
    return code or None
