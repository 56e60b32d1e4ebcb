"""A role's private state of one partition, kept in a compacted topic (design, section 5, rule 4).

State records are unsigned and may be null; the last record of each transaction is one signed head with positions,
chain heads and an LtHash over all live records. A restore verifies one signature and the sum and refuses anything
else: whoever can write to the topic cannot change what a role believes. What the records mean is the role's business.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyfold.bus import Outbound, Reader
from keyfold.events import lthash, strictjson
from keyfold.events.chains import single_header
from keyfold.events.errors import KeyfoldError, RecordError
from keyfold.events.signatures import HEAD, pae
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER, Header
from keyfold.events.trust import Trust
from keyfold.log.author import Author
from keyfold.log.restoring import reading_all

HEAD_KEY: Final = b"head"
_SLICE: Final = 1000  # records that are summed before others on the event loop may run: some 10 ms

Change = tuple[bytes | None, bytes | None]


class StateCorrupt(KeyfoldError):
    """The state topic is not what its signed head says; only an explicit rebuild from events may go on."""

    code = "StateCorrupt"


@dataclass(frozen=True, slots=True)
class Restored:
    """A verified state; `head` is None for a partition that never wrote one."""

    head: dict[str, Any] | None
    records: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Staged:
    """Records of a transaction under way, and the sum that holds once it is committed."""

    records: list[Outbound]
    total: lthash.Sum


class StateTopic:
    """The live sum of one partition's state; `promote` moves it after a commit returned."""

    def __init__(self, author: Author, topic: str, partition: int) -> None:
        self._author = author
        self._topic, self._partition = topic, partition
        self._total = lthash.empty()

    async def restore(self, reader: Reader, trust: Trust) -> Restored:
        """Read the topic to its end and verify it. Raises `StateCorrupt`.

        To be called after the writer has started: then nobody else can still commit to it.
        """
        live: dict[bytes, bytes] = {}
        headers: tuple[Header, ...] = ()
        async with reading_all(reader) as batches:
            async for batch in batches:
                for record in batch:
                    key = record.key or b""
                    if record.value is None:
                        live.pop(key, None)
                    else:
                        live[key] = record.value
                    headers = record.headers if key == HEAD_KEY else headers
            head = live.pop(HEAD_KEY, None)
            total = await _sum(live)
        document = self._verified(head, headers, total, trust)
        self._total = total
        return Restored(document, {key.decode(): value for key, value in live.items()})

    def stage(self, changes: Mapping[str, Change], head: Mapping[str, Any]) -> Staged:
        """Turn changed records (old and new value by name) and the head's content into records, head last."""
        total, records = self._total, []
        for name, (old, new) in changes.items():
            key = name.encode()
            total = lthash.replace(total, key, old, new)
            records.append(Outbound(self._topic, self._partition, key, new))
        document = strictjson.canonical({**self._place(), "head": dict(head), "sum": lthash.to_bytes(total).hex()})
        signed = (
            (SIGNER_HEADER, self._author.fingerprint.encode()),
            (SIGNATURE_HEADER, self._author.sign(pae(HEAD, document))),
        )
        records.append(Outbound(self._topic, self._partition, HEAD_KEY, document, signed))
        return Staged(records, total)

    def promote(self, staged: Staged) -> None:
        """Make a staged sum the live one. If we crash before, the restore computes the same from the topic."""
        self._total = staged.total

    def _place(self) -> dict[str, Any]:
        return {
            "deployment": self._author.deployment,
            "role": self._author.role,
            "topic": self._topic,
            "partition": self._partition,
        }

    def _verified(
        self, head: bytes | None, headers: tuple[Header, ...], total: lthash.Sum, trust: Trust
    ) -> dict[str, Any] | None:
        if head is None:
            if total.any():
                raise StateCorrupt(f"{self._topic}-{self._partition} has records without a head")
            return None
        signer = (single_header(headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
        try:
            trust.verify_head(
                self._author.role, signer, single_header(headers, SIGNATURE_HEADER) or b"", pae(HEAD, head)
            )
        except RecordError as error:
            raise StateCorrupt(f"{self._topic}-{self._partition}: {error}") from None
        document = strictjson.loads(head)
        if {name: document.get(name) for name in self._place()} != self._place():
            raise StateCorrupt(f"the head of {self._topic}-{self._partition} belongs elsewhere")
        if document.get("sum") != lthash.to_bytes(total).hex():
            raise StateCorrupt(f"the records of {self._topic}-{self._partition} are not those that its head covers")
        content = document["head"]
        if not isinstance(content, dict):
            raise StateCorrupt(f"the head of {self._topic}-{self._partition} has no content")
        return content


async def _sum(live: Mapping[bytes, bytes]) -> lthash.Sum:
    total = lthash.empty()
    for number, (key, value) in enumerate(live.items(), 1):
        total += lthash.element(key, value)
        if number % _SLICE == 0:
            await asyncio.sleep(0)
    return total
