"""The intruder: records that somebody without a licence would write on the services' own topics.

Each is made from a genuine record (or from nothing) and differs from it in one thing. They are written with a plain
producer: what keeps strangers off these topics in a deployment (ACLs) is assumed to have failed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256

import pytest
from tests.support.forge import damaged, signed_record

from keyfold.bus import Bus, Inbound, Outbound
from keyfold.ceremony.tokens import token_module
from keyfold.config import Config
from keyfold.events import facts, topics
from keyfold.events.signatures import Signer
from keyfold.events.statements import PATH_HEADER, SEALED_HEADER, SIGNATURE_HEADER, STATEMENT_HEADER, ChainHead, Entry
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.identity import load_identity
from keyfold.token import TokenSigner, open_token

ROLES = ("policy", "hsm", "projector", "notary")


def service_key(config: Config, role: str) -> Signer:
    """A service's own signing key, as a thief of its file has it; of the notary, of its token's PIN."""
    if role == "notary":
        return _InToken(config)
    return load_identity(config.identities_directory / f"{role}.json").signer


class _InToken(Signer):
    """The identity in the token `notary`: opened for each signature, since others use the library in this process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        with self._opened() as identity:
            self.public_key, self.fingerprint = identity.public_key, identity.fingerprint

    def sign(self, message: bytes) -> bytes:
        with self._opened() as identity:
            return identity.sign(message)

    @contextmanager
    def _opened(self) -> Iterator[TokenSigner]:
        pin = self._config.pins_directory / "notary"
        with pytest.MonkeyPatch.context() as patch:
            # Loading the library leaves this set, for whoever opens a token later in this process.
            patch.setenv("SOFTHSM2_CONF", str(self._config.softhsm2_conf))
            with token_module(self._config) as module, open_token(module, "notary", pin) as token:
                yield TokenSigner(token)


def copy_of(record: Inbound, **changes: object) -> Outbound:
    """A record as it was read, to be written again, with fields exchanged."""
    again = Outbound(record.topic, record.partition, record.key, record.value, record.headers)
    return replace(again, **changes)  # type: ignore[arg-type]


def forgeries(genuine: Inbound, config: Config, plain: bytes) -> Iterator[tuple[str, Outbound]]:
    """Records like a genuine one that nobody may believe, by what is wrong with each."""
    key, value, headers = genuine.key or b"", genuine.value or b"", genuine.headers
    elsewhere = 1 + genuine.partition % (config.partitions - 1)
    yield "unsigned", copy_of(genuine, headers=())
    yield "null", copy_of(genuine, value=None)
    yield "null, unsigned", copy_of(genuine, value=None, headers=())
    yield "without a key", copy_of(genuine, key=None)
    yield "no stream", copy_of(genuine, key=b"head")
    yield "garbage", copy_of(genuine, value=plain, headers=())
    yield "another value under the statement", copy_of(genuine, value=value.replace(b"keyfold", b"keyfo1d", 1))
    yield "another partition", copy_of(genuine, partition=elsewhere)
    yield "another record key", copy_of(genuine, key=b"key/01890a5d-ac96-774b-bcce-b302099a8057")
    for name in (STATEMENT_HEADER, SIGNATURE_HEADER, PATH_HEADER, SEALED_HEADER):
        if any(header == name for header, _ in headers):
            yield f"damaged {name}", copy_of(genuine, headers=_changed(headers, name))
            yield f"repeated {name}", copy_of(genuine, headers=(*headers, (name, dict(headers)[name])))
    yield from _authors(genuine, config, Entry(key, value))


def _authors(genuine: Inbound, config: Config, entry: Entry) -> Iterator[tuple[str, Outbound]]:
    place, deployment = (genuine.topic, genuine.partition), config.deployment or ""
    anybody = Signer(sha256(b"anybody").digest())
    author = facts.parse_event(entry.value).role
    yield "a stranger", signed_record(anybody, deployment, author, place, entry)
    yield "a stranger as root", signed_record(anybody, deployment, "root", place, entry)
    yield "another deployment", signed_record(service_key(config, author), "0" * 64, author, place, entry)
    for role in ROLES:
        signer = service_key(config, role)
        if role != author:
            yield f"{role} as {author}", signed_record(signer, deployment, author, place, entry)
        yield f"{role} as root", signed_record(signer, deployment, "root", place, entry)
    for role in ("projector", "notary"):
        yield f"{role} as itself", signed_record(service_key(config, role), deployment, role, place, entry)


def administrator(principal: str, signer: Signer) -> facts.Event:
    """An event that would make somebody an administrator."""
    decision = facts.Decision(
        command="{}", command_digest="0" * 64, body_digest="0" * 64, signature="", offset=0,
        policies=[], registry_revision=1, facts_n=0,
    )  # fmt: skip
    return facts.PrincipalRegistered.new(
        "forged", REGISTRY, to_text(1_790_000_000_000), decision=decision, principal=principal,
        public_key=signer.public_key.hex(), algorithm="Ed25519", groups=["administrators"], tags={},
    )  # fmt: skip


def after_next(signer: Signer, deployment: str, role: str, last: Inbound, head: ChainHead) -> Outbound:
    """A record signed by the true author that skips one statement: what a dropped transaction looks like."""
    entry = Entry(last.key or b"", last.value or b"", last.header(SEALED_HEADER) or b"")
    skipped = ChainHead(head.n + 1, "f" * 64)
    return signed_record(signer, deployment, role, (last.topic, last.partition), entry, head=skipped)


async def last_of(bus: Bus, topic: str, partition: int) -> Inbound:
    """Return the last committed record of a partition."""
    reader = bus.reader(topic, partition, committed=True)
    found: list[Inbound] = []
    try:
        await reader.start(None)
        async for records in reader.read_to_end():
            found = records
    finally:
        await reader.stop()
    return found[-1]


def _changed(headers: tuple[tuple[str, bytes], ...], name: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((header, damaged(value, -1) if header == name else value) for header, value in headers)


INTERNAL = (topics.AUTHORIZED, topics.EVENTS, topics.KEYSTORE)
"""Topics of signed statements. State topics have rules of their own, replies and directory too."""
