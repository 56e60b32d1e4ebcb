"""What callers were told: one record per call, and what may be asked of all of them. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Told = Literal["acknowledged", "refused", "unknown"]
DATA: Final = frozenset({
    "Encrypt", "Decrypt", "GenerateDataKey", "Sign", "Verify", "GenerateMac", "VerifyMac", "GenerateRandom",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One call, with its times in monotonic seconds, and the error's code if it had one.

    Where it was acknowledged, `partition` is its stream's and `command` the command's id (None where the answer was a
    repeated one, which has no receipt).
    """

    verb: str
    began: float
    ended: float
    told: Told
    code: str = ""
    partition: int | None = None
    command: str | None = None

    @property
    def served(self) -> bool:
        """Whether it was acknowledged."""
        return self.told == "acknowledged"


def acknowledged(calls: Iterable[Call]) -> dict[str, str]:
    """Return the verb of each command that was acknowledged, by its id."""
    return {call.command: call.verb for call in calls if call.served and call.command is not None}


def counted(calls: Iterable[Call]) -> dict[str, int]:
    """Return how many were told what; of what was refused, for each verb."""
    return dict(Counter(_told(call) for call in calls))


def _told(call: Call) -> str:
    return f"{call.told} {call.code} ({call.verb})" if call.told == "refused" else f"{call.told} {call.code}".strip()
