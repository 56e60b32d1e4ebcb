"""A log of key uses, on any bus: authentic records with event times as a test wants them, and made quickly.

Root, policy and the worker are played. Each use is a decision with its outcome behind it; nothing was really decided,
and readers that only believe cannot tell.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from keyfold.bus import Bus, Outbound
from keyfold.ceremony import statements
from keyfold.events import facts, topics
from keyfold.events.signatures import Signer
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.streams import key_stream, partition_of
from keyfold.events.times import to_text
from keyfold.log import Author
from keyfold.log.author import transactional_id

ROLES = ("policy", "hsm", "analytics")


def signer(name: str) -> Signer:
    """The key of a role or a principal of these tests."""
    return Signer(sha256(f"usage-log/{name}".encode()).digest())


ROOT = signer("root")
DEPLOYMENT = ROOT.fingerprint


def key_id(number: int) -> str:
    """The id of a key by its number."""
    return str(UUID(int=number))


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a key at a time (ms): asked for, and denied where there is a code."""

    at_ms: int
    principal: str
    key: int
    verb: str = "Decrypt"
    items: int = 1
    context: str = ""
    code: str | None = None
    failures: int = 0


class UsageLog:
    """Writes to `keyfold.events` of a bus, in transactions."""

    def __init__(self, bus: Bus, partitions: int, now_ms: int) -> None:
        self.bus, self.partitions, self.now_ms = bus, partitions, now_ms
        self._heads: dict[tuple[str, int], ChainHead] = {}
        self._number = 0

    async def begin(self) -> None:
        """Write genesis and the certificates."""
        members = {name: signer(name).public_key for name in ("admin-1", "admin-2")}
        known: dict[str, Any] = {"scheduler": signer("scheduler").public_key}
        known["analytics"] = signer("analytics-principal").public_key
        first = statements.genesis(
            1,
            self.now_ms,
            root_public_key=ROOT.public_key,
            partitions=self.partitions,
            development=True,
            administrators=members,
            policies={"rules": "permit (principal, action, resource);"},
            **known,
        )
        keys = {role: statements.ServiceKeys(signer(role).public_key) for role in ROLES}
        events = [first, *statements.certificates(2, self.now_ms - 60_000, keys)]
        await self.commit(0, self.signed("root", 0, statements.entries(events)))

    def signed(self, role: str, partition: int, entries: Sequence[Entry], *, remember: bool = True) -> list[Outbound]:
        """Sign entries as the next statement of a role; one that is not remembered is as if it never was."""
        key = ROOT if role == "root" else signer(role)
        author = Author(DEPLOYMENT, role, key.fingerprint, key.sign)
        head, records = author.records(
            topics.EVENTS, partition, self._heads.get((role, partition), ChainHead()), entries
        )
        if remember:
            self._heads[role, partition] = head
        return records

    async def commit(self, partition: int, records: Sequence[Outbound]) -> None:
        """Write records in one transaction."""
        writer = self.bus.writer(transactional_id("usage-log", partition))
        await writer.start()
        try:
            await writer.commit(records)
        finally:
            await writer.stop()

    def entries(self, uses: Iterable[Use]) -> dict[int, list[tuple[Entry, Entry | None]]]:
        """Return decision and outcome of each use, by partition, in their order."""
        found: dict[int, list[tuple[Entry, Entry | None]]] = {}
        for use in uses:
            self._number += 1
            stream = key_stream(key_id(use.key))
            pair = _decision(use, self._number), None if use.code else _outcome(use, self._number)
            key = stream.encode()
            found.setdefault(partition_of(stream, self.partitions), []).append(
                (Entry(key, pair[0]), None if pair[1] is None else Entry(key, pair[1]))
            )
        return found

    async def write(self, uses: Iterable[Use], *, batch: int = 100, statement: int = 1) -> int:
        """Write uses, each partition in transactions of so many; return how many records that made.

        Outcomes follow their decisions after so many of them, as those of one statement do.
        """
        count = 0
        for partition, pairs in sorted(self.entries(uses).items()):
            writer = self.bus.writer(transactional_id("usage-log", partition))
            await writer.start()
            try:
                for at in range(0, len(pairs), batch):
                    records: list[Outbound] = []
                    for first in range(at, min(at + batch, len(pairs)), statement):
                        part = pairs[first : min(first + statement, at + batch)]
                        records += self.signed("policy", partition, [decision for decision, _ in part])
                        outcomes = [outcome for _, outcome in part if outcome is not None]
                        records += self.signed("hsm", partition, outcomes) if outcomes else []
                    await writer.commit(records)
                    count += len(records)
            finally:
                await writer.stop()
        return count


def _decision(use: Use, number: int) -> bytes:
    """The bytes of a decision, as its model writes them."""
    command = {
        "specversion": "1.0", "id": str(UUID(int=number)), "source": f"principal/{use.principal}",
        "type": f"keyfold.command.{use.verb}.v1", "subject": key_stream(key_id(use.key)), "time": to_text(use.at_ms),
        "datacontenttype": "application/json",
        "data": {
            "principal": use.principal, "signing_key": "ab" * 32, "sealing_key": str(UUID(int=1)),
            "expires_at": to_text(use.at_ms + 60_000),
            "reply": {"topic": topics.REPLIES, "partition": 0, "correlation_id": "c"}, "arguments": {},
            "contexts": [{"tenant": use.context} if use.context else {}], "items": use.items, "bytes": 10 * use.items,
        },
    }  # fmt: skip
    decision = {
        "command": json.dumps(command), "command_digest": "cd" * 32, "body_digest": "ef" * 32, "signature": "00" * 64,
        "offset": number, "policies": ["registry/rules#0"], "registry_revision": 0, "facts_n": 0, "registry_n": 0,
        "root_n": 0, "grant": None, "charges": {}, "proposal": None,
    }  # fmt: skip
    common = {"decision": decision, "verb": use.verb, "principal": use.principal}
    stream, at = key_stream(key_id(use.key)), to_text(use.at_ms)
    if use.code is not None:
        return facts.CommandDenied.new(f"{number}.decision", stream, at, **common, code=use.code).to_value()
    data = {
        **common, "key_id": key_id(use.key), "key_version": None, "protection": "HSM", "items": use.items,
        "bytes": 10 * use.items, "refused_versions": [],
    }  # fmt: skip
    return facts.CommandAuthorized.new(f"{number}.decision", stream, at, **data).to_value()


def _outcome(use: Use, number: int) -> bytes:
    failures = {"InvalidCiphertext": list(range(use.failures))} if use.failures else {}
    data = {
        "offset": number, "command_id": str(UUID(int=number)), "command_digest": "cd" * 32,
        "principal": use.principal, "verb": use.verb, "key_id": key_id(use.key), "items": use.items,
        "bytes": 10 * use.items, "versions": {"1": use.items - use.failures}, "failures": failures, "mac": "ab" * 32,
    }  # fmt: skip
    stream = key_stream(key_id(use.key))
    return facts.KeyUsed.new(f"{number}.outcome", stream, to_text(use.at_ms), **data).to_value()
