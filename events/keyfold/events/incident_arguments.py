"""What commands about incidents and suppressions of findings take as arguments.

Incidents are what analytics finds on the event stream; nothing of it is in the log. So an incident's id is the caller's
word for one, and only operators' acts on it are known here.
"""

from typing import Annotated, Literal

from pydantic import StringConstraints

from keyfold.events.arguments import Text
from keyfold.events.streams import KEY_PREFIX, NAME_PATTERN, PRINCIPAL_PREFIX, UUID_PATTERN, Name, Uuid
from keyfold.events.strictjson import Frozen
from keyfold.events.times import Instant

Resolution = Literal["TRUE_POSITIVE", "FALSE_POSITIVE", "BENIGN"]
WatchedEntity = Annotated[
    str, StringConstraints(pattern=rf"^({KEY_PREFIX}{UUID_PATTERN}|{PRINCIPAL_PREFIX}{NAME_PATTERN})$")
]
"""Whom findings are about: a key, or a principal."""


class AcknowledgeIncidentArguments(Frozen):
    """Somebody looks after it."""

    incident: Uuid
    comment: Text = ""


class CloseIncidentArguments(Frozen):
    """What it turned out to be: an attack or mistake, a false alarm, or unusual use that was meant."""

    incident: Uuid
    resolution: Resolution
    comment: Text = ""


class PutSuppressionArguments(Frozen):
    """Findings of this detector, of this entity, or of both together open no incident until then.

    At least one of them is named, and it ends in the future, within 90 days.
    """

    suppression: Name
    detector: Name | None = None
    entity: WatchedEntity | None = None
    until: Instant
    comment: Text = ""


class SuppressionArguments(Frozen):
    suppression: Name
