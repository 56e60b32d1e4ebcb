"""What stages work with, in memory: a table that outlives them, topics that keep what is sent, and a process that ends
after any of the steps it takes."""

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from keyfold.analytics.observing import Parts
from keyfold.analytics.sealing import Seal
from keyfold.analytics.sending import Message, NotSent, Record
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.bus import Inbound

SEAL = Seal(b"k" * 32)
NOW_MS = 1_790_000_000_000


class Steps:
    """Everything that becomes durable, in its order. After `left` more steps the process ends, with `NotSent`."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.left: int | None = None

    def take(self, *step: Any) -> None:
        if self.left == 0:
            raise NotSent("the brokers are away")
        self.left = None if self.left is None else self.left - 1
        self.done.append(step)

    def kinds(self, since: int = 0) -> list[str]:
        """The kinds of steps, each once where several follow each other."""
        kinds = [step[0] for step in self.done[since:]]
        return [kind for number, kind in enumerate(kinds) if number == 0 or kinds[number - 1] != kind]


class Sending:
    """Topics; what fails leaves the first records of what was sent."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.sent: list[Record] = []
        self.clock = SimpleNamespace(at=lambda local_s: int(local_s * 1000) + NOW_MS)

    async def send(self, records: Iterable[Record], headers: Sequence[Any] = ()) -> None:
        for record in list(records):
            self._steps.take(record[0], record)
            self.sent.append(record)

    def on(self, topic: str, partition: int | None = None) -> list[bytes | None]:
        """What the records of a topic hold, opened."""
        return [
            SEAL.open(each[0], each[1], each[2] or b"", each[3])
            for each in self.sent
            if each[0] == topic and partition in {None, each[1]}
        ]


class Table:
    """Rows by partition; what fails leaves the first rows of what was written."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.kept: dict[int, dict[bytes, bytes]] = {}

    def rows(self, partition: int) -> dict[bytes, bytes]:
        return self.kept.setdefault(partition, {})

    async def write(self, _sending: Any, partition: int, changes: Mapping[bytes, bytes | None]) -> None:
        rows = self.rows(partition)
        for key, content in changes.items():
            self._steps.take("row", partition, key)
            if content is None:
                rows.pop(key, None)
            else:
                rows[key] = content


class FakeInbox:
    """Nothing comes by itself; what is acknowledged is a step."""

    steps: Steps

    def __init__(self, _app: Any, topic: str, *, acks: bool) -> None:
        self.turns, self._topic, self._acks = 0, topic, acks

    def turn(self) -> None:
        self.turns += 1

    async def done(self, messages: Sequence[Message]) -> None:
        assert self._acks
        for each in messages:
            self.steps.take("done", each.record.partition, each.record.offset)


def parts(sending: Any, settings: AnalyticsSettings, partitions: int, app: Any = None) -> Parts:
    """What stages share."""
    made: Any = app or SimpleNamespace()
    return Parts(made, sending, SEAL, settings, partitions)


def message(topic: str, offset: int, content: bytes, partition: int = 0) -> Message:
    """A record of ours."""
    value = SEAL.close(topic, partition, b"", content)
    return Message(Inbound(topic, partition, offset, NOW_MS, b"", value), None)
