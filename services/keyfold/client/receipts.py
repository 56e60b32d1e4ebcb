"""Receipts: the HSM worker's signed word for what a command came to, and the proofs that are made of it later.

A receipt is a promise: the worker has signed and committed this outcome of this command. That it is in the log which
everybody sees is shown by a proof, which can be made as soon as a checkpoint covers it, by anyone who holds the receipt
and may read tiles and checkpoints. Denials are policy's and have no receipt, nor have answers that were repeated.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from keyfold.auditing.checkpoints import checkpoint_topics
from keyfold.auditing.proving import check_proof, make_proof
from keyfold.auditing.trees import NotPublished, StoredTree, stored_tree
from keyfold.bus import Bus
from keyfold.events import facts
from keyfold.events.checkpoints import origin_of
from keyfold.events.receipts import ReceiptInvalid, SealedRecord, parse_receipt
from keyfold.events.times import to_milliseconds
from keyfold.events.trust import Trust

_PAUSE_S: Final = 0.1
_CLOCKS_MS: Final = 600_000  # by so much an outcome's time (its decision's) may be ahead of the notary's clock


class Collector:
    """Takes the receipts of the commands that a block of calls sends, in the order in which they are answered."""

    __slots__ = ("receipts",)

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []


COLLECTING: ContextVar[Collector | None] = ContextVar("keyfold-receipts", default=None)
"""Where the calls of this task put their receipts; None where nobody asked."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of one command, as the worker signed it. Calls that shared a command share its receipt.

    `command_id` and `command_digest` are those of the command; `event.data` says what was done.
    """

    sealed: SealedRecord
    event: facts.Outcome

    @property
    def command_id(self) -> str:
        """The command's id, by which an auditor finds it."""
        return self.event.data.command_id

    @property
    def command_digest(self) -> str:
        """SHA-256 (hex) of the exact bytes of the command."""
        return self.event.data.command_digest

    @property
    def partition(self) -> int:
        """The partition of the log that the outcome is in."""
        return self.sealed.record.statement.partition

    def to_bytes(self) -> bytes:
        """Return the receipt, to keep."""
        return self.sealed.to_bytes()

    @classmethod
    def from_bytes(cls, document: bytes) -> "Receipt":
        """Take back what was kept. Its signature is checked when it is proven. Raises `ReceiptInvalid`."""
        sealed = parse_receipt(document)
        event = sealed.record.event
        if not isinstance(event, facts.Outcome):
            raise ReceiptInvalid("the receipt holds no outcome")
        return cls(sealed, event)


def believed(sealed: SealedRecord, command_id: str, command_digest: str, trust: Trust) -> Receipt:
    """Return the receipt of this command. Raises `UntrustedRecord`, `ReceiptInvalid`."""
    event = sealed.verify(trust)
    if event.data.command_id != command_id or event.data.command_digest != command_digest:
        raise ReceiptInvalid("the receipt is of another command")
    return Receipt(sealed, event)


@contextmanager
def collecting() -> Iterator[list[Receipt]]:
    """Let the calls of this task, and of tasks that it starts meanwhile, ask for receipts."""
    collector = Collector()
    token = COLLECTING.set(collector)
    try:
        yield collector.receipts
    finally:
        COLLECTING.reset(token)


async def prove(bus: Bus, receipt: Receipt, trust: Trust, timeout_s: float) -> bytes:
    """Return a tlog-proof of a receipt's outcome, checked by what root certified.

    Waits until a checkpoint covers it. Raises `NotPublished` or `NoCheckpoint` after `timeout_s`.
    """
    receipt.sealed.verify(trust)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    partition, record = receipt.partition, receipt.sealed.record
    async with stored_tree(bus, partition) as tree, checkpoint_topics(bus) as published:
        index = await _leaf(tree, receipt, deadline)
        origin = origin_of(trust.deployment, partition)
        found = await published.wait_covering(origin, index, timeout_s=max(0.0, deadline - loop.time()))
        document = (await make_proof(tree, record, index, found.note)).to_bytes()
    check_proof(document, trust=trust)
    return document


async def _leaf(tree: StoredTree, receipt: Receipt, deadline: float) -> int:
    """Find the leaf by the offset that the worker named; where that is another's, by its hash, from its time on."""
    leaf = receipt.sealed.record.leaf
    while True:
        try:
            index = await tree.leaf_of_offset(receipt.sealed.offset)
            is_it = await tree.leaf_at(index) == leaf
        except NotPublished:
            # It may not be there yet; or the log was restored, and no leaf lies at the offset any more.
            if asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(_PAUSE_S)
                continue
            is_it = False
        return index if is_it else await tree.search(leaf, to_milliseconds(receipt.event.time) - _CLOCKS_MS)
