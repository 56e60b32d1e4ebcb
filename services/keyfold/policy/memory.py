"""What a partition remembers of commands: idempotency and which tickets lack an outcome.

(principal, id) is remembered until the command's `expires_at`, and longer while its outcome is missing. Entries of one
transaction form one segment, which is one record of the state topic, so that a command costs no record of its own.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from keyfold.events.streams import Fingerprint, KeyId, Name, Uuid
from keyfold.events.strictjson import Frozen

Identity = tuple[str, str]


class Summary(Frozen):
    """A finished command in short, for who asks again. `outcome` is an event type, with `:code` if it failed."""

    outcome: str
    key_id: KeyId | None = None
    version: int = 0
    registry_revision: int | None = None


class Remembered(Frozen):
    """One decided command. `summary` is None while its ticket lacks an outcome."""

    principal: Name
    id: Uuid
    digest: Fingerprint
    body_digest: Fingerprint
    offset: int
    expires_ms: int
    registry_revision: int
    summary: Summary | None

    @property
    def identity(self) -> Identity:
        """What a command is recognised by."""
        return self.principal, self.id


class Segment(Frozen):
    """The commands decided in one transaction, in order."""

    kind: Literal["segment"] = "segment"
    number: int
    entries: tuple[Remembered, ...]

    @property
    def name(self) -> str:
        """The segment's name in the state topic."""
        return f"segment/{self.number}"

    def to_bytes(self) -> bytes:
        """Return what the state topic holds of the segment."""
        return self.model_dump_json().encode()

    def expired(self, now_ms: int) -> bool:
        """Tell whether nothing here needs remembering."""
        return all(entry.summary is not None and entry.expires_ms <= now_ms for entry in self.entries)


class Memory:
    """All live segments of one partition, indexed by identity and by command offset.

    `next_number` is the number of the next segment: above all that are live.
    """

    def __init__(self, segments: Iterable[Segment] = ()) -> None:
        self.segments: dict[int, Segment] = {}
        self._entries: dict[Identity, Remembered] = {}
        self._in_flight: dict[int, int] = {}
        self.next_number = 1
        for segment in sorted(segments, key=lambda each: each.number):
            self.add(segment)

    @property
    def in_flight(self) -> int:
        """How many tickets lack an outcome."""
        return len(self._in_flight)

    def recall(self, identity: Identity) -> Remembered | None:
        """Return what is remembered of a command."""
        return self._entries.get(identity)

    def add(self, segment: Segment) -> None:
        """Take in a committed segment."""
        self.segments[segment.number] = segment
        self.next_number = max(self.next_number, segment.number + 1)
        for entry in segment.entries:
            known = self._entries.get(entry.identity)
            if known is None or known.offset <= entry.offset:  # an id may be used again once it has expired
                self._entries[entry.identity] = entry
            if entry.summary is None:
                self._in_flight[entry.offset] = segment.number

    def finish(self, outcomes: Mapping[int, Summary]) -> list[tuple[Segment, Segment]]:
        """Note outcomes by command offset; return the segments that changed, before and after.

        Offsets that nobody waits for are passed over.
        """
        touched = {self._in_flight.pop(offset) for offset in outcomes if offset in self._in_flight}
        pairs = []
        for number in sorted(touched):
            before = self.segments[number]
            after = before.model_copy(update={"entries": tuple(_finished(e, outcomes) for e in before.entries)})
            self.add(after)
            pairs.append((before, after))
        return pairs

    def expired(self, now_ms: int, most: int) -> list[Segment]:
        """Return the oldest segments that need no remembering, at most `most`; stops at the first that does."""
        found: list[Segment] = []
        for segment in self.segments.values():
            if len(found) >= most or not segment.expired(now_ms):
                break
            found.append(segment)
        return found

    def forget(self, segment: Segment) -> None:
        """Drop an expired segment."""
        del self.segments[segment.number]
        for entry in segment.entries:
            if self._entries.get(entry.identity) is entry:
                del self._entries[entry.identity]


def _finished(entry: Remembered, outcomes: Mapping[int, Summary]) -> Remembered:
    summary = outcomes.get(entry.offset) if entry.summary is None else None
    if summary is None:
        return entry
    return entry.model_copy(
        update={"summary": summary.model_copy(update={"registry_revision": entry.registry_revision})}
    )
