"""Legal histories of a deployment, generated from a seed: events as policy, worker and root would write them.

`HISTORIES` names the generators that the properties run over; another one (for example one that drives `decide`) is a
function from a random source and a number of steps to events, genesis first. `Log` signs events into records.
"""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any

from keyfold.events import commands, facts, topics
from keyfold.events.entities import Key
from keyfold.events.evolve import evolve
from keyfold.events.signatures import Signer, fingerprint
from keyfold.events.statements import Chain, ChainHead, Entry, sign_entries
from keyfold.events.streams import REGISTRY, partition_of
from keyfold.events.times import to_text

PARTITIONS = 4
START_MS = 1_767_000_000_000
ZERO = "0" * 64
DATA_VERBS = ("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext")

Signed = tuple[int, bytes, bytes, tuple[tuple[str, bytes], ...]]
History = Callable[[random.Random, int], list[facts.Event]]


def seeded(seed: int) -> random.Random:
    """A source of choices that can be repeated."""
    return random.Random(seed)  # noqa: S311 - choices of a test


def signer(name: str) -> Signer:
    return Signer(sha256(f"keyfold test key: {name}".encode()).digest())


ROOT, POLICY, HSM, STRANGER = (signer(name) for name in ("root", "policy", "hsm", "stranger"))
DEPLOYMENT = ROOT.fingerprint
SERVICES = {"root": ROOT, "policy": POLICY, "hsm": HSM}


def genesis_events(start_ms: int = START_MS) -> list[facts.Event]:
    """Genesis and the certificates of policy and worker."""
    people = [
        facts.InitialPrincipal(principal=name, public_key=signer(name).public_key.hex(), groups=["administrators"])
        for name in ("alice", "bob")
    ]
    genesis = facts.Genesis.new(
        "genesis",
        REGISTRY,
        to_text(start_ms),
        root_public_key=ROOT.public_key.hex(),
        partitions=PARTITIONS,
        development=True,
        administrators=people,
        services=[facts.InitialPrincipal(principal="scheduler", public_key=signer("s").public_key.hex(), groups=[])],
        policies=[facts.InitialPolicy(policy="administrators", text="permit (principal, action, resource);")],
    )
    return [genesis, *(certificate(role, start_ms=start_ms) for role in ("policy", "hsm"))]


def certificate(role: str, key: Signer | None = None, start_ms: int = START_MS) -> facts.Event:
    return facts.ServiceKeyCertified.new(
        f"certificate/{role}/{(key or SERVICES[role]).fingerprint[:8]}",
        REGISTRY,
        to_text(start_ms),
        public_key=(key or SERVICES[role]).public_key.hex(),
        service=role,
        topics=[topics.EVENTS],
        not_before=to_text(start_ms - 60_000),
        not_after=to_text(start_ms + 60 * 86_400_000),
    )


