"""A round as it is written: tree heads into the token, signatures, and the records of one transaction.

The steps, and what is true if we crash after each of them:
 1. the new heads are kept in the token: the token is ahead of the topics. The next start reads on until it has as many
    records as the token says, and signs only if they have that root;
 2. checkpoints are signed: they are in memory, nobody has seen them, and they are signed again;
 3. one transaction has tile runs, checkpoints and state: all is there, or nothing.
Everything here blocks on the token and computes: it runs in a thread. Nothing here is sent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from keyfold.bus import Outbound
from keyfold.events import topics
from keyfold.events.checkpoints import (
    CONSISTENCY_HEADER,
    NEXT_HEADER,
    Checkpoint,
    cosign_ml_dsa_44,
    origin_of,
    sign_ed25519,
)
from keyfold.events.log_leaves import OFFSETS_HEADER
from keyfold.events.notes import Note
from keyfold.events.tree import TILE_HEIGHT
from keyfold.log import Staged, StateTopic
from keyfold.notary.position import Position, Run
from keyfold.notary.token import Heads, NotaryToken

ROUND_HEADER: Final = "kf_round"
_PREFIX: Final = "partition/"


@dataclass(frozen=True, slots=True)
class Draft:
    """What a round does to one partition. Without `due`, the tree has not yet reached a head that was signed before.

    `stored` is what the state topic holds of the partition.
    """

    partition: int
    stored: bytes | None
    after: Position
    runs: Sequence[Run]
    due: bool


@dataclass(frozen=True, slots=True)
class Committed:
    """What all partitions share of the last transaction: its round, the token's heads, and where checkpoints end.

    `since` is from where on the next start reads them. It stays behind while a partition has not reached what was
    published of it: the next start must know of that, too.
    """

    round: int
    heads: Heads
    checkpoints: int
    since: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The records of a transaction, and what becomes true with it."""

    records: list[Outbound]
    positions: Mapping[int, Position]
    values: Mapping[int, bytes]
    staged: Staged
    round: int
    heads: Heads


class Publisher:
    """Makes transactions of one deployment's notary."""

    def __init__(self, deployment: str, token: NotaryToken, clock_ms: Callable[[], int]) -> None:
        self._deployment, self._token, self._clock_ms = deployment, token, clock_ms

    def prepare(
        self, drafts: Sequence[Draft], state: StateTopic, last: Committed, told: Mapping[str, Mapping[str, Any]]
    ) -> Prepared:
        """Keep the heads, sign, and build the records. `told` is what the state's head says of each partition."""
        heads, number = self._next(drafts, last)
        if heads is not last.heads:
            self._token.keep(heads)
            # If we crash here, the token knows of trees that nobody has seen. See 1 above.
        tiles = [record for draft in drafts for record in self._tiles(draft, number)]
        checkpoints = [self._checkpoint(draft, number) for draft in drafts if draft.due]
        after = {draft.partition: draft.after.published() if draft.due else draft.after for draft in drafts}
        values = {partition: position.to_bytes() for partition, position in after.items()}
        head = {
            "round": number,
            "time_ms": self._clock_ms(),
            "checkpoints": last.since,
            "records": _counted((*tiles, *checkpoints)),
            "partitions": told,
        }
        changes = {record_of(draft.partition): (draft.stored, values[draft.partition]) for draft in drafts}
        staged = state.stage(changes, head)
        return Prepared([*tiles, *checkpoints, *staged.records], after, values, staged, number, heads)

    def _next(self, drafts: Sequence[Draft], last: Committed) -> tuple[Heads, int]:
        """Return the heads to be kept, and the number of this round: larger than any that was used."""
        due = {draft.partition: draft.after.head for draft in drafts if draft.due}
        number = max(last.round, last.heads.counter) + 1
        return (Heads(number, {**last.heads.heads, **due}) if due else last.heads), number

    def _tiles(self, draft: Draft, number: int) -> Iterable[Outbound]:
        for run in draft.runs:
            key = f"{run.level.height // TILE_HEIGHT}/{run.level.first}".encode()
            headers = [(ROUND_HEADER, _u64(number))]
            if run.offsets:
                headers.append((OFFSETS_HEADER, b"".join(map(_u64, run.offsets))))
            yield Outbound(topics.TILES, draft.partition, key, b"".join(run.level.hashes), tuple(headers))

    def _checkpoint(self, draft: Draft, number: int) -> Outbound:
        size, root = draft.after.head
        origin, anchor = origin_of(self._deployment, draft.partition), draft.after.anchor
        checkpoint, token = Checkpoint(origin, size, root), self._token
        lines = (
            sign_ed25519(checkpoint, origin, token.public_key, token.sign),
            cosign_ml_dsa_44(
                checkpoint, origin, token.checkpoint_key, token.sign_checkpoint, self._clock_ms() // 1000
            ),
        )  # fmt: skip
        headers = (
            (CONSISTENCY_HEADER, _u64(anchor.tree.size) + b"".join(anchor.path(draft.after.tree))),
            (NEXT_HEADER, _u64(draft.after.next)),
            (ROUND_HEADER, _u64(number)),
        )
        return Outbound(topics.CHECKPOINTS, 0, origin.encode(), Note(checkpoint.text(), lines).to_bytes(), headers)


def record_of(partition: int) -> str:
    """The name of a partition's state record."""
    return f"{_PREFIX}{partition}"


def committed(prepared: Prepared, last: Committed, offsets: Sequence[int]) -> Committed:
    """Return what holds once a transaction is committed; `offsets` are those that the commit returned."""
    places = zip(prepared.records, offsets, strict=True)
    ends = [offset + 1 for record, offset in places if record.topic == topics.CHECKPOINTS]
    return replace(
        last, round=prepared.round, heads=prepared.heads, checkpoints=max(ends, default=last.checkpoints)
    )  # fmt: skip


def _counted(records: Iterable[Outbound]) -> dict[str, int]:
    """How many records each place gets: who finds some of them left open can tell whether all are there."""
    counts: dict[str, int] = {}
    for record in records:
        place = f"{record.topic}/{record.partition}"
        counts[place] = counts.get(place, 0) + 1
    return counts


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "big")
