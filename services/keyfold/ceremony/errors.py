"""Why a ceremony did not take place.

KeyfoldError
├── CeremonyRefused      the log, the tokens or another ceremony forbid it; nothing was changed
└── CeremonyIncomplete   an earlier attempt left something that cannot be continued; the message says what to remove
"""

from keyfold.events.errors import KeyfoldError


class CeremonyRefused(KeyfoldError):
    """The ceremony must not take place here."""

    code = "CeremonyRefused"


class CeremonyIncomplete(KeyfoldError):
    """Remains of an earlier attempt are in the way."""

    code = "CeremonyIncomplete"
