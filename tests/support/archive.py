"""A deployment whose whole log is kept with its statements, and where everybody reads late.

A `Story` in which the HSM worker's answers are written at once and folded by policy some time later, statement by
statement; in which each partition follows the registry at its own pace; and whose people also grant, propose, approve,
limit, suspend and ask for dry runs. Root speaks now and then.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.desk import Desk, fold
from tests.support.histories import PEOPLE, Sent, Story
from tests.support.people import (
    ADMINISTRATORS,
    DEPLOYMENT,
    PARTITIONS,
    RULES,
    certificate,
    document,
    genesis,
    signed,
    signer,
)

from keyfold.bus import Inbound
from keyfold.deciding import admission
from keyfold.deciding.replaying import Leaf
from keyfold.events import facts
from keyfold.events.chains import Place
from keyfold.events.entities import Entity, Grant, Limit, Proposal
from keyfold.events.evolve import Changes, evolve
from keyfold.events.statements import ChainHead
from keyfold.events.streams import REGISTRY, partition_of
from keyfold.events.times import to_text
from keyfold.policy.answers import Answerer
from keyfold.policy.batch import Batch, Decider, summary_of
from keyfold.policy.state import Draft

ONLY_ADMINISTRATORS = 'permit (principal in Group::"administrators", action, resource);'
TEXTS = (
    'forbid (principal, action == Action::"DestroyKeyNow", resource) unless { context.approvals.count >= 1 };',
    'forbid (principal, action == Action::"Decrypt", resource) when { context.reason == "" };',
    'forbid (principal == Principal::"erin", action, resource) when { context.items > 2 };',
    'permit (principal, action == Action::"Encrypt", resource) when { context.time.epoch_seconds > 0 };',
)
REASONS = (None, None, "audit", "a reason\nwith more “lines”")
Wish = tuple[str, str, dict[str, Any]]


@dataclass
class Followed:
    """The registry as one partition's processor has read it so far."""

    entities: dict[str, Entity] = field(default_factory=dict)
    leaves: int = 0


