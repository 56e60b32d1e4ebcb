"""Histories of a whole deployment as policy really decides them: random commands through `Decider`, random answers.

`decided` is a generator of events (genesis first, in the order they happened) for whoever folds events; `Story` is the
same, step by step, for tests of policy itself. Commands are legal and illegal, repeated, contradictory and broken.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.support import wishes
from tests.support.desk import Desk, fold, outcome_of
from tests.support.people import (
    PARTITIONS,
    RULES,
    SEALING_KEY,
    START_MS,
    Signed,
    document,
    first_events,
    key_stream,
    signed,
    signer,
    uuid,
)

from keyfold.bus import Inbound
from keyfold.events import facts, strictjson
from keyfold.events.entities import Deployment, Entity, Key
from keyfold.events.evolve import evolve
from keyfold.events.streams import REGISTRY, partition_of
from keyfold.policy.batch import Batch, summary_of

DATA = ("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext")
ON_KEYS = ("RotateKey", "EnableKey", "DisableKey", "ScheduleKeyDeletion", "CancelKeyDeletion", "DestroyKey")
PEOPLE = ("alice", "bob", "carol", "dave", "erin")
REMEDY = {"Disabled": "EnableKey", "PendingDeletion": "CancelKeyDeletion"}
# The readers have no rights but those of grants, until a policy is put that permits everything.
STORY_RULES = RULES.rstrip()[:-1] + ' unless { principal in Group::"readers" };'
ITEMS = (1, 2, 3, 10, 1000, 1000, 1001)
TEXTS = (
    'permit (principal == Principal::"dave", action, resource);',
    'forbid (principal == Principal::"carol", action == Action::"Encrypt", resource);',
    'permit (principal in Group::"readers", action == Action::"Decrypt", resource);',
)
Decide = Callable[[int, list[Inbound]], Batch]


@dataclass(frozen=True)
class Sent:
    """A command that was sent, and whether it is one that could be admitted (authentic, well-formed, in time)."""

    signed: Signed
    principal: str
    id: str
    good: bool


class Story:
    """One deployment: a desk for each partition, a worker that answers, and a producer without manners."""

    def __init__(self, source: random.Random, keys: int = 6) -> None:
        self.random = source
        self.now_ms = START_MS
        self.registry: dict[str, Entity] = {}
        self.events: list[facts.Event] = first_events(development=True, rules=STORY_RULES)
        for event in self.events:
            fold(self.registry, event)
        self.desks = [Desk(partition, self.registry) for partition in range(PARTITIONS)]
        self.streams = [key_stream(number + 1) for number in range(keys)]
        self.people = list(PEOPLE)
        self.created = keys
        self.sent: list[Sent] = []
        self.waiting: list[facts.PolicyEvent] = []
        self.sealing_keys = [SEALING_KEY]
        self.number = 0
        self.jumps = 8

    # What is asked

    def ask(self) -> Sent:
        """The next command: mostly sensible, sometimes an old one again, sometimes broken."""
        r = self.random
        if self.sent and r.random() < 0.08:
            return r.choice(self.sent[-30:])
        self.number += 1
        number = self.number
        if self.sent and r.random() < 0.02:
            number = r.randrange(1, self.number)
        principal = r.choice(self.people) if r.random() < 0.5 else r.choice(self.people[:2])
        verb, stream, options = self._wish(principal)
        made = document(verb, stream, number, principal=principal, issued_ms=self.now_ms, **options)
        sealing_key = self._deployment().current_sealing_key if r.random() < 0.98 else self.sealing_keys[0]
        made["data"]["sealing_key"] = sealing_key
        sent = self._signed(made, stream, principal)
        self.sent.append(sent)
        return sent

    def _signed(self, made: dict[str, Any], stream: str, principal: str) -> Sent:
        fault = self.random.random()
        signing = principal
        if fault < 0.01:
            made["data"]["surprise"] = True
        elif fault < 0.02:
            made |= {"time": "2026-01-01T00:00:00.000Z"}
        elif fault < 0.03:
            signing = "mallory"
        return Sent(signed(made, stream, signing), principal, made["id"], fault >= 0.03)

    def _wish(self, principal: str) -> tuple[str, str, dict[str, Any]]:  # noqa: PLR0911 - one kind of wish a line
        r = self.random
        roll = r.random()
        stream = r.choice(self.streams)
        key = self.desks[partition_of(stream, PARTITIONS)].state.entities.get(stream)
        if isinstance(key, Key) and key.status in REMEDY and roll < 0.3:
            return REMEDY[key.status], stream, {}
        if roll < 0.02 or (key is None and roll < 0.5):
            return "CreateKey", stream, {"arguments": {"protection": r.choice(["HSM", "SOFTWARE"]), "tags": {"n": "ü"}}}
        if roll < 0.6:
            return r.choice(DATA), stream, self._use(stream)
        if roll < 0.70:
            verb = r.choices(ON_KEYS, (8, 6, 6, 2, 3, 1))[0]
            arguments = {
                "ScheduleKeyDeletion": {"pending_window_seconds": r.choice([1, 60, 700_000])},
                "DisableKey": {"reason": "because"},
            }
            return verb, stream, {"arguments": arguments.get(verb, {})}
        if roll < 0.73:
            return "GenerateRandom", f"principal/{principal}", {"items": r.randint(1, 3)}
        if roll < 0.88:
            verb, place, arguments = self._governance_wish(stream)
            return verb, place, {"arguments": arguments}
        return self._registry_wish(stream)

    def _governance_wish(self, stream: str) -> wishes.Wish:
        r = self.random
        place = r.choice([stream, stream, stream, REGISTRY])
        view = self.desks[partition_of(place, PARTITIONS)].state.entities
        if r.random() < 0.4:
            return wishes.proposal_wish(r, place, view, self.now_ms)
        if place == REGISTRY:
            return wishes.registry_wish(r, self.people, self.number)
        return wishes.key_wish(r, stream, view, self.people, self.now_ms)

    def _use(self, stream: str) -> dict[str, Any]:
        r = self.random
        options: dict[str, Any] = {"items": r.choice(ITEMS), "size": r.randint(0, 5000)}
        options["contexts"] = r.choice([[{}], [{"tenant": "blue"}]])
        options["dry_run"] = r.random() < 0.05
        if r.random() < 0.05:
            options["alias"] = f"alias/{r.choice('abc')}"
        if r.random() < 0.1:
            options["min_registry_revision"] = self._deployment().revision + r.choice([-1, 0, 1])
            options["min_registry_revision"] = max(0, options["min_registry_revision"])
        return options

    def _registry_wish(self, stream: str) -> tuple[str, str, dict[str, Any]]:
        r = self.random
        name = r.choice(self.people[2:])
        alias = {"alias": f"alias/{r.choice('abc')}", "key_id": stream.removeprefix("key/")}
        rule = {"policy": r.choice(["one", "two"])}
        groups = r.choice([["readers"], ["readers"], ["administrators"], []])
        person = {"principal": name, "public_key": signer(name).public_key.hex(), "groups": groups}
        place = r.choice([REGISTRY, stream])
        choices: list[tuple[str, str, dict[str, Any]]] = [
            ("CreateAlias", REGISTRY, alias),
            ("UpdateAlias", REGISTRY, alias),
            ("DeleteAlias", REGISTRY, {"alias": alias["alias"]}),
            ("RegisterPrincipal", REGISTRY, person),
            ("RegisterPrincipal", REGISTRY, person),
            ("PutPolicy", place, rule | {"text": r.choice(TEXTS)}),
            ("DeletePolicy", place, rule),
            ("RotateSealingKey", REGISTRY, {}),
            ("EraseSealingKey", REGISTRY, {"sealing_key": r.choice(self.sealing_keys)}),
        ]
        if r.random() < 0.05:
            choices = [("RevokePrincipal", REGISTRY, {"principal": name})]
        verb, place, arguments = r.choice(choices)
        return verb, place, {"arguments": arguments}

    # What comes of it

    def send(self, sent: Iterable[Sent], decide: Decide | None = None) -> None:
        """Let every partition decide its commands as one batch."""
        batches: dict[int, list[Inbound]] = {}
        for each in sent:
            desk = self.desks[each.signed.partition]
            desk.now_ms = self.now_ms
            batches.setdefault(desk.partition, []).append(desk.record(each.signed))
        for partition, records in batches.items():
            desk = self.desks[partition]
            before = len(desk.events)
            batch = decide(partition, records) if decide else desk.decide_records(records)
            self.events += desk.events[before:]
            self._renew(desk.events[before:])
            self.waiting += list(map(_ticket, batch.tickets))

    def _renew(self, events: list[facts.Event]) -> None:
        """Let new keys and people take the place of those that are gone for ever."""
        for event in events:
            if isinstance(event, facts.KeyDestroyed) and event.subject in self.streams:
                self.created += 1
                self.streams[self.streams.index(event.subject)] = key_stream(self.created)
            if isinstance(event, facts.PrincipalRevoked) and event.data.principal in self.people:
                self.created += 1
                self.people[self.people.index(event.data.principal)] = f"p{self.created}"

    def answer(self, most: int) -> list[facts.Event]:
        """Let the worker answer its oldest tickets."""
        tickets, self.waiting = self.waiting[:most], self.waiting[most:]
        made = [event for ticket in tickets for event in self._answers(ticket)]
        for event in made:
            self.fold(event)
        self.events += made
        return made

    def fold(self, event: facts.Event) -> None:
        """Fold the worker's event where policy would."""
        desk = self.desks[partition_of(event.subject, PARTITIONS)]
        desk.state.apply(evolve(desk.state.entities, event))
        if isinstance(event, facts.Outcome):
            desk.state.finish({event.data.offset: summary_of(event)})
        if desk.partition == 0:
            self.registry.clear()
            self.registry.update(desk.state.entities)

    def pass_time(self) -> None:
        """A moment, and now and then more than a week."""
        jump = self.jumps > 0 and self.random.random() < 0.02
        self.jumps -= jump
        self.now_ms += 8 * 86_400_000 if jump else self.random.choice([0, 1, 20, 1500, 61_000])

    def _answers(self, ticket: facts.PolicyEvent) -> list[facts.Event]:  # noqa: PLR0911 - one case a line
        r, data = self.random, ticket.data
        key_id = getattr(data, "key_id", None)
        if r.random() < 0.1 and ticket.subject != REGISTRY:
            return [outcome_of(ticket, facts.OperationFailed, key_id=key_id, code="TokenUnavailable")]
        match ticket:
            case facts.KeyCreated() | facts.KeyRotated():
                number = getattr(data, "version", 1)
                spec = {"key_spec": ticket.data.key_spec, "protection": ticket.data.protection}
                made = {"version": number, "blob_digest": "0" * 64, "key_id": key_id, **spec}
                return [outcome_of(ticket, facts.KeyMaterialGenerated, **made)]
            case facts.KeyDisabled() | facts.KeyDestroyed():
                return [outcome_of(ticket, facts.KeyUseCeased, key_id=key_id, erased_versions=[])]
            case facts.CommandAuthorized() if key_id is not None:
                return [self._used(ticket)]
            case facts.CommandAuthorized() if ticket.data.verb == "RotateSealingKey":
                return [self._published(ticket), outcome_of(ticket)]
            case facts.CommandAuthorized() if ticket.data.verb == "EraseSealingKey":
                command = strictjson.loads(data.decision.command.encode())
                erased = command["data"]["arguments"]["sealing_key"]
                event = facts.SealingKeyErased.new(f"{ticket.id}.erased", REGISTRY, ticket.time, sealing_key=erased)
                return [event, outcome_of(ticket)]
        return [outcome_of(ticket)]

    def _used(self, ticket: facts.CommandAuthorized) -> facts.Event:
        data = ticket.data
        version = str(data.key_version or 1)
        counts = {"items": data.items, "bytes": data.bytes, "versions": {version: data.items}, "failures": {}}
        return outcome_of(ticket, facts.KeyUsed, key_id=data.key_id, mac="0" * 64, **counts)

    def _published(self, ticket: facts.PolicyEvent) -> facts.Event:
        identifier = uuid(0x5EA1_0000 + len(self.sealing_keys))
        self.sealing_keys.append(identifier)
        pair = {"sealing_key": identifier, "public_key": "ab" * 1216, "blob_digest": "0" * 64}
        return facts.SealingKeyPublished.new(f"{ticket.id}.published", REGISTRY, ticket.time, **pair)

    def _deployment(self) -> Deployment:
        found = self.registry["deployment"]
        assert isinstance(found, Deployment)
        return found


def _ticket(entry: Any) -> facts.PolicyEvent:
    event = facts.parse_event(entry.value)
    assert isinstance(event, facts.PolicyEvent)
    return event


def decided(source: random.Random, steps: int) -> list[facts.Event]:
    """Events that came of `steps` commands, genesis first."""
    story = Story(source)
    while steps > 0:
        size = min(steps, source.randint(1, 12))
        steps -= size
        story.send([story.ask() for _ in range(size)])
        story.answer(source.randint(0, 12))
        story.pass_time()
    story.answer(len(story.waiting))
    return story.events
