"""Errors of the worker itself, beside those of the bus, the token and the log.

KeyfoldError
├── ProbeFailed          a token allows what it must not: the worker refuses to serve
├── DeploymentMismatch   the log belongs to another number of partitions than the settings say
├── KeystoreBroken       the keystore is not what the state's head says: the partition stops
└── TokenNeeded          internal: this ticket must leave the event loop, because it has to ask the token
"""

from keyfold.events.errors import KeyfoldError
from keyfold.token import ProbeReport


class ProbeFailed(KeyfoldError):
    """A token allows what it must not."""

    code = "ProbeFailed"

    def __init__(self, token: str, report: ProbeReport) -> None:
        shown = "; ".join(report.allowed[:5])
        super().__init__(f"token {token!r} allows what it must not: {shown}; use another token or module version")


class DeploymentMismatch(KeyfoldError):
    """The settings and the log do not fit."""

    code = "DeploymentMismatch"


class KeystoreBroken(KeyfoldError):
    """The keystore partition has a gap, or does not end where the worker's own state says."""

    code = "KeystoreBroken"


class TokenNeeded(Exception):
    """A ticket that was tried on the event loop must ask the token, and so go to a thread. Changes nothing."""
