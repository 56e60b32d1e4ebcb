"""What root said about keys, verbatim, in one document: with it, proofs are checked offline from the fingerprint alone.

The document holds genesis, which names the root key, and root's certificates and revocations. Each is believed by
root's signature. That nothing later revokes a key no file can say: it is as old as its export.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from typing import Final

from keyfold.bus import Bus
from keyfold.events import facts, topics
from keyfold.events.errors import RecordError
from keyfold.events.log_records import LogRecord, parse_record, record_of
from keyfold.events.statements import UntrustedRecord
from keyfold.events.trust import Trust

FORMAT: Final = "keyfold-root-records-v1"
_KINDS: Final = (facts.Genesis, facts.ServiceKeyCertified, facts.ServiceKeyRevoked)


class RootRecordsInvalid(RecordError):
    """The document does not hold root's records of this deployment."""

    code = "RootRecordsInvalid"


async def read_root_records(bus: Bus, trust: Trust) -> list[LogRecord]:
    """Return root's records from events partition 0, in their order, believed. `trust` is what is known of root."""
    found: list[LogRecord] = []
    reader = bus.reader(topics.EVENTS, 0, committed=True)
    try:
        await reader.start(None)
        async for batch in reader.read_to_end():
            for inbound in batch:
                record = record_of(inbound.key, inbound.value, inbound.headers)
                if isinstance(record.event, _KINDS) and _is_believed(record, trust):
                    found.append(record)
    finally:
        await reader.stop()
    return found


async def read_genesis(bus: Bus, deployment: str) -> facts.Genesis:
    """Return the genesis of the deployment with this fingerprint from its log. Raises `RootRecordsInvalid`."""
    reader = bus.reader(topics.EVENTS, 0, committed=True)
    try:
        await reader.start(None)
        async for batch in reader.read_to_end():
            for inbound in batch:
                record = record_of(inbound.key, inbound.value, inbound.headers)
                event = record.event
                if isinstance(event, facts.Genesis):
                    trust_of([record], deployment)
                    return event
    finally:
        await reader.stop()
    raise RootRecordsInvalid("the log has no genesis; is this the right cluster?")


def trust_of(records: Sequence[LogRecord], deployment: str) -> Trust:
    """Return what root certified, from the pinned fingerprint. Raises `UntrustedRecord`, `RootRecordsInvalid`."""
    genesis = records[0].event if records else None
    if not isinstance(genesis, facts.Genesis):
        raise RootRecordsInvalid(
            "the root records do not begin with genesis; save them again with `keyfold audit keys`"
        )
    trust = Trust.pin(deployment, bytes.fromhex(genesis.data.root_public_key))
    for record in records:
        event = record.verify_author(trust)
        if not isinstance(event, _KINDS):
            raise RootRecordsInvalid(f"{event.type} is not what root says about keys of services")
        trust = trust.with_event(event)
    return trust


def to_document(records: Iterable[LogRecord]) -> str:
    """Return the records as JSON."""
    return json.dumps({"format": FORMAT, "records": [base64.b64encode(r.to_bytes()).decode() for r in records]})


def from_document(document: bytes) -> list[LogRecord]:
    """Take a document back; nothing is believed yet. Raises `RootRecordsInvalid`."""
    try:
        parsed = json.loads(document)
        records = parsed["records"] if parsed["format"] == FORMAT else ["of another format"]
        return [parse_record(base64.b64decode(text, validate=True)) for text in records]
    except (ValueError, KeyError, TypeError, binascii.Error, RecordError):
        raise RootRecordsInvalid(
            "no document of root records; save one with `keyfold audit keys --save FILE`"
        ) from None


def _is_believed(record: LogRecord, trust: Trust) -> bool:
    try:
        record.verify_author(trust)
    except UntrustedRecord:
        return False
    return True
