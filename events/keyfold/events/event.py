"""What every event is: its CloudEvents attributes, and the decision that policy's events carry.

The vocabulary itself is in `facts` and `governance`. Nothing here knows a particular fact.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from keyfold.events import topics
from keyfold.events.streams import Fingerprint, Name, Stream, Uuid
from keyfold.events.strictjson import Frozen
from keyfold.events.times import Instant

Role = Literal["policy", "hsm", "root", "projector", "notary", "analytics"]
Count = Annotated[int, Field(ge=0)]
Version = Annotated[int, Field(ge=1, le=2**32 - 1)]
Epoch = Annotated[int, Field(ge=1, le=2**32 - 1)]
Attributes = Annotated[dict[str, bool | int | str], Field(max_length=60)]
Code = Annotated[str, Field(max_length=64)]


class ProposalUse(Frozen):
    """The proposal that a decision carries out: its command as its author signed it, and whose approvals counted."""

    proposal: Uuid
    command: str
    body_digest: Fingerprint
    signature: str
    approvers: list[Name]


class Decision(Frozen):
    """Why a command was answered as it was, with all that is needed to make the decision again.

    `signature` is the principal's (hex). `policies` determined the answer; `grant` is the grant that covered what no
    policy permits. `registry_revision` counts accepted policy records on partition 0. What was folded before deciding:
    `registry_n` leaves of partition 0 (elsewhere than there), the HSM worker's statements up to `facts_n`, root's up to
    `root_n`. `charges` are the levels of the limits after this command.
    """

    command: str
    command_digest: Fingerprint
    body_digest: Fingerprint
    signature: str
    offset: Count
    policies: list[str]
    registry_revision: Count
    facts_n: Count
    registry_n: Count = 0
    root_n: Count = 0
    grant: Uuid | None = None
    charges: Annotated[dict[str, Count], Field(default_factory=dict)]
    proposal: ProposalUse | None = None


class Event(Frozen):
    """The CloudEvents attributes of every event; `time` is the broker time that the author used."""

    type_name: ClassVar[str]
    role: ClassVar[Role]
    topic: ClassVar[str] = topics.EVENTS

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: Stream
    time: Instant
    datacontenttype: Literal["application/json"] = "application/json"
    data: Any

    @classmethod
    def new(cls, identifier: str, subject: str, time: str, **data: Any) -> "Event":
        """Build an event from its data fields; the attributes follow from the class."""
        model = cls.model_fields["data"].annotation
        if model is None:
            raise TypeError(cls.__name__)
        return cls(
            id=identifier,
            source=f"keyfold/{cls.role}",
            type=cls.type_name,
            subject=subject,
            time=time,
            data=model(**data),
        )

    def to_value(self) -> bytes:
        """Return the exact bytes of the record; equal events give equal bytes."""
        return self.model_dump_json().encode()


class DecisionData(Frozen):
    decision: Decision


class PolicyEvent(Event):
    """A fact that policy decided; `data.decision` is always there."""

    role = "policy"
    data: DecisionData