class Archive(Story):
    """The log is `log`, by partition. `decisions` counts what policy said."""

    def __init__(self, source: random.Random, keys: int = 6, rules: str | None = None) -> None:
        super().__init__(source, keys)
        self.log: dict[int, list[Leaf]] = {partition: [] for partition in range(PARTITIONS)}
        self.numbers: Counter[tuple[str, int]] = Counter()
        self.read = dict.fromkeys(range(PARTITIONS), 0)
        self.followed = {partition: Followed() for partition in range(1, PARTITIONS)}
        self.registry.clear()
        self.desks[0].state.entities.clear()
        self.rules = rules or source.choice([RULES, ONLY_ADMINISTRATORS])
        self.events[0] = genesis(development=True, rules=self.rules)
        self._write("root", self.events[:3])
        self._write("hsm", self.events[3:])
        for partition in range(PARTITIONS):
            self.catch_up(partition, 10)
            self.follow(partition, 10)
        self.send([self.asked("alice", self._registration(name, reader=name != "carol")) for name in PEOPLE[2:]])

    @property
    def decisions(self) -> int:
        return sum(isinstance(leaf.event, facts.PolicyEvent) for leaves in self.log.values() for leaf in leaves)

    def sources(self) -> dict[int, Iterator[Leaf]]:
        """The whole log, as `replay` takes it."""
        return {partition: iter(leaves) for partition, leaves in self.log.items()}

    def live(self, steps: int) -> "Archive":
        """Let things happen: `steps` rounds of commands, answers and late reading."""
        r = self.random
        for _ in range(steps):
            self.send([self.ask() for _ in range(r.randint(1, 6))] + self._granted())
            self.answer(r.randint(0, 8))
            if r.random() < 0.05:
                self._root_speaks()
            for partition in range(PARTITIONS):
                self.catch_up(partition, r.choice((0, 0, 1, 2, 20)))
                self.follow(partition, r.choice((0, 0, 1, 3, 50)))
            self.pass_time()
        return self

    # Writing and reading

    def send(self, sent: Iterable[Sent], decide: Any = None) -> None:
        """Let every partition decide its commands as one batch, with what it knows."""
        super().send(sent, decide or self._decide)

    def _decide(self, partition: int, records: list[Inbound]) -> Batch:
        desk = self.desks[partition]
        draft = Draft(desk.state)
        batch = self._decider(desk).decide_all(records, draft)
        desk.state.changes(draft)
        desk.state.promote(draft)
        events = [facts.parse_event(entry.value) for entry in batch.events]
        desk.events += events
        self._write("policy", events)
        return batch

    def _decider(self, desk: Desk) -> Decider:
        place, answerer = (
            admission.Place(DEPLOYMENT, desk.partition, PARTITIONS),
            Answerer(DEPLOYMENT, signer("policy")),
        )
        followed = self.followed.get(desk.partition)
        if followed is None:
            return Decider(place, None, desk.authorizer, answerer)
        return Decider(place, followed.entities, desk.authorizer, answerer, lambda: followed.leaves)

    def answer(self, most: int) -> list[facts.Event]:
        """Let the worker answer its oldest tickets: one statement for each partition, folded by nobody yet."""
        tickets, self.waiting = self.waiting[:most], self.waiting[most:]
        made = [event for ticket in tickets for event in self._answers(ticket)]
        self._write("hsm", made)
        self.events += made
        return made

    def _write(self, role: str, events: list[facts.Event]) -> None:
        for partition in range(PARTITIONS):
            mine = [event for event in events if partition_of(event.subject, PARTITIONS) == partition]
            self.numbers[role, partition] += bool(mine)
            for event in mine:
                number, place = self.numbers[role, partition], len(self.log[partition])
                self.log[partition].append(Leaf(partition, place, role, number, event, event.to_value()))
                if partition == 0:
                    fold(self.registry, event)

    def _root_speaks(self) -> None:
        people = [
            facts.InitialPrincipal(principal=name, public_key=signer(name).public_key.hex(), groups=["administrators"])
            for name in ADMINISTRATORS
        ]
        reset = facts.PolicyReset.new(
            f"root.{len(self.log[0])}",
            REGISTRY,
            to_text(self.now_ms),
            reason="lost",
            removed=["one"],
            policies=[facts.InitialPolicy(policy="rules", text=self.rules)],
            administrators=people,
            revoked=[],
        )
        self._write("root", [self.random.choice([certificate("policy"), reset])])

    def catch_up(self, partition: int, statements: int) -> None:
        """Let policy fold so many more statements that others wrote on the partition."""
        state, log = self.desks[partition].state, self.log[partition]
        while self.read[partition] < len(log):
            leaf = log[self.read[partition]]
            place = state.head.places.get(leaf.role, Place())
            if leaf.role != "policy" and leaf.statement_n > place.head.n:
                if statements == 0:
                    return
                statements -= 1
                head = ChainHead(leaf.statement_n, "0" * 64)
                state.move(places={**state.head.places, leaf.role: Place(head, 0, 1)})
            self.read[partition] += 1
            if leaf.role == "policy":
                continue
            state.apply(changes(state.entities, leaf.event))
            if isinstance(leaf.event, facts.Outcome):
                state.finish({leaf.event.data.offset: summary_of(leaf.event)})

    def follow(self, partition: int, leaves: int) -> None:
        """Let a partition read so many more leaves of the registry."""
        followed = self.followed.get(partition)
        if followed is None:
            return
        for leaf in self.log[0][followed.leaves : followed.leaves + leaves]:
            followed.leaves += 1
            for name, entity in changes(followed.entities, leaf.event).items():
                if entity is None:
                    followed.entities.pop(name, None)
                else:
                    followed.entities[name] = entity

    # What else is asked

    def _wish(self, principal: str) -> Wish:
        verb, stream, options = super()._wish(principal)
        r = self.random
        if verb == "CreateKey" and r.random() < 0.5:
            options["arguments"] |= {"usage_budget": r.choice([3, 2000]), "rotate_at_percent": 60}
        if verb == "PutPolicy":
            options["arguments"]["text"] = r.choice([*TEXTS, ONLY_ADMINISTRATORS])  # else grants are never needed
        if r.random() < 0.35:
            verb, stream, options = self._governing_wish(r.choice(self.streams))
        options = {**options, "dry_run": r.random() < 0.05, "reason": r.choice(REASONS)}
        return verb, stream, {name: value for name, value in options.items() if value not in (None, False)}

    def _governing_wish(self, stream: str) -> Wish:
        r = self.random
        kinds = [self._limits(), self._people(), self._about_key(stream), self._proposals(stream)]
        kinds += [self._about_grants(stream)] * 3 + [self._about_proposals(stream)] * 2
        return r.choice(r.choice([wishes for wishes in kinds if wishes]))

    def _about_grants(self, stream: str) -> list[Wish]:
        r = self.random
        entities = self.desks[partition_of(stream, PARTITIONS)].state.entities.values()
        found: list[Wish] = []
        for grant in [each for each in entities if isinstance(each, Grant) and stream == f"key/{each.key_id}"][-5:]:
            found += [(r.choice(["RetireGrant", "RevokeGrant"]), stream, {"arguments": {"grant": grant.grant}})]
            found += [self._grant(stream, parent=grant.grant)] * 2 if grant.delegable else []
        return found

    def _granted(self) -> list[Sent]:
        """Let somebody use a grant now and then: left to chance alone, few would before it is over."""
        r = self.random
        entities = [each for desk in self.desks for each in desk.state.entities.values()]
        live = [each for each in entities if isinstance(each, Grant) and each.live(self.now_ms)]
        if not live or r.random() < 0.5:
            return []
        grant = r.choice(live)
        use = {"contexts": [r.choice([{"tenant": "blue"}, {}])], "items": r.choice([1, 3])}
        verb = r.choice([verb for verb in grant.verbs if verb != "CreateGrant"])
        return [self.asked(grant.grantee, (verb, f"key/{grant.key_id}", use))]

    def _about_proposals(self, stream: str) -> list[Wish]:
        entities = self.desks[partition_of(self.random.choice([stream, REGISTRY]), PARTITIONS)].state.entities.values()
        known = [each for each in entities if isinstance(each, Proposal)]
        live = [each for each in known if each.open and not each.expired(self.now_ms)]
        return [wish for proposal in [*known[-1:], *live[-5:]] for wish in self._about_proposal(proposal)]

    def _limits(self) -> list[Wish]:
        r = self.random
        limit = {
            "limit": r.choice("ab"),
            "kind": r.choice(["rate", "quota"]),
            "unit": r.choice(["commands", "items"]),
            "amount": r.choice([3, 100, 5000]),
            "period_seconds": r.choice([1, 60]),
            "per": r.choice(["principal", "key"]),
            "group": r.choice([None, "readers"]),
        }
        known = [("DeleteLimit", REGISTRY, {"arguments": {"limit": e.limit}}) for e in self.registry.values()
                 if isinstance(e, Limit)]  # fmt: skip
        return [("PutLimit", REGISTRY, {"arguments": limit}), *known]

    def _people(self) -> list[Wish]:
        r = self.random
        name = r.choice(self.people[2:])
        update = {"principal": name, "groups": r.sample(["readers", "administrators"], r.randint(0, 2))}
        rules = {"policy": "rules", "text": r.choice([RULES, ONLY_ADMINISTRATORS, ONLY_ADMINISTRATORS])}
        return [
            *[self._registration(name, reader=True)] * 3,
            ("SuspendPrincipal", REGISTRY, {"arguments": {"principal": name}}),
            *[("ResumePrincipal", REGISTRY, {"arguments": {"principal": name}})] * 3,
            ("UpdatePrincipal", REGISTRY, {"arguments": update}),
            ("PutPolicy", REGISTRY, {"arguments": rules}),
            ("PutPolicy", REGISTRY, {"arguments": {"policy": "three", "text": r.choice(TEXTS)}}),
        ]

    def _registration(self, name: str, *, reader: bool) -> Wish:
        groups = ["readers"] if reader else []
        known = {"principal": name, "public_key": signer(name).public_key.hex(), "groups": groups}
        return "RegisterPrincipal", REGISTRY, {"arguments": known}

    def asked(self, principal: str, wish: Wish) -> Sent:
        """A command that nothing is wrong with."""
        verb, stream, options = wish
        self.number += 1
        made = document(verb, stream, self.number, principal=principal, issued_ms=self.now_ms, **options)
        made["data"]["sealing_key"] = self._deployment().current_sealing_key
        return Sent(signed(made, stream, principal), principal, made["id"], True)

    def _about_key(self, stream: str) -> list[Wish]:
        r = self.random
        budget = {"items": r.choice([5, 3000]), "rotate_at_percent": r.choice([None, 10])}
        return [
            ("TagResource", stream, {"arguments": {"tags": {r.choice("ab"): "ü"}}}),
            ("UpdateUsageBudget", stream, {"arguments": budget}),
            ("RotateKey", stream, {"arguments": {"cause": "usage-budget"}}),
            ("DestroyKeyNow", stream, {}),
            self._grant(stream),
            self._grant(stream),
        ]

    def _grant(self, stream: str, parent: str | None = None) -> Wish:
        r = self.random
        delegable = parent is None and r.random() < 0.5
        verbs = ["CreateGrant"] if delegable else []
        arguments = {
            "grantee": r.choice(self.people),
            "verbs": [*verbs, *r.sample(["Encrypt", "Decrypt", "GenerateDataKey"], 2)],
            "expires_at": to_text(self.now_ms + r.choice([60_000, 86_400_000])),
            "encryption_context_subset": r.choice([None, {"tenant": "blue"}]),
            "max_operations": r.choice([None, 2]),
            "delegable": delegable,
            "parent": parent,
        }
        return "CreateGrant", stream, {"arguments": arguments}

    def _proposals(self, stream: str) -> list[Wish]:
        r = self.random
        ends = {"expires_at": to_text(self.now_ms + r.choice([30_000, 20 * 86_400_000]))}
        use = {"contexts": [{"tenant": "blue"}], "items": 3, "bytes": 5000}
        rule = {"policy": "two", "text": TEXTS[0]}
        return [
            ("ProposeCommand", stream, {"arguments": {"verb": "DestroyKeyNow", **ends}}),
            ("ProposeCommand", stream, {"arguments": {"verb": "DisableKey", "arguments": {"reason": "x"}, **ends}}),
            ("ProposeCommand", stream, {"arguments": {"verb": "Decrypt", **use, **ends}}),
            ("ProposeCommand", REGISTRY, {"arguments": {"verb": "PutPolicy", "arguments": rule, **ends}}),
        ]

    def _about_proposal(self, proposal: Proposal) -> list[Wish]:
        named = {"proposal": proposal.proposal}
        agreed = {**named, "digest": proposal.digest}
        found: list[Wish] = [("ApproveProposal", proposal.stream, {"arguments": agreed})] * 4
        found += [(self.random.choice(["DenyProposal", "CancelProposal"]), proposal.stream, {"arguments": named})]
        found[-1][2]["arguments"] = agreed if found[-1][0] == "DenyProposal" else named
        if proposal.verb == "Decrypt":
            use = {"contexts": [{"tenant": "blue"}], "items": 1, "size": 10, "proposal": proposal.proposal}
            found += [("Decrypt", proposal.stream, use)] * 2
        return found


def changes(entities: dict[str, Entity], event: facts.Event) -> Changes:
    """What policy's readers make of an event: one that does not follow from the state changes nothing."""
    try:
        return evolve(entities, event)
    except KeyError:
        return {}