class Maker:
    """Chooses what happens next among what may; keeps just enough state for that."""

    def __init__(self, source: random.Random, longest_pause_ms: int, start_ms: int = START_MS) -> None:
        self.random = source
        self.longest_pause_ms = longest_pause_ms
        self.now_ms = start_ms
        self.events = genesis_events(start_ms)
        self.view: dict[str, Any] = {}
        self.aliases: dict[str, str] = {}
        self.principals = ["alice", "bob"]
        self.policies: dict[str, set[str]] = {REGISTRY: {"administrators"}}
        self.offsets: dict[str, int] = {}
        self.sealing: list[str] = []
        self.count = 0
        for event in self.events:
            self._fold(event)

    def steps(self, number: int) -> list[facts.Event]:
        for _ in range(number):
            self.random.choice(self._possible())()
        return self.events

    def _possible(self) -> list[Callable[[], None]]:
        r = self.random
        keys = [entity for entity in self.view.values() if isinstance(entity, Key)]
        found = [self.create_key, self.register, self.publish_sealing_key, self.deny, self.random_bytes]
        found += [self.put_policy, lambda: self.put_policy(REGISTRY)] if keys else []
        if keys:
            key = r.choice(keys)
            found += [lambda: self.deny(key.key_id), lambda: self.alias(key.key_id)]
            if key.status == "Enabled":
                found += [lambda: self.use(key)] * 6 + [lambda: self.rotate(key), lambda: self.disable(key)]
            if key.status == "Disabled":
                found += [lambda: self.simple(key, facts.KeyEnabled, "EnableKey")]
            if key.status in {"Enabled", "Disabled"}:
                found += [lambda: self.schedule(key), lambda: self.put_policy(f"key/{key.key_id}")]
            if key.status == "PendingDeletion":
                found += [lambda: self.simple(key, facts.KeyDeletionCancelled, "CancelKeyDeletion")]
                found += [lambda: self.destroy(key)]
        if len(self.principals) > 1:
            found += [self.revoke]
        if self.aliases:
            found += [self.delete_alias]
        if any(len(names) > 1 or stream != REGISTRY for stream, names in self.policies.items() if names):
            found += [self.delete_policy]
        if len(self.sealing) > 1:
            found += [self.erase_sealing_key]
        return found

    def create_key(self) -> None:
        key_id = self._uuid()
        protection = self.random.choice(["HSM", "SOFTWARE"])
        self._decided(
            facts.KeyCreated,
            f"key/{key_id}",
            "CreateKey",
            key_id=key_id,
            key_spec="SYMMETRIC_DEFAULT",
            protection=protection,
            description=self.random.choice(["", "Orders, 注文", "tab\there, \\ and \n line"]),
            tags={"cost": "4711"} if self.random.random() < 0.5 else {},
            created_by="alice",
        )
        self._material(key_id, 1, "CreateKey", protection)

    def rotate(self, key: Key) -> None:
        version = len(key.versions) + 1
        spec = {"key_spec": key.key_spec, "protection": key.protection, "version": version, "cause": "requested"}
        self._decided(facts.KeyRotated, f"key/{key.key_id}", "RotateKey", key_id=key.key_id, **spec)
        self._material(key.key_id, version, "RotateKey", key.protection)

    def use(self, key: Key) -> None:
        r, stream = self.random, f"key/{key.key_id}"
        verb, items = r.choice(DATA_VERBS), r.randint(1, 9)
        size = r.randint(0, 5000)
        more = {"verb": verb, "principal": "alice", "protection": key.protection, "items": items, "bytes": size}
        version = None if verb == "Decrypt" else key.current_version
        self._decided(facts.CommandAuthorized, stream, verb, key_id=key.key_id, key_version=version, **more)
        if r.random() < 0.1:
            self._outcome(facts.OperationFailed, stream, verb, key_id=key.key_id, code="TokenUnavailable")
            return
        failed = r.randint(0, items) if verb == "Decrypt" else 0
        versions: dict[str, int] = {}
        for _ in range(items - failed):
            used = r.randint(1, len(key.versions)) if verb == "Decrypt" else key.current_version
            versions[str(used)] = versions.get(str(used), 0) + 1
        failures = {"InvalidCiphertext": list(range(failed))} if failed else {}
        counts = {"items": items, "bytes": size, "versions": versions, "failures": failures, "mac": ZERO}
        self._outcome(facts.KeyUsed, stream, verb, key_id=key.key_id, **counts)

    def disable(self, key: Key) -> None:
        self._decided(facts.KeyDisabled, f"key/{key.key_id}", "DisableKey", key_id=key.key_id, reason="audit")
        self._outcome(facts.KeyUseCeased, f"key/{key.key_id}", "DisableKey", key_id=key.key_id, erased_versions=[])

    def simple(self, key: Key, kind: type[facts.Event], verb: str) -> None:
        self._decided(kind, f"key/{key.key_id}", verb, key_id=key.key_id)
        self._outcome(facts.CommandCompleted, f"key/{key.key_id}", verb)

    def schedule(self, key: Key) -> None:
        date = to_text(self.now_ms + self.random.randint(1, 30) * 86_400_000)
        stream = f"key/{key.key_id}"
        self._decided(facts.KeyDeletionScheduled, stream, "ScheduleKeyDeletion", key_id=key.key_id, deletion_date=date)
        self._outcome(facts.CommandCompleted, stream, "ScheduleKeyDeletion")

    def destroy(self, key: Key) -> None:
        versions = [version.version for version in key.versions]
        stream = f"key/{key.key_id}"
        self._decided(facts.KeyDestroyed, stream, "DestroyKey", key_id=key.key_id, versions=versions)
        self._outcome(facts.KeyUseCeased, stream, "DestroyKey", key_id=key.key_id, erased_versions=versions)

    def alias(self, key_id: str) -> None:
        alias = f"alias/{self.random.choice('abcdef')}"
        kind, verb = (
            (facts.AliasUpdated, "UpdateAlias") if alias in self.aliases else (facts.AliasCreated, "CreateAlias")
        )
        self.aliases[alias] = key_id
        self._decided(kind, REGISTRY, verb, alias=alias, key_id=key_id)
        self._outcome(facts.CommandCompleted, REGISTRY, verb)

    def delete_alias(self) -> None:
        alias = self.random.choice(sorted(self.aliases))
        del self.aliases[alias]
        self._decided(facts.AliasDeleted, REGISTRY, "DeleteAlias", alias=alias)

    def register(self) -> None:
        self.count += 1
        name = f"p{self.count}"
        self.principals.append(name)
        public_key = sha256(name.encode()).hexdigest()
        groups = self.random.sample(["readers", "writers", "auditors"], self.random.randint(0, 3))
        self._decided(
            facts.PrincipalRegistered,
            REGISTRY,
            "RegisterPrincipal",
            principal=name,
            public_key=public_key,
            algorithm="Ed25519",
            groups=groups,
            tags={},
        )

    def revoke(self) -> None:
        name = self.principals.pop(self.random.randrange(1, len(self.principals)))
        self._decided(facts.PrincipalRevoked, REGISTRY, "RevokePrincipal", principal=name)

    def put_policy(self, stream: str = REGISTRY) -> None:
        name = self.random.choice(["readers", "writers", "owners"])
        self.policies.setdefault(stream, set()).add(name)
        text = f"permit (principal, action, resource); // {self.random.randint(0, 9)}"
        self._decided(facts.PolicyPut, stream, "PutPolicy", policy=name, text=text)

    def delete_policy(self) -> None:
        stream = self.random.choice(sorted(s for s, names in self.policies.items() if names))
        name = self.random.choice(sorted(self.policies[stream]))
        self.policies[stream].remove(name)
        self._decided(facts.PolicyDeleted, stream, "DeletePolicy", policy=name)

    def publish_sealing_key(self) -> None:
        identifier = self._uuid()
        self.sealing.append(identifier)
        pair = {"sealing_key": identifier, "public_key": "ab" * 1216, "blob_digest": ZERO}
        self._append(facts.SealingKeyPublished, REGISTRY, **pair)

    def erase_sealing_key(self) -> None:
        self._append(facts.SealingKeyErased, REGISTRY, sealing_key=self.sealing.pop(0))

    def deny(self, key_id: str | None = None) -> None:
        stream = f"key/{key_id}" if key_id else "principal/alice"
        verb = "Decrypt" if key_id else "GenerateRandom"
        self._decided(facts.CommandDenied, stream, verb, verb=verb, principal="alice", code="AccessDenied")

    def random_bytes(self) -> None:
        items = self.random.randint(1, 5)
        use = {"key_id": None, "key_version": None, "protection": None, "items": items, "bytes": 0}
        stream, verb = "principal/alice", "GenerateRandom"
        self._decided(facts.CommandAuthorized, stream, verb, verb=verb, principal="alice", **use)
        self._outcome(facts.CommandCompleted, stream, verb, items=items, bytes=32 * items, mac=ZERO)

    def _material(self, key_id: str, version: int, verb: str, protection: str) -> None:
        stream = f"key/{key_id}"
        if self.random.random() < 0.1:
            self._outcome(facts.OperationFailed, stream, verb, key_id=key_id, code="TokenUnavailable")
            return
        spec = {"version": version, "key_spec": "SYMMETRIC_DEFAULT", "protection": protection, "blob_digest": ZERO}
        self._outcome(facts.KeyMaterialGenerated, stream, verb, key_id=key_id, **spec)

    def _decided(self, kind: type[facts.Event], stream: str, verb: str, /, **data: Any) -> None:
        offset = self.offsets.get(stream, -1) + self.random.randint(1, 3)
        self.offsets[stream] = offset
        self.command = self._command(stream, verb)
        decision = facts.Decision(
            command=self.command,
            command_digest=sha256(self.command.encode()).hexdigest(),
            body_digest=ZERO,
            signature="00" * 64,
            offset=offset,
            policies=["administrators"],
            registry_revision=self.count,
            facts_n=len(self.events),
        )
        self._append(kind, stream, decision=decision, **data)

    def _outcome(self, kind: type[facts.Event], stream: str, verb: str, /, **data: Any) -> None:
        document = json.loads(self.command)
        known = {"offset": self.offsets[stream], "command_id": document["id"], "principal": "alice", "verb": verb}
        digest = sha256(self.command.encode()).hexdigest()
        self._append(kind, stream, command_digest=digest, **known, **data)

    def _command(self, stream: str, verb: str) -> str:
        data: dict[str, Any] = {"principal": "alice", "signing_key": ZERO, "arguments": {}}
        if commands.BY_VERB[verb].data_plane:
            data |= {"contexts": [{"tenant": "blue", "b": "\\ \t Ünï"}, {}], "items": 3, "bytes": 11}
        document = {"specversion": "1.0", "id": self._uuid(), "type": commands.type_of(verb), "subject": stream}
        return json.dumps(document | {"data": data}, ensure_ascii=False)

    def _append(self, kind: type[facts.Event], stream: str, /, **data: Any) -> None:
        self.now_ms += self.random.choice([0, 1, 500, self.longest_pause_ms])
        event = kind.new(f"{stream}/{len(self.events)}", stream, to_text(self.now_ms), **data)
        self.events.append(event)
        self._fold(event)

    def _fold(self, event: facts.Event) -> None:
        for name, entity in evolve(self.view, event).items():
            if entity is None:
                self.view.pop(name, None)
            else:
                self.view[name] = entity

    def _uuid(self) -> str:
        text = f"{self.random.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def simulated(
    source: random.Random, steps: int, longest_pause_ms: int = 5 * 86_400_000, start_ms: int = START_MS
) -> list[facts.Event]:
    """The built-in generator. Long pauses spread a history over several months."""
    return Maker(source, longest_pause_ms, start_ms).steps(steps)


