"""The third stage with its topics, its table and its store in memory: what it tells, and what it remembers."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.analytics.found import ALICE, BOB, found

from keyfold.analytics import alerting as module
from keyfold.analytics.acts import Act
from keyfold.analytics.alerting import Alerting
from keyfold.analytics.alerts import AlertAuthor
from keyfold.analytics.findings import Finding
from keyfold.analytics.incidents import Changed, Incident
from keyfold.analytics.observing import Parts
from keyfold.analytics.packing import pack_act, pack_findings
from keyfold.analytics.sealing import Seal
from keyfold.analytics.sending import Message, NotSent
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.bus import Inbound
from keyfold.events import topics

SEAL = Seal(b"k" * 32)


class FakeInbox:
    """Nothing comes by itself; notes what is acknowledged."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.turns = 0
        self.acknowledged: list[Message] = []

    def turn(self) -> None:
        self.turns += 1

    async def done(self, messages: Sequence[Message]) -> None:
        self.acknowledged += messages


class Table:
    """Rows that outlive the stage; a crash leaves the first records of a write."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.left: int | None = None
        self.sizes: list[int] = []

    def rows(self, _partition: int) -> dict[bytes, bytes]:
        return self.kept

    async def write(self, _sending: Any, _partition: int, changes: Mapping[bytes, bytes | None]) -> None:
        for key, content in changes.items():
            if self.left == 0:
                raise NotSent("the broker is away")
            self.left = None if self.left is None else self.left - 1
            self.sizes.append(len(content or b""))
            if content is None:
                self.kept.pop(key, None)
            else:
                self.kept[key] = content


class World:
    """The stage, begun anew as often as a test likes."""

    def __init__(self) -> None:
        self.table = Table()
        self.changes: list[Changed] = []
        self.acted: list[Incident] = []
        self.restart()

    def restart(self) -> None:
        """Only what was written is left."""
        parts: Any = Parts(SimpleNamespace(), self, SEAL, AnalyticsSettings(), 4)  # type: ignore[arg-type]
        author, table = AlertAuthor("ab" * 32, "cd" * 32, lambda _content: b"s" * 64), self.table
        self.stage = Alerting(parts, table, author, self, self)  # type: ignore[arg-type]
        self.stage.begin(frozenset({(topics.ANALYTICS_FINDINGS, 0)}))

    async def send(self, records: Any, _headers: Any = ()) -> None:
        self.sent = list(records)

    async def write(self, changes: Sequence[Changed], _acts: Sequence[Act]) -> None:
        self.changes += changes

    async def act(self, incident: Incident) -> None:
        self.acted.append(incident)

    async def take(self, *given: Finding | Act) -> list[Changed]:
        """Let findings and acts come in one batch; return what changed."""
        contents = [pack_act(each) if isinstance(each, Act) else next(pack_findings([each])) for each in given]
        incidents = self.stage._incidents
        assert incidents is not None
        before = len(self.changes)
        await self.stage._work(incidents, [message(number, each) for number, each in enumerate(contents)])
        return self.changes[before:]

    @property
    def groups(self) -> dict[str, Incident]:
        assert self.stage._incidents is not None
        return self.stage._incidents.groups


def message(offset: int, content: bytes) -> Message:
    value = SEAL.close(topics.ANALYTICS_FINDINGS, 0, b"", content)
    return Message(Inbound(topics.ANALYTICS_FINDINGS, 0, offset, 0, b"", value), None)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "Inbox", FakeInbox)
    return World()


@pytest.mark.parametrize(
    "poison",
    [found(entity="principal/Not A Name"), found(principal="\ud800"), found(detector=""), found(aspect="\ud800")],
)
async def test_a_finding_that_cannot_be_told_costs_itself_only(world: World, poison: Finding) -> None:
    """It opens and joins nothing; what came with it is told."""
    changes = await world.take(found(), poison, found("denials", BOB))
    assert [(each.change, each.finding and each.finding.entity) for each in changes] == [
        ("detected", ALICE), ("opened", ALICE), ("detected", BOB), ("opened", BOB)
    ]  # fmt: skip
    assert [group.entities for group in world.groups.values()] == [(ALICE,), (BOB,)]
