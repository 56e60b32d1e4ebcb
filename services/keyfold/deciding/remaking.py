"""A decision made again from what stands in the log, and compared bit for bit. Pure.

It takes the world from `replaying`. The sealed body is not in the log; no decision depends on more of it than its
digest, which is. Nothing is repaired or explained here.
"""

from dataclasses import dataclass
from typing import Literal

from keyfold.deciding.admission import Admitted
from keyfold.deciding.decide import decide
from keyfold.deciding.replaying import Recorded
from keyfold.deciding.signed import principal_of, signed_of
from keyfold.events import errors, facts
from keyfold.events.times import to_milliseconds

Verdict = Literal["reproduced", "differs", "not expected"]


@dataclass(frozen=True, slots=True)
class Remade:
    """A decision made again. `event` is what came of it, if anything did; `why` says what is wrong, if something is."""

    verdict: Verdict
    event: facts.PolicyEvent | None
    why: str


def admitted_of(recorded: Recorded) -> Admitted:
    """Return what admission had made of the command; the sealed body is empty. Raises KeyError, `Refusal`."""
    decision, command = recorded.decision, recorded.command
    return Admitted(
        command=command,
        principal=principal_of(command, recorded.world),
        value=decision.command.encode(),
        sealed=b"",
        signature=bytes.fromhex(decision.signature),
        offset=decision.offset,
        command_digest=decision.command_digest,
        body_digest=decision.body_digest,
        expires_ms=to_milliseconds(command.data.expires_at),
    )


def redecide(recorded: Recorded) -> facts.PolicyEvent:
    """Make a decision again. Raises whatever that raises: `Refusal` and KeyError where the log cannot be right."""
    return decide(admitted_of(recorded), recorded.world)


def remake(recorded: Recorded) -> Remade:
    """Make a decision again and compare the exact bytes. Total: what cannot be made again differs."""
    event, _ = recorded.event, recorded.world  # one that has moved on is a mistake of ours, not of the log
    if isinstance(event, facts.CommandDenied) and event.data.code == errors.InternalError.code:
        return Remade("not expected", None, "an error inside policy is no rule, and need not happen again")
    if recorded.flaw is not None:
        return Remade("differs", None, recorded.flaw)
    try:
        made = redecide(recorded)
    except Exception as error:  # noqa: BLE001 - whatever it is, the decision cannot be made again
        return Remade("differs", None, f"it cannot be made again: {type(error).__name__}: {error}")
    if made.to_value() == recorded.leaf.value:
        return Remade("reproduced", made, "")
    return Remade("differs", made, f"made again, it is {made.type}")


def check_signature(recorded: Recorded) -> None:
    """Raise `SignatureInvalid` unless the principal's key signed the command, as the registry knew it then.

    The command of a proposal that is carried out is checked too. Raises KeyError, `Refusal`.
    """
    for signed in signed_of(recorded, principal_of(recorded.command, recorded.world)):
        if not signed.valid():
            raise errors.SignatureInvalid("a signature of the principal does not verify")
