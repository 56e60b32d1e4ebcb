"""Signatures that an auditor has yet to verify: what hangs on each, and who verifies them.

The arithmetic is put off, since nothing else that is found out about a history depends on it. It costs more than all
the rest together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from keyfold.auditing.findings import Illegal
from keyfold.deciding.signed import Signed
from keyfold.events.errors import SignatureInvalid


@dataclass(slots=True)
class Pending:
    """What is wrong with a decision if one of its signatures is, and if none is: as if they were verified first."""

    signed: list[Signed]
    signer: tuple[str, str]
    otherwise: Illegal | None = None

    def settled(self, *, valid: bool) -> Illegal | None:
        """Return what is wrong, now that it is known whether all signatures are good."""
        return self.otherwise if valid else not_signed(self.signer, SignatureInvalid.code)


def not_signed(signer: tuple[str, str], reason: str) -> Illegal:
    """Return the finding about a command that is not signed by its principal, with that key."""
    principal, signing_key = signer
    return Illegal("SignatureInvalid", f"a signature of {principal}, key {signing_key[:16]}", reason)


class Verdicts(Protocol):
    """Which of some signatures are wrong, by their place."""

    def ready(self) -> bool:
        """Tell whether they are known."""

    def wrong(self) -> frozenset[int]:
        """Return them, after waiting for them if need be."""


class Checker(Protocol):
    """Who verifies signatures: this process, or another one that has nothing else to do."""

    def check(self, signed: Sequence[Signed]) -> Verdicts: ...


@dataclass(frozen=True, slots=True)
class Known:
    """Verdicts that are there."""

    places: frozenset[int]

    def ready(self) -> bool:
        return True

    def wrong(self) -> frozenset[int]:
        return self.places


class OwnChecker:
    """Verifies at once, in this process."""

    def check(self, signed: Sequence[Signed]) -> Known:
        return Known(wrong_of(signed))


def wrong_of(signed: Sequence[Signed]) -> frozenset[int]:
    """Verify signatures; return the places of those that are wrong."""
    return frozenset(place for place, each in enumerate(signed) if not each.valid())
