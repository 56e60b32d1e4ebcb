"""denials and replays: what was refused, failed or not admitted, against what is usual."""

from collections.abc import Collection, Mapping
from typing import Final

from keyfold.analytics.detectors.counting import CountingDetector
from keyfold.analytics.detectors.detector import Scope
from keyfold.analytics.detectors.settings import DenialsSettings, ReplaysSettings
from keyfold.analytics.detectors.verbs import DECRYPT
from keyfold.analytics.detectors.wording import plural, span
from keyfold.analytics.observations import RESULTS, Ref, Result
from keyfold.analytics.ticks import MAX_REFS, Tick
from keyfold.events.errors import (
    AlreadyExecuted,
    Expired,
    IdempotencyConflict,
    InternalError,
    InvalidState,
    PrincipalExpired,
    PrincipalRevoked,
    PrincipalSuspended,
    Refusal,
    SealingKeyRetired,
    SigningKeyRevoked,
    TokenUnavailable,
    Unavailable,
)

REPLAY_CODES: Final = frozenset({error.code for error in (Expired, IdempotencyConflict, AlreadyExecuted)})
OUR_CODES: Final = frozenset({error.code for error in (InternalError, TokenUnavailable, Unavailable)})
"""Failures of the service, whoever asked."""

_STATES: Final[tuple[type[Refusal], ...]] = (
    InvalidState,
    *InvalidState.__subclasses__(),
    PrincipalExpired,
    PrincipalRevoked,
    PrincipalSuspended,
    SealingKeyRetired,
    SigningKeyRevoked,
)
STATE_CODES: Final = frozenset(error.code for error in _STATES)
"""What somebody else did to a key or a principal, and so no probing: else to stop one would make the next suspect."""

_FAILED_DECRYPT: Final = "failed-decrypt"


class Denials(CountingDetector):
    """Sees probing of rights (denied), of ciphertexts (failed decryptions), and commands that do not work (failed).

    What the service could not do, and what a state forbids, is nobody's probing.
    """

    name = "denials"
    scopes: frozenset[Scope] = frozenset({"principal", "key"})
    unit = "commands"
    names_peer = False

    def __init__(self, settings: DenialsSettings) -> None:
        minimum = dict.fromkeys(("denied", "failed", _FAILED_DECRYPT), settings.minimum)
        super().__init__(settings.baseline, minimum, worst={"failed": "low"})

    def count(self, tick: Tick) -> Mapping[str, int]:
        """Count denials, failures, and items that failed to decrypt. What came late has no number, nor hides any."""
        if not tick.codes and not tick.failures:
            return {}
        denied = failed = broken = 0
        for use, number in tick.commands.items():
            if use.result == "denied":
                denied += number
            elif use.result == "failed":
                if use.verb in DECRYPT:
                    broken += number
                else:
                    failed += number
        denied -= _coded(tick, STATE_CODES, "denied")
        ours = _coded(tick, OUR_CODES, *RESULTS) + _coded(tick, STATE_CODES, "failed")
        failed, broken = max(0, failed - ours), max(0, broken - max(0, ours - failed))
        for verb, number in tick.failures.items():
            if verb in DECRYPT:
                broken += number
            else:
                failed += number
        return {"denied": max(0, denied), "failed": failed, _FAILED_DECRYPT: broken}

    def describe(self, kind: str, number: int, window_ms: int) -> str:
        """Say how many in which time."""
        if kind == "denied":
            return f"was denied {plural(number, 'command')} in {span(window_ms)}"
        if kind == "failed":
            return f"had {plural(number, 'failed operation')} in {span(window_ms)}"
        return f"failed to decrypt {plural(number, 'item')} in {span(window_ms)}"

    def evidence(self, kind: str, tick: Tick) -> list[Ref]:
        """Return the first of them; items fail in events of completed commands as well."""
        results = {"denied"} if kind == "denied" else {"failed", "completed"}
        found = [
            ref
            for use, refs in tick.refs.items()
            if use.result in results and (kind != _FAILED_DECRYPT or use.verb in DECRYPT)
            for ref in refs
        ]
        return sorted(found)[:MAX_REFS]


def _coded(tick: Tick, codes: Collection[str], *results: Result) -> int:
    """Count what has one of some codes, with one of some results, or with any."""
    return sum(
        number for (result, code), number in tick.coded() if code in codes and (not results or result in results)
    )


class Replays(CountingDetector):
    """Sees commands that are sent again under another's id, or long after they were signed."""

    name = "replays"
    scopes: frozenset[Scope] = frozenset({"principal"})
    unit = "commands"
    names_peer = False

    def __init__(self, settings: ReplaysSettings) -> None:
        # All of them were refused.
        super().__init__(settings.baseline, {"replayed": settings.minimum}, worst={"replayed": "high"}, noise=0.1)

    def count(self, tick: Tick) -> Mapping[str, int]:
        """Count what was refused as expired or as replayed, wherever it was."""
        number = _coded(tick, REPLAY_CODES)
        return {"replayed": number} if number else {}

    def describe(self, kind: str, number: int, window_ms: int) -> str:
        """Say how many in which time."""
        return f"sent {plural(number, f'{kind} or expired command')} in {span(window_ms)}"

    def evidence(self, kind: str, tick: Tick) -> list[Ref]:  # noqa: ARG002
        """Return the first of what was not admitted or denied."""
        return (tick.evidence(result="rejected") + tick.evidence(result="denied"))[:MAX_REFS]
