"""Who is in a test deployment, and what they sign: deterministic keys, genesis, certificates, commands.

Nothing here is random or reads a clock. Commands are really signed; bodies are stand-ins, as policy never opens one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

from keyfold.bus import Inbound, Outbound
from keyfold.events import commands, facts, topics
from keyfold.events.signatures import Signer, command_message
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.streams import REGISTRY, partition_of
from keyfold.events.times import to_text

PARTITIONS = 4
START_MS = 1_790_000_000_000
LIFETIME_MS = 600_000
SEALED = b"sealed bodies are random; this stands for one"
ADMINISTRATORS = ("alice", "bob")
RULES = """
permit (principal in Group::"administrators", action, resource);
permit (principal, action in [
    Action::"Encrypt", Action::"Decrypt", Action::"ReEncrypt", Action::"GenerateDataKey",
    Action::"GenerateDataKeyWithoutPlaintext", Action::"GenerateRandom"
], resource);
"""


@cache
def signer(name: str) -> Signer:
    """The signing key of a name."""
    return Signer(sha256(f"keyfold test key: {name}".encode()).digest())


ROOT = signer("root")
DEPLOYMENT = ROOT.fingerprint


def uuid(number: int) -> str:
    """A well-formed id for a number."""
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def key_stream(number: int) -> str:
    return f"key/{uuid(number)}"


def key_on(partition: int, start: int = 1) -> str:
    """The first key stream of a partition, counting from `start`."""
    return next(s for s in map(key_stream, range(start, start + 1000)) if partition_of(s, PARTITIONS) == partition)


SEALING_KEY = uuid(0x5EA1)


def genesis(*, development: bool = False, rules: str = RULES, partitions: int = PARTITIONS) -> facts.Event:
    """Two administrators, a scheduler, and rules under which everybody may use keys."""
    people = [
        facts.InitialPrincipal(principal=name, public_key=signer(name).public_key.hex(), groups=["administrators"])
        for name in ADMINISTRATORS
    ]
    scheduler = signer("scheduler").public_key.hex()
    return facts.Genesis.new(
        "root.1",
        REGISTRY,
        to_text(START_MS),
        root_public_key=ROOT.public_key.hex(),
        partitions=partitions,
        development=development,
        administrators=people,
        services=[facts.InitialPrincipal(principal="scheduler", public_key=scheduler, groups=["administrators"])],
        policies=[facts.InitialPolicy(policy="rules", text=rules)],
    )


def certificate(role: str, key: Signer | None = None) -> facts.Event:
    """Licenses a role's key for 80 days from the start."""
    known = key or signer(role)
    return facts.ServiceKeyCertified.new(
        f"certificate.{known.fingerprint[:8]}",
        REGISTRY,
        to_text(START_MS),
        public_key=known.public_key.hex(),
        service=role,
        topics=[topic.name for topic in topics.TOPICS if role in topic.writers],
        not_before=to_text(START_MS - 60_000),
        not_after=to_text(START_MS + 80 * 86_400_000),
    )


def sealing_key(identifier: str = SEALING_KEY, at_ms: int = START_MS) -> facts.Event:
    """What the worker publishes."""
    public = sha256(identifier.encode()).hexdigest() * 38
    return facts.SealingKeyPublished.new(
        f"hsm.{identifier}", REGISTRY, to_text(at_ms), sealing_key=identifier, public_key=public, blob_digest="0" * 64
    )


def first_events(**options: Any) -> list[facts.Event]:
    """Everything that a working deployment begins with."""
    return [genesis(**options), certificate("policy"), certificate("hsm"), sealing_key()]


@dataclass(frozen=True)
class Signed:
    """A command as it goes onto the bus."""

    stream: str
    value: bytes
    sealed: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def partition(self) -> int:
        return partition_of(self.stream, PARTITIONS)

    @property
    def digest(self) -> str:
        return sha256(self.value).hexdigest()

    def outbound(self) -> Outbound:
        return Outbound(topics.COMMANDS, self.partition, self.stream.encode(), self.value, self.headers)

    def inbound(self, offset: int, timestamp_ms: int) -> Inbound:
        key = self.stream.encode()
        return Inbound(topics.COMMANDS, self.partition, offset, timestamp_ms, key, self.value, self.headers)


def signed(document: Any, stream: str, principal: str = "alice", sealed: bytes = SEALED) -> Signed:
    """Sign a document (or raw bytes) as a principal."""
    value = document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode()
    return signed_by(signer(principal), value, stream, sealed)


def signed_by(key: Signer, value: bytes, stream: str, sealed: bytes = SEALED) -> Signed:
    signature = key.sign(command_message(DEPLOYMENT, stream.encode(), value, sealed))
    headers = ((SIGNER_HEADER, key.fingerprint.encode()), (SIGNATURE_HEADER, signature), (SEALED_HEADER, sealed))
    return Signed(stream, value, sealed, headers)


def document(
    verb: str,
    stream: str,
    number: int,
    *,
    principal: str = "alice",
    arguments: Mapping[str, Any] | None = None,
    contexts: Sequence[Mapping[str, str]] = ({},),
    items: int = 1,
    size: int = 10,
    issued_ms: int = START_MS,
    lifetime_ms: int = LIFETIME_MS,
    **data: Any,
) -> dict[str, Any]:
    """A command's document; `number` becomes its id, further fields go into its data."""
    body: dict[str, Any] = {
        "principal": principal,
        "signing_key": signer(principal).fingerprint,
        "sealing_key": SEALING_KEY,
        "expires_at": to_text(issued_ms + lifetime_ms),
        "reply": {"topic": topics.REPLIES, "partition": 0, "correlation_id": f"c-{number}"},
        "arguments": dict(arguments or {}),
    }
    if commands.BY_VERB[verb].data_plane:
        body |= {"contexts": [dict(context) for context in contexts], "items": items, "bytes": size}
    return {
        "specversion": "1.0",
        "id": uuid(number),
        "source": f"principal/{principal}",
        "type": commands.type_of(verb),
        "subject": stream,
        "time": to_text(issued_ms),
        "datacontenttype": "application/json",
        "data": body | data,
    }


def command(verb: str, stream: str, number: int, *, principal: str = "alice", **options: Any) -> Signed:
    """A signed command."""
    return signed(document(verb, stream, number, principal=principal, **options), stream, principal)
