"""What a reply says, once it is believed. Pure: record, order and trust in; answer or refusal to believe out.

A sealed result opens only with the order's own reply key; a clear reply is only ever an error and is believed only
with a certified service's signature. Whatever fails a check here is no answer, and the order stays in flight.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keyfold.bus import Inbound
from keyfold.client.orders import Order
from keyfold.client.receipts import Receipt, believed
from keyfold.events import replies
from keyfold.events.receipts import RECEIPT_HEADER, open_receipt
from keyfold.events.replies import ItemResult, ReplyData, ReplyInvalid
from keyfold.events.signatures import reply_message
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.trust import Trust


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """An authentic answer: an error code for all, or results."""

    data: ReplyData
    items: Sequence[ItemResult] = ()

    @property
    def summary(self) -> dict[str, Any]:
        """The JSON object of a control verb's one item; empty where there is none."""
        try:
            found = json.loads(self.items[0].data) if self.items else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def open_reply(order: Order, record: Inbound, trust: Trust, now_ms: int) -> Answer:
    """Believe a reply to this order, or raise: `RecordError` of some kind, or `InvalidCommand` for no reply at all."""
    data = replies.parse_reply(record.value or b"").data
    if data.command_id != order.id or data.command_digest != order.digest:
        raise ReplyInvalid("the reply answers another command")
    sealed = record.header(SEALED_HEADER)
    if sealed is None:
        return _clear(order, record, data, trust, now_ms)
    items = replies.decode_items(replies.unseal(order.reply_key, data, sealed))
    if data.code is None:
        _check_result(order, data, len(items))
    return Answer(data, items)


def receipt_of(order: Order, record: Inbound, trust: Trust) -> Receipt | None:
    """Return the receipt that came with a reply to this order, if one was wanted and is there. Raises `RecordError`."""
    sealed = record.header(RECEIPT_HEADER)
    if sealed is None or order.intent.collector is None:
        return None
    return believed(open_receipt(order.reply_key, order.digest, sealed), order.id, order.digest, trust)


def _clear(order: Order, record: Inbound, data: ReplyData, trust: Trust, now_ms: int) -> Answer:
    if data.code is None:
        raise ReplyInvalid("a result must be sealed")
    stream = order.intent.stream.encode()
    if record.key != stream:
        raise ReplyInvalid("the reply's record key is not the command's stream")
    signer = (record.header(SIGNER_HEADER) or b"").decode("ascii", "replace")
    message = reply_message(trust.deployment, stream, record.value or b"")
    trust.verify_reply_signer(signer, record.header(SIGNATURE_HEADER) or b"", message, now_ms)
    return Answer(data)


def _check_result(order: Order, data: ReplyData, count: int) -> None:
    intent = order.intent
    if intent.key_id is not None and data.key_id != intent.key_id:
        raise ReplyInvalid("the result is of another key")
    if intent.data_plane and count != order.items:
        raise ReplyInvalid("the result has another number of items")
