"""Believing a snapshot: every signed record from the first one on, and what the events say one after the other.

It trusts nothing but the deployment's fingerprint: the chains are read by `ChainReader`, the certificates from the log.
Whatever is not believed becomes a finding. Which stories are sound is decided in `log_checker`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain

from tests.support.log_snapshot import Logs, PartitionLog

from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.chains import Accepted, ChainReader, Place, read_event, single_header
from keyfold.events.entities import Bucket, Entity
from keyfold.events.errors import KeyfoldError, RecordError
from keyfold.events.evolve import evolve
from keyfold.events.statements import PATH_HEADER, STATEMENT_HEADER, ChainHead, UntrustedRecord, parse_statement
from keyfold.events.trust import Trust


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that must not be: which rule it breaks, and where."""

    rule: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Believed:
    """A record in its place in its author's chain."""

    record: Inbound
    accepted: Accepted
    event: facts.Event


@dataclass(slots=True)
class Story:
    """All believed records by partition, and the entities that `evolve` makes of the events.

    Levels of limits are a partition's own: the same name may stand in several.
    """

    deployment: str
    partitions: int
    logs: Logs
    trust: Trust | None = None
    findings: list[Finding] = field(default_factory=list)
    events: dict[int, list[Believed]] = field(default_factory=dict)
    tickets: dict[int, list[Believed]] = field(default_factory=dict)
    keystore: dict[int, list[Believed]] = field(default_factory=dict)
    places: dict[tuple[str, int], dict[str, Place]] = field(default_factory=dict)
    entities: dict[str, Entity] = field(default_factory=dict)
    buckets: dict[tuple[int, str], Bucket] = field(default_factory=dict)

    def find(self, rule: str, where: object, what: object) -> None:
        """Note something that must not be."""
        self.findings.append(Finding(rule, str(where), str(what)))

    def all_events(self) -> Iterator[tuple[int, facts.Event]]:
        """Yield every event with its partition; the order within a partition is the log's."""
        for partition, believed in self.events.items():
            for each in believed:
                yield partition, each.event

    def decisions(self) -> Iterator[tuple[int, facts.PolicyEvent]]:
        """Yield what policy decided."""
        return ((p, event) for p, event in self.all_events() if isinstance(event, facts.PolicyEvent))

    def accepted(self) -> Iterator[tuple[int, facts.PolicyEvent]]:
        """Yield the decisions that let a command through."""
        untold = facts.CommandDenied | facts.DryRunSucceeded
        return ((p, event) for p, event in self.decisions() if not isinstance(event, untold))

    def outcomes(self) -> Iterator[tuple[int, facts.Outcome]]:
        """Yield what the worker did."""
        return ((p, event) for p, event in self.all_events() if isinstance(event, facts.Outcome))


def read_story(deployment: str, partitions: int, logs: Logs) -> Story:
    """Believe what can be believed, registry first: it holds the certificates of all others."""
    story = Story(deployment, partitions, logs)
    for partition in range(partitions):
        story.events[partition] = _believe(story, topics.EVENTS, partition)
        _fold(story, partition)
    for partition in range(partitions):
        story.tickets[partition] = _believe(story, topics.AUTHORIZED, partition)
        story.keystore[partition] = _believe(story, topics.KEYSTORE, partition)
    return story


def _believe(story: Story, topic: str, partition: int) -> list[Believed]:
    log, found = story.logs[topic, partition], []
    reader = ChainReader(topic, partition, story.partitions, _first_place(log))
    for record in log.committed:
        trust = _trust_of(story, topic, partition, record)
        where = f"{topic}-{partition}@{record.offset}"
        if trust is None:
            story.find("chain", where, "no genesis of this deployment stands before it")
            continue
        try:
            accepted = reader.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
            # A ticket is its decision's event, so it must be what policy may write to events.
            event = read_event(accepted, topics.EVENTS if topic == topics.AUTHORIZED else topic)
        except RecordError as error:
            story.find("chain", where, f"{error.code}: {error}")
            continue
        story.trust = trust.with_event(event)
        found.append(Believed(record, accepted, event))
    story.places[topic, partition] = dict(reader.places)
    for role, place in reader.places.items():
        if place.leaf + 1 != place.leaves:
            story.find("chain", f"{topic}-{partition}", f"the last statement of {role} is incomplete")
    return found


def _trust_of(story: Story, topic: str, partition: int, record: Inbound) -> Trust | None:
    if story.trust is None and (topic, partition) == (topics.EVENTS, 0):
        try:
            event = facts.parse_event(record.value or b"")
            if isinstance(event, facts.Genesis):
                return Trust.pin(story.deployment, bytes.fromhex(event.data.root_public_key))
        except (KeyfoldError, ValueError):
            return None
    return story.trust


def _first_place(log: PartitionLog) -> dict[str, Place]:
    """Where to begin in a log whose start was deleted (tickets that were passed): just before its first record."""
    if log.start == 0 or not log.committed:
        return {}
    headers = log.committed[0].headers
    document = single_header(headers, STATEMENT_HEADER) or b""
    try:
        statement = parse_statement(document)
    except UntrustedRecord:
        return {}
    leaf = int.from_bytes((single_header(headers, PATH_HEADER) or b"\0\0\0\0")[:4], "big")
    if leaf == 0:
        return {statement.role: Place(ChainHead(statement.n - 1, statement.prev), 0, 1)}
    return {statement.role: Place(ChainHead(statement.n, sha256(document).hexdigest()), leaf - 1, statement.leaves)}


def _fold(story: Story, partition: int) -> None:
    for each in story.events[partition]:
        try:
            changes = evolve(story.entities, each.event)
        except KeyError as error:
            story.find("order", each.event.id, f"does not follow from the events before it: {error}")
            continue
        for name, entity in changes.items():
            if isinstance(entity, Bucket):
                story.buckets[partition, name] = entity
            elif entity is None:
                story.entities.pop(name, None)
            else:
                story.entities[name] = entity


def everything(logs: Logs, topic: str) -> Iterator[Inbound]:
    """Yield all records of a topic, aborted ones too."""
    return chain.from_iterable(log.raw for (name, _), log in sorted(logs.items()) if name == topic)
