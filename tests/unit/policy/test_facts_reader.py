"""Folding the events of others: what is believed, what is reported and ignored, what stops."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from tests.support.deployment import Deployment, Writer
from tests.support.desk import Desk, fold, fresh_registry, outcome_of
from tests.support.people import PARTITIONS, SEALING_KEY, certificate, command, key_on, sealing_key, signer, uuid

from keyfold.bus import Inbound, Outbound
from keyfold.events import facts, topics
from keyfold.events.chains import ChainGap
from keyfold.events.entities import Deployment as DeploymentEntity
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.streams import REGISTRY
from keyfold.log import RegistryFollower
from keyfold.policy.facts_reader import FactsReader, StateBehind
from keyfold.policy.state import State

KEY = key_on(2)
Record = Callable[[Outbound], Outbound]


@dataclass
class Reading:
    """A facts reader on partition 2 of a deployment whose policy decided two commands."""

    deployment: Deployment
    follower: RegistryFollower
    desk: Desk
    reports: list[str] = field(default_factory=list)

    @property
    def state(self) -> State:
        return self.desk.state

    def __post_init__(self) -> None:
        async def report(record: Inbound, reason: str) -> None:
            self.reports.append(reason.split(":", maxsplit=1)[0])

        self.facts = FactsReader(2, PARTITIONS, self.state, self.follower, report)

    def inbound(self, record: Outbound) -> Inbound:
        return Inbound(record.topic, 2, 0, self.deployment.clock_ms, record.key, record.value, tuple(record.headers))

    async def fold(self, *records: Outbound, position: int = 1) -> None:
        await self.facts.fold([self.inbound(record) for record in records], position)

    def outcomes(self, count: int = 2) -> list[Outbound]:
        """The worker's outcomes for the decided commands, in one statement."""
        entries = []
        for event in self.desk.events[:count]:
            assert isinstance(event, facts.PolicyEvent)
            entries.append(Entry(event.subject.encode(), outcome_of(event).to_value()))
        return self.deployment.hsm.sign(entries, 2)


@pytest.fixture
async def reading() -> Reading:
    deployment = Deployment()
    await deployment.begin()
    follower = RegistryFollower(deployment.bus, signer("root").fingerprint)
    await follower.start()
    desk = Desk(2, fresh_registry())
    desk.decide(command("CreateKey", KEY, 1), command("Encrypt", KEY, 2))
    return Reading(deployment, follower, desk)


async def test_outcomes(reading: Reading) -> None:
    """Outcomes finish their commands, and the position moves with the chain's place."""
    assert reading.state.memory.in_flight == 2
    await reading.fold(*reading.outcomes(), position=7)
    assert reading.state.memory.in_flight == 0
    assert reading.state.head.events == 7
    assert (reading.state.head.places["hsm"].head.n, reading.facts.whole) == (1, True)
    assert not reading.reports


async def test_a_statement_in_two_parts(reading: Reading) -> None:
    """A statement of which only some records were read is not whole; its rest completes it."""
    first, second = reading.outcomes()
    await reading.fold(first)
    assert not reading.facts.whole
    assert reading.state.memory.in_flight == 1
    await reading.fold(second)
    assert reading.facts.whole
    assert reading.state.memory.in_flight == 0


async def test_places_survive(reading: Reading) -> None:
    """A reader made from the state goes on in the middle of a statement and sees repeats as such."""
    first, second = reading.outcomes()
    await reading.fold(first)
    reading.__post_init__()
    assert not reading.facts.whole
    await reading.fold(first, second)
    assert (reading.facts.whole, reading.reports) == (True, ["ChainRepeat"])


def without(name: str) -> Record:
    return lambda record: replace(record, headers=tuple(h for h in record.headers if h[0] != name))


def stranger(record: Outbound) -> Outbound:
    """The same record, signed by a key that nobody certified."""
    key = signer("mallory")
    author = replace(Writer(Deployment().bus, "hsm").author, fingerprint=key.fingerprint, sign=key.sign)
    return author.records(topics.EVENTS, 2, ChainHead(), [Entry(record.key or b"", record.value or b"")])[1][0]


UNBELIEVABLE: dict[str, Record] = {
    "null value": lambda r: replace(r, value=None),
    "null key": lambda r: replace(r, key=None),
    "unsigned": lambda r: replace(r, headers=()),
    "no statement": without("kf_statement"),
    "no path": without("kf_path"),
    "another value": lambda r: replace(r, value=b"{}"),
    "another stream's key": lambda r: replace(r, key=key_on(2, 500).encode()),
    "another partition's key": lambda r: replace(r, key=key_on(1).encode()),
    "repeated header": lambda r: replace(r, headers=(*r.headers, r.headers[0])),
    "nobody's signature": stranger,
}


@pytest.mark.parametrize("case", UNBELIEVABLE)
async def test_what_cannot_be_believed(reading: Reading, case: str) -> None:
    """A record that is unsigned, altered or misplaced is reported and ignored; the real one after it counts."""
    first, second = reading.outcomes()
    await reading.fold(UNBELIEVABLE[case](first), first, second)
    assert reading.reports == ["UntrustedRecord"]
    assert reading.state.memory.in_flight == 0