HISTORIES: dict[str, History] = {"simulated": simulated}


class Log:
    """Signs events as their authors, statement by statement, into records: (partition, key, value, headers)."""

    def __init__(self, partitions: int = PARTITIONS) -> None:
        self.partitions = partitions
        self.heads: dict[tuple[str, int], ChainHead] = {}
        self.signers = dict(SERVICES)

    def sign(self, events: Sequence[facts.Event]) -> list[Signed]:
        """One statement over events of one role and one partition."""
        role, partition = events[0].role, partition_of(events[0].subject, self.partitions)
        entries = [Entry(event.subject.encode(), event.to_value()) for event in events]
        return self.sign_entries(role, partition, entries)

    def sign_entries(self, role: str, partition: int, entries: Sequence[Entry]) -> list[Signed]:
        key = self.signers[role]
        chain = Chain(DEPLOYMENT, topics.EVENTS, role, partition)
        head = self.heads.get((role, partition), ChainHead())
        self.heads[role, partition], headers = sign_entries(chain, head, entries, key.fingerprint, key.sign)
        return [(partition, e.key, e.value, h) for e, h in zip(entries, headers, strict=True)]

    def transactions(self, events: Iterable[facts.Event], source: random.Random) -> list[list[Signed]]:
        """Group a history into statements of random size, keeping each partition's order."""
        made: list[list[Signed]] = []
        waiting: list[facts.Event] = []
        for event in events:
            place = (event.role, partition_of(event.subject, self.partitions))
            if waiting and (
                place != (waiting[0].role, partition_of(waiting[0].subject, self.partitions)) or source.random() < 0.3
            ):
                made.append(self.sign(waiting))
                waiting = []
            waiting.append(event)
        return [*made, self.sign(waiting)] if waiting else made


def root_fingerprint() -> str:
    return fingerprint(ROOT.public_key)
