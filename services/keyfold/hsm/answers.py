"""Answers: the reply record of an executed ticket. Nothing is sent here.

A result is sealed to the caller's reply key, an error too where the body could be opened. Where it could not, there is
no reply key, and the answer is a clear, signed error.
"""

import os
from collections.abc import Callable
from typing import Final

from keyfold.bus import Outbound
from keyfold.events import replies, topics
from keyfold.events.command_envelope import ReplyAddress, peek_reply
from keyfold.events.replies import CORRELATION_HEADER, Reply, ReplyData
from keyfold.events.signatures import reply_message
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.hsm.tickets import Ticket
from keyfold.log import Author

ERROR: Final = "error"
MARGIN_BYTES: Final = 16 * 1024
MAX_PLAINTEXT_BYTES: Final = topics.MAX_REPLY_BYTES - MARGIN_BYTES
"""What fits into one reply record beside its document, headers and tag."""


class Answers:
    """Makes replies as one author. `random` draws salts: the system's generator, or a test's."""

    def __init__(self, author: Author, random: Callable[[int], bytes] = os.urandom) -> None:
        self._author = author
        self._random = random

    def sealed(
        self, ticket: Ticket, reply_key: bytes, outcome: str, plaintext: bytes, code: str | None = None
    ) -> Outbound | None:
        """Return a sealed result (or error, with `code`); None where the ticket names no place to send it."""
        data = _data(ticket, outcome, code)
        sealed = replies.seal(reply_key, self._random(replies.SALT_BYTES), data, plaintext)
        return _record(ticket, Reply.new("hsm", data).to_value(), ((SEALED_HEADER, sealed),))

    def clear(self, ticket: Ticket, code: str) -> Outbound | None:
        """Return a signed error that says nothing but its code."""
        value = Reply.new("hsm", _data(ticket, ERROR, code)).to_value()
        author = self._author
        signature = author.sign(reply_message(author.deployment, ticket.stream.encode(), value))
        headers = ((SIGNER_HEADER, author.fingerprint.encode()), (SIGNATURE_HEADER, signature))
        return _record(ticket, value, headers)


def _data(ticket: Ticket, outcome: str, code: str | None) -> ReplyData:
    return ReplyData(
        command_id=ticket.command_id,
        command_digest=ticket.decision.command_digest,
        outcome=outcome,
        code=code,
        key_id=ticket.key_id,
        version=ticket.version,
        registry_revision=ticket.registry_revision,
    )


def _record(ticket: Ticket, value: bytes, headers: tuple[tuple[str, bytes], ...]) -> Outbound | None:
    address = _address(ticket)
    if address is None:
        return None
    correlation = (CORRELATION_HEADER, address.correlation_id.encode())
    return Outbound(address.topic, address.partition, ticket.stream.encode(), value, (*headers, correlation))


def _address(ticket: Ticket) -> ReplyAddress | None:
    """Policy has checked it; a worker that sent elsewhere on policy's word could be made to fill internal topics."""
    address = peek_reply(ticket.value) if ticket.command is None else ticket.command.data.reply
    if address is None or not (address.topic == topics.REPLIES or address.topic.startswith(topics.REPLIES_PREFIX)):
        return None
    return address
