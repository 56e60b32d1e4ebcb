"""Orders: signed, sealed command records, ready to send. Pure: time, id and reply key are arguments.

The value is written as text, not through a model: field values are checked before they get here, and the tests parse
what comes out with the service's strict reader.
"""

import json
from dataclasses import dataclass
from hashlib import sha256

from keyfold.bus import Outbound
from keyfold.client.intents import Intent
from keyfold.client.view import SealingKey
from keyfold.events import bodies, topics
from keyfold.events.bodies import Item
from keyfold.events.commands import type_of
from keyfold.events.replies import CORRELATION_HEADER
from keyfold.events.signatures import command_message
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.streams import partition_of, principal_stream
from keyfold.events.times import to_text
from keyfold.identity import Identity
from keyfold.telemetry.tracing import handed_on


@dataclass(frozen=True, slots=True, repr=False)
class Order:
    """One command as it is sent, and what is needed to believe its reply. Sending it again sends the same bytes."""

    id: str
    intent: Intent
    record: Outbound
    digest: str
    reply_key: bytes
    items: int


@dataclass(frozen=True, slots=True)
class ReplyPlace:
    """The one partition that this client reads its replies from."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, repr=False)
class Stamp:
    """What is fresh in every order."""

    id: str
    reply_key: bytes
    now_ms: int
    expires_ms: int
    min_registry_revision: int = 0
    trace: bytes | None = None


class OrderWriter:
    """Writes the orders of one identity in one deployment of `partitions` partitions, as it acts on `host`."""

    def __init__(
        self, identity: Identity, deployment: str, partitions: int, reply: ReplyPlace, host: str | None = None
    ) -> None:
        self._identity = identity
        self._deployment = deployment
        self._partitions = partitions
        self._reply = reply
        self._source = principal_stream(identity.name) + (f"/{host}" if host else "")
        self._signer_header = (SIGNER_HEADER, identity.signer.fingerprint.encode())

    @property
    def principal(self) -> str:
        """Who signs."""
        return self._identity.name

    def write(
        self, intent: Intent, items: list[Item], contexts: list[str], sealing_key: SealingKey, stamp: Stamp
    ) -> Order:
        """Write, seal and sign one command."""
        value = self._value(intent, items, contexts, sealing_key.id, stamp).encode()
        body = bodies.encode(stamp.reply_key, items)
        sealed = bodies.SUITE.encrypt(body, sealing_key.public_key, bodies.info(value))
        stream = intent.stream.encode()
        signature = self._identity.signer.sign(command_message(self._deployment, stream, value, sealed))
        headers = (
            self._signer_header,
            (SIGNATURE_HEADER, signature),
            (SEALED_HEADER, sealed),
            (CORRELATION_HEADER, stamp.id.encode()),
        )
        place = partition_of(intent.stream, self._partitions)
        record = handed_on(Outbound(topics.COMMANDS, place, stream, value, headers), stamp.trace)
        return Order(stamp.id, intent, record, sha256(value).hexdigest(), stamp.reply_key, len(items))

    def _value(self, intent: Intent, items: list[Item], contexts: list[str], sealing_key: str, stamp: Stamp) -> str:
        name, reply = self._identity.name, self._reply
        return (
            f'{{"specversion":"1.0","id":"{stamp.id}","source":"{self._source}","type":"{type_of(intent.verb)}",'
            f'"subject":"{intent.stream}","time":"{to_text(stamp.now_ms)}","datacontenttype":"application/json",'
            f'"data":{{"principal":"{name}","signing_key":"{self._identity.signer.fingerprint}",'
            f'"sealing_key":"{sealing_key}","expires_at":"{to_text(stamp.expires_ms)}",'
            f'"reply":{{"topic":"{reply.topic}","partition":{reply.partition},"correlation_id":"{stamp.id}"}},'
            f'"min_registry_revision":{stamp.min_registry_revision or "null"},"retry_of":{_text(intent.retry_of)},'
            f"{_why_and_whether(intent)}{_data_plane(intent, items, contexts)}"
            f'"arguments":{intent.arguments}}}}}'
        )


def _why_and_whether(intent: Intent) -> str:
    """What only some commands say; the others leave it out and mean the same."""
    reason = "" if intent.reason is None else f'"reason":{json.dumps(intent.reason, ensure_ascii=False)},'
    dry_run = '"dry_run":true,' if intent.dry_run else ""
    receipt = "" if intent.collector is None else '"receipt":true,'
    return f"{reason}{dry_run}{receipt}"


def _data_plane(intent: Intent, items: list[Item], contexts: list[str]) -> str:
    if not intent.data_plane:
        return ""
    size = sum([len(data) for _, data in items])
    clear = f'"contexts":[{",".join(contexts)}],"items":{len(items)},"bytes":{size},"alias":{_text(intent.alias)},'
    return clear if intent.proposal is None else f'{clear}"proposal":"{intent.proposal}",'


def _text(value: str | None) -> str:
    return "null" if value is None else f'"{value}"'
