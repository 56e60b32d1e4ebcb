"""Exit codes, and how an error is told: one line on standard error, or one JSON object with `--json`.

0  done
1  refused: a policy, a key's state, or a rule of the service; nothing was done
2  usage: wrong arguments, a file that is not there
3  unavailable: something does not run or answer (or is not set up); try again, or see `keyfold doctor`
4  integrity: what was read is not authentic, or differs from what it must be
70 a bug: please report it (KEYFOLD_DEBUG=1 shows where)
130 interrupted
"""

import json
from typing import Any, Final

from keyfold.events.errors import (
    InvalidCiphertext,
    InvalidCommand,
    InvalidMac,
    InvalidSignature,
    KeyfoldError,
    RecordError,
    Refusal,
    TokenUnavailable,
    Unavailable,
)

OK: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
INTEGRITY: Final = 4
BUG: Final = 70
INTERRUPTED: Final = 130

_CODES: Final[tuple[tuple[tuple[type[BaseException] | str, ...], int], ...]] = (
    (("keyfold.client.envelope.format.EnvelopeInvalid", InvalidCiphertext, InvalidSignature, InvalidMac), INTEGRITY),
    ((RecordError, "keyfold.log.registry.RegistryBroken", "keyfold.log.state_topic.StateCorrupt"), INTEGRITY),
    (("keyfold.projections.errors.ProjectionError",), INTEGRITY),
    (("keyfold.client.errors.InvalidArgument", "keyfold.identity.IdentityUnusable", InvalidCommand), USAGE),
    ((FileNotFoundError, IsADirectoryError, PermissionError), USAGE),
    (("keyfold.ceremony.errors.CeremonyRefused", "keyfold.ceremony.errors.CeremonyIncomplete"), REFUSED),
    ((TokenUnavailable, Unavailable, "keyfold.embedded.errors.EmbeddedError"), UNAVAILABLE),
    (("keyfold.config.ConfigError", "keyfold.bus.errors.BusError"), UNAVAILABLE),
    ((Refusal,), REFUSED),
    ((KeyfoldError, OSError), UNAVAILABLE),
)
"""The first line that holds the error's class or one of its bases. Classes of packages that not every command needs
stand here by name: to look an error up must not import what the command that failed did not."""


class NotReady(Unavailable):
    """The deployment does not exist here, or does not run."""

    code = "NotReady"


class UsageError(KeyfoldError):
    """The arguments do not make sense together."""

    code = "UsageError"


class Differs(RecordError):
    """A check of the command line itself failed: what came back is not what went in."""

    code = "Differs"


def exit_code(error: BaseException) -> int:
    """Return the exit code that an error ends the program with."""
    if isinstance(error, UsageError):
        return USAGE
    lineage = {kind for base in type(error).__mro__ for kind in (base, f"{base.__module__}.{base.__qualname__}")}
    return next((code for kinds, code in _CODES if not lineage.isdisjoint(kinds)), BUG)


def describe(error: BaseException) -> dict[str, Any]:
    """Return the error as data: stable code, one line, whether it may pass, what to do, and the exit code."""
    code = error.code if isinstance(error, KeyfoldError) else type(error).__name__
    message = _os_message(error) if isinstance(error, OSError) and not isinstance(error, KeyfoldError) else str(error)
    return {
        "code": code,
        "message": " ".join(message.split()) or code,
        "retriable": isinstance(error, KeyfoldError) and error.retriable,
        "hint": error.hint if isinstance(error, Refusal) else None,
        "exit_code": exit_code(error),
    }


def render(error: BaseException, *, as_json: bool) -> str:
    """Return the line for standard error."""
    told = describe(error)
    if as_json:
        return json.dumps({"error": told})
    return f"keyfold: {told['code']}: {told['message']}"


def _os_message(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason
