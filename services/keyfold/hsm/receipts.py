"""Receipts of a committed batch: for who asked, the outcome's record, sealed into the reply that is about to leave.

Nothing is sent here, and nothing is kept: if we crash, receipts are lost with their replies, and the outcomes stand.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from keyfold.bus import Outbound, header_bytes
from keyfold.events import topics
from keyfold.events.log_records import record_of
from keyfold.events.receipts import RECEIPT_HEADER, SALT_BYTES, SealedRecord, seal_receipt
from keyfold.hsm.engine import Work

_DOCUMENT_BYTES = 4096
"""What the rest of a reply record takes at most beside its value and its sealed parts."""


def with_receipts(
    works: Sequence[Work],
    records: Sequence[Outbound],
    offsets: Sequence[int],
    random: Callable[[int], bytes] = os.urandom,
) -> Sequence[Work]:
    """Return the works with receipts in the replies of those that asked.

    `records` begin with the works' events, in order; `offsets` are where they were committed. A receipt that does not
    fit beside a large result is left out.
    """
    if not any(work.receipt_key for work in works):
        return works
    found: list[Work] = []
    end = 0
    for work in works:
        end += len(work.events)
        made = None
        if work.receipt_key and work.reply is not None and work.ticket is not None:
            outcome = records[end - 1]
            receipt = SealedRecord(offsets[end - 1], record_of(outcome.key, outcome.value, outcome.headers))
            digest = work.ticket.decision.command_digest
            made = _beside(work.reply, seal_receipt(work.receipt_key, random(SALT_BYTES), digest, receipt))
        found.append(work if made is None else replace(work, reply=made))
    return found


def _beside(reply: Outbound, sealed: bytes) -> Outbound | None:
    size = len(reply.value or b"") + header_bytes(reply.headers) + len(sealed)
    if size > topics.MAX_REPLY_BYTES - _DOCUMENT_BYTES:
        return None
    return replace(reply, headers=(*reply.headers, (RECEIPT_HEADER, sealed)))
