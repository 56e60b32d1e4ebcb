"""The cases of deciding: what one process decides in a second, and the limits beside it. See `decisions`."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, Final

import cedarpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from benchmarks.measuring import Rate, measure
from benchmarks.population import (
    AT,
    ROOT,
    SEALED,
    Population,
    asking,
    key_stream,
    name_of,
    policy_text,
    populate,
    with_grants,
    with_limits,
)
from keyfold.deciding.admission import Admitted
from keyfold.deciding.authorizing import authorize
from keyfold.deciding.cedar import Authorizer
from keyfold.deciding.decide import decide
from keyfold.deciding.world import World
from keyfold.events.entities import DEPLOYMENT
from keyfold.events.evolve import evolve
from keyfold.events.signatures import command_message
from keyfold.events.statements import SIGNATURE_HEADER

POLICIES: Final = 1_000
PRINCIPALS: Final = 10_000
REMEMBERED: Final = 20_000.0
EVALUATED: Final = 2_000.0
CEDAR: Final = "limit: Cedar alone, one policy"
VERIFY: Final = "limit: Ed25519 verify"


class Decisions:
    """All cases on one population."""

    def __init__(self, quick: bool) -> None:
        self.rounds = 3 if quick else 7
        self.many, self.few = (2_000, 1_000) if quick else (PRINCIPALS, 3_000)
        self.known = populate(POLICIES, PRINCIPALS)
        self.commands = [self.known.admitted(self.known.record(n, n)) for n in range(self.many)]
        self._numbers = count(1_000_000)

    def run(self) -> Iterator[Rate]:
        """Measure everything, the limits first."""
        yield self._cedar()
        yield self._verify()
        yield self._remembered()
        yield self._new_contexts()
        yield self._new_principals()
        yield self._cold()
        for what in ("time", "approvals"):
            yield self._fresh(what)
        yield self._changed_policy()
        yield from self._whole()

    # Limits

    def _cedar(self) -> Rate:
        """What Cedar answers in a second when nothing has to be prepared for it."""
        policies = cedarpy.PolicySet.from_str(policy_text(0))
        entities = cedarpy.Entities.from_json_str(json.dumps(_described()))
        asked = {
            "principal": {"type": "Principal", "id": name_of(0)},
            "action": {"type": "Action", "id": "Encrypt"},
            "resource": {"type": "Key", "id": key_stream(0).removeprefix("key/")},
            "context": json.dumps({"encryption_context": {"__entity": {"type": "EncryptionContext", "id": "request"}}}),
        }
        assert cedarpy.is_authorized(asked, policies, entities).allowed

        def run() -> int:
            for _ in range(self.many):
                cedarpy.is_authorized(asked, policies, entities)
            return self.many

        return measure(CEDAR, self.rounds, lambda: run)

    def _verify(self) -> Rate:
        records = [self.known.record(n, n) for n in range(self.few)]
        keys = [Ed25519PublicKey.from_public_bytes(self.known.signers[n].public_key) for n in range(self.few)]
        signed = [
            (
                record.header(SIGNATURE_HEADER) or b"",
                command_message(ROOT, record.key or b"", record.value or b"", SEALED),
            )
            for record in records
        ]

        def run() -> int:
            for key, (signature, message) in zip(keys, signed, strict=True):
                key.verify(signature, message)
            return self.few

        return measure(VERIFY, self.rounds, lambda: run)

    # Authorizing

    def _remembered(self) -> Rate:
        world = _warm(self.known.world(Authorizer()), self.commands)
        return self._authorize("authorize: remembered", lambda: (world, self.commands), REMEMBERED)

    def _new_contexts(self) -> Rate:
        world = _warm(self.known.world(Authorizer()), self.commands)

        def prepare() -> tuple[World, list[Admitted]]:
            return world, [self._command(self.known, n, document=f"d{next(self._numbers)}") for n in range(self.few)]

        return self._authorize("authorize: contexts never seen", prepare, EVALUATED)

    def _new_principals(self) -> Rate:
        """Of every team one has asked before, so that its policy is ready and only the principal is new."""

        def prepare() -> tuple[World, list[Admitted]]:
            known, new = self.commands[:POLICIES], self.commands[POLICIES : POLICIES + self.few]
            return _warm(self.known.world(Authorizer()), known), new

        return self._authorize("authorize: principals never seen", prepare, EVALUATED)

    def _cold(self) -> Rate:
        """As after a start: each asks first of her team, so her policy is made ready as well."""

        def prepare() -> tuple[World, list[Admitted]]:
            return _warm(self.known.world(Authorizer()), self.commands[:1]), self.commands[1:POLICIES]

        return self._authorize("authorize: nothing remembered", prepare, EVALUATED)

    def _fresh(self, what: str) -> Rate:
        commands = self.commands[: self.few]
        world = _warm(asking(self.known, what).world(Authorizer()), commands)
        return self._authorize(f"authorize: policies ask for {what}", lambda: (world, commands), EVALUATED)

    def _changed_policy(self) -> Rate:
        """The first decision behind a change of one of the policies: the index is made again, one text is read."""
        world = _warm(self.known.world(Authorizer()), self.commands)
        registry = dict(self.known.registry)
        world = Population(POLICIES, registry, self.known.entities).world(world.authorizer)

        def prepare() -> Callable[[], int]:
            number = next(self._numbers)
            text = policy_text(0) + f"// {number}"
            registry["policy/policy-0"] = registry["policy/policy-0"].model_copy(update={"text": text})
            registry[DEPLOYMENT] = registry[DEPLOYMENT].model_copy(update={"policies_revision": number})
            return lambda: _authorize_all(world, self.commands[:1])

        return measure("authorize: first after a policy changed", self.rounds, prepare)

    def _authorize(self, case: str, prepare: Callable[[], tuple[World, list[Admitted]]], aim: float) -> Rate:
        def prepared() -> Callable[[], int]:
            world, commands = prepare()

            def run() -> int:
                return _authorize_all(world, commands)

            return run

        return measure(case, self.rounds, prepared, aim)

    def _command(self, known: Population, principal: int, **options: Any) -> Admitted:
        return known.admitted(known.record(next(self._numbers), principal, **options))

    # Whole decisions

    def _whole(self) -> Iterator[Rate]:
        known, limited = self.known, with_limits(self.known)
        granted = with_grants(known, self.few)
        both = with_limits(granted)
        few, by_grant = range(self.few), [self._command(granted, n, verb="Decrypt") for n in range(self.few)]
        records = [both.record(next(self._numbers), n, "Decrypt" if n % 2 else "Encrypt") for n in few]
        yield self._each("admit: signature and form", records, both.admitted)
        for case, population, commands in (
            ("decide: remembered", known, self.commands[: self.few]),
            ("decide: remembered, four limits", limited, self.commands[: self.few]),
            ("decide: by a grant", granted, by_grant),
        ):
            yield self._each(case, commands, partial(decide, world=_warm(population.world(Authorizer()), commands)))
        world = _warm(both.world(Authorizer()), list(map(both.admitted, records)))

        def record(inbound: Any) -> None:
            event = decide(both.admitted(inbound), world)
            both.entities.update((name, entity) for name, entity in evolve(both.entities, event).items() if entity)

        yield self._each("admit, decide, evolve: grants and limits", records, record)

    def _each(self, case: str, items: Sequence[Any], call: Callable[[Any], object]) -> Rate:
        def run() -> int:
            for item in items:
                call(item)
            return len(items)

        return measure(case, self.rounds, lambda: run)


def _described() -> list[dict[str, Any]]:
    """What Cedar is told for one request of the first principal."""
    person = {"type": "Principal", "id": name_of(0)}
    groups = [{"type": "Group", "id": "team-0"}, {"type": "Group", "id": "users"}]
    key = {"type": "Key", "id": key_stream(0).removeprefix("key/")}
    context = {"type": "EncryptionContext", "id": "request"}
    return [
        {"uid": person, "attrs": {"type": "workload"}, "parents": groups, "tags": {"tenant": "t0"}},
        {"uid": key, "attrs": {"created_at": AT}, "parents": []},
        {"uid": context, "attrs": {}, "parents": [], "tags": {"tenant": "t0"}},
    ]


def _warm(world: World, commands: Sequence[Admitted]) -> World:
    _authorize_all(world, commands)
    return world


def _authorize_all(world: World, commands: Sequence[Admitted]) -> int:
    for admitted in commands:
        authorize(admitted.command, admitted.principal, world)
    return len(commands)