async def test_the_wrong_author(reading: Reading) -> None:
    """A role's valid signature on what only another role may say is a leaf of the log, never state."""
    event = reading.desk.events[0]
    forged = facts.KeyDisabled.new("x", KEY, event.time, key_id=KEY[4:], reason="", decision=event.data.decision)
    (record,) = reading.deployment.hsm.sign([Entry(KEY.encode(), forged.to_value())], 2)
    before = dict(reading.state.entities)
    await reading.fold(record, *reading.outcomes())
    assert reading.state.entities == before
    assert reading.reports == ["UntrustedRecord"]
    assert (reading.state.memory.in_flight, reading.state.head.places["hsm"].head.n) == (0, 2)


async def test_root_speaks_on_partition_0_only(reading: Reading) -> None:
    """Root's signature on another partition is nothing."""
    records = reading.deployment.root.sign([Entry(KEY.encode(), certificate("hsm").to_value())], 2)
    await reading.fold(*records)
    assert reading.reports == ["UntrustedRecord"]


async def test_repeats(reading: Reading) -> None:
    """A statement that stands again is reported and ignored."""
    records = reading.outcomes()
    await reading.fold(*records, *records)
    assert reading.reports == ["ChainRepeat", "ChainRepeat"]


@pytest.mark.parametrize("missing", ["leaf", "statement"])
async def test_a_gap(reading: Reading, missing: str) -> None:
    """A missing record or statement stops the reader."""
    first, second = reading.outcomes()
    later = reading.deployment.hsm.sign([Entry(KEY.encode(), b"{}")], 2)
    with pytest.raises(ChainGap):
        await reading.fold(*([second] if missing == "leaf" else later))
    assert first.key == KEY.encode()


async def test_own_events_are_skipped(reading: Reading) -> None:
    """Policy's own decisions are not folded: they were applied when they were made."""
    policy = Writer(reading.deployment.bus, "policy")
    entries = [Entry(event.subject.encode(), event.to_value()) for event in reading.desk.events]
    records = policy.sign(entries, 2)
    reading.state.move(events_head=policy.heads[topics.EVENTS, 2])
    before = dict(reading.state.entities)
    await reading.fold(*records, *reading.outcomes())
    assert reading.state.entities == before
    assert not reading.reports


async def test_own_events_that_the_state_does_not_know(reading: Reading) -> None:
    """A decision beyond the state's own chain means that this state is not the latest."""
    policy = Writer(reading.deployment.bus, "policy")
    first = policy.sign([Entry(KEY.encode(), reading.desk.events[0].to_value())], 2)
    second = policy.sign([Entry(KEY.encode(), reading.desk.events[1].to_value())], 2)
    for records in (first, second):
        with pytest.raises(StateBehind):
            await reading.fold(*records)
    reading.state.move(events_head=ChainHead(1, policy.heads[topics.EVENTS, 2].digest))
    with pytest.raises(StateBehind):
        await reading.fold(*second)


async def test_one_look_at_the_registry_for_a_batch(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many records of unknown signers a batch has, partition 0 is asked once."""
    looks = 0
    catch_up = reading.follower.catch_up

    async def counted() -> None:
        nonlocal looks
        looks += 1
        await catch_up()

    monkeypatch.setattr(reading.follower, "catch_up", counted)
    first, *_ = reading.outcomes()
    await reading.fold(*[replace(first, headers=())] * 20)
    assert (looks, len(reading.reports)) == (1, 20)


async def test_a_signer_that_was_certified_a_moment_ago(reading: Reading) -> None:
    """Records of a new key are believed at once: its certificate is on partition 0 before it writes."""
    key = signer("hsm, renewed")
    await reading.deployment.root.write(certificate("hsm", key))
    author = replace(reading.deployment.hsm.author, fingerprint=key.fingerprint, sign=key.sign)
    reading.deployment.hsm.author = author
    await reading.fold(*reading.outcomes())
    assert (reading.reports, reading.state.memory.in_flight) == ([], 0)


async def test_facts_of_the_registry(reading: Reading) -> None:
    """On partition 0, root's and the worker's facts are state: sealing keys change what is decided next."""
    desk = Desk(0, fresh_registry())
    reports: list[str] = []

    async def report(record: Inbound, reason: str) -> None:
        reports.append(reason)

    reader = FactsReader(0, PARTITIONS, desk.state, reading.follower, report)
    written = reading.deployment.read(topics.EVENTS, 0)
    desk.state.entities.clear()
    await reader.fold(written, 9)
    expected: dict[str, object] = {}
    fold(expected, facts.parse_event(written[0].value or b""))  # type: ignore[arg-type]
    fold(expected, sealing_key())  # type: ignore[arg-type]
    assert desk.state.entities == expected
    await reading.deployment.hsm.write(sealing_key(uuid(77)))
    await reader.fold(reading.deployment.read(topics.EVENTS, 0)[len(written) :], 12)
    found = desk.state.entities["deployment"]
    assert isinstance(found, DeploymentEntity)
    assert (found.current_sealing_key, reports) == (uuid(77), [])
    assert found.current_sealing_key != SEALING_KEY


async def test_a_fact_that_cannot_follow(reading: Reading) -> None:
    """A fact about what does not exist changes nothing, like for every other reader of the log."""
    erased = facts.SealingKeyErased.new("e", REGISTRY, reading.desk.events[0].time, sealing_key=uuid(404))
    await reading.deployment.hsm.write(erased)
    desk = Desk(0, fresh_registry())
    before = dict(desk.state.entities)
    reader = FactsReader(0, PARTITIONS, desk.state, reading.follower, _unexpected)
    await reader.fold(reading.deployment.read(topics.EVENTS, 0), 12)
    assert desk.state.entities == before


async def _unexpected(record: Inbound, reason: str) -> None:
    raise AssertionError(reason)
