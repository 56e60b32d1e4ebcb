"""What goes onto the bus and what comes off it, as plain values. No bytes are interpreted here."""

from dataclasses import dataclass

Headers = tuple[tuple[str, bytes | None], ...]
"""Kafka has headers without a value. No service writes any, and anybody may."""


def header_bytes(headers: Headers) -> int:
    """Return how many bytes the values of headers have."""
    return sum(len(value or b"") for _, value in headers)


@dataclass(frozen=True, slots=True)
class Outbound:
    """A record to write. The partition is always chosen by the caller: it is part of every contract here.

    `timestamp_ms` is for records that are restored: a topic on the brokers' clock does not heed it. None is now.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Inbound:
    """A record that was read. `timestamp_ms` is the broker's append time where the topic says so."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    def header(self, name: str) -> bytes | None:
        """Return the header of this name; None when it is missing or repeated (a repeated one is ambiguous)."""
        found = [value for key, value in self.headers if key == name]
        return found[0] if len(found) == 1 else None
