"""One command on its way to the worker, and the answer to it."""

from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import UUID

from keyfold.bus import Inbound
from keyfold.events import facts, replies
from keyfold.events.replies import ItemResult
from keyfold.events.statements import SEALED_HEADER, Entry


@dataclass(frozen=True)
class Order:
    """A command on its way through policy: the decision's event, the body, and what the caller keeps."""

    event: facts.Event
    sealed: bytes
    body: bytes
    reply_key: bytes
    command_id: str
    digest: str

    @property
    def stream(self) -> str:
        return self.event.subject

    def entry(self) -> Entry:
        return Entry(self.event.subject.encode(), self.event.to_value(), self.sealed)


@dataclass(frozen=True)
class Answer:
    """A reply as its caller reads it."""

    data: replies.ReplyData
    items: list[ItemResult] | None
    plaintext: bytes = b""


def results(answer: Answer) -> list[bytes]:
    """What the items of an answer are, all of which succeeded."""
    assert answer.items is not None
    assert all(item.code is None for item in answer.items), answer.items
    return [item.data for item in answer.items]


def with_sealed(order: Order, sealed: bytes, *, decided: bool = True) -> Order:
    """The order with another body; `decided` makes the decision name it."""
    event = order.event
    if decided:
        decision = event.data.decision.model_copy(update={"body_digest": sha256(sealed).hexdigest()})
        event = event.model_copy(update={"data": event.data.model_copy(update={"decision": decision})})
    return replace(order, event=event, sealed=sealed)


def uuid_bytes(name: str) -> bytes:
    """An id as the token has it."""
    return UUID(name).bytes


def answer_of(order: Order, data: replies.ReplyData, record: Inbound) -> Answer:
    """The answer in a reply, opened with the order's key where it is sealed."""
    sealed = record.header(SEALED_HEADER)
    if sealed is None:
        return Answer(data, None)
    plaintext = replies.unseal(order.reply_key, data, sealed)
    return Answer(data, replies.decode_items(plaintext), plaintext)
