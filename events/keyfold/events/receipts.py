"""Receipts: the record of a command's outcome, sealed to its caller. Pure; salts come from the caller.

A receipt is what the HSM worker committed, verbatim: its signed statement names the outcome, which names the command.
It is AES-256-GCM under HKDF(reply key, fresh salt, "keyfold-receipt-v1" ‖ command digest), with the command digest as
associated data, and travels in a header of the reply. It leaves after the commit, so it also says where the record lies
(the Kafka offset, a hint).
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keyfold.events import facts
from keyfold.events.errors import RecordError
from keyfold.events.log_records import LogRecord, parse_record
from keyfold.events.trust import Trust

RECEIPT_HEADER: Final = "kf_receipt"
SALT_BYTES: Final = 32
_OFFSET_BYTES: Final = 8
_NONCE: Final = bytes(12)
_PURPOSE: Final = b"keyfold-receipt-v1"


class ReceiptInvalid(RecordError):
    """A receipt does not open, or is not of the command that it came with."""

    code = "ReceiptInvalid"


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """The record of an outcome, and the Kafka offset of the events topic at which it was committed."""

    offset: int
    record: LogRecord

    def to_bytes(self) -> bytes:
        """Return offset u64 ‖ record, in the form of `log_records`."""
        return self.offset.to_bytes(_OFFSET_BYTES, "big") + self.record.to_bytes()

    def verify(self, trust: Trust) -> facts.Outcome:
        """Return the outcome as the certified worker signed it. Raises `UntrustedRecord`, `ReceiptInvalid`."""
        event = self.record.verify_author(trust)
        if not isinstance(event, facts.Outcome):
            raise ReceiptInvalid(f"a receipt holds an outcome, not {event.type}")
        return event


def parse_receipt(document: bytes) -> SealedRecord:
    """Take back what `SealedRecord.to_bytes` gave. Raises `ReceiptInvalid`, `LogRecordInvalid`."""
    if len(document) < _OFFSET_BYTES:
        raise ReceiptInvalid("the receipt ends too early")
    return SealedRecord(int.from_bytes(document[:_OFFSET_BYTES], "big"), parse_record(document[_OFFSET_BYTES:]))


def seal_receipt(reply_key: bytes, salt: bytes, command_digest: str, receipt: SealedRecord) -> bytes:
    """Return salt ‖ ciphertext. The salt must be fresh: it makes the key single-use, so the nonce is constant."""
    digest = bytes.fromhex(command_digest)
    return salt + _aead(reply_key, salt, digest).encrypt(_NONCE, receipt.to_bytes(), digest)


def open_receipt(reply_key: bytes, command_digest: str, sealed: bytes) -> SealedRecord:
    """Open what `seal_receipt` made. Raises `ReceiptInvalid`, `LogRecordInvalid`."""
    digest = bytes.fromhex(command_digest)
    salt, ciphertext = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
    try:
        return parse_receipt(_aead(reply_key, salt, digest).decrypt(_NONCE, ciphertext, digest))
    except (InvalidTag, ValueError):
        raise ReceiptInvalid("the receipt does not open with this command's reply key") from None


def _aead(reply_key: bytes, salt: bytes, digest: bytes) -> AESGCM:
    return AESGCM(HKDF(hashes.SHA256(), 32, salt, _PURPOSE + digest).derive(reply_key))
