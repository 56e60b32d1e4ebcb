"""Legal histories of a deployment, generated from a seed: events as policy, worker and root would write them.

`HISTORIES` names the generators that the properties run over; another one (for example one that drives `decide`) is a
function from a random source and a number of steps to events, genesis first. `Log` signs events into records.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from tests.unit.projections.choosing import ZERO
from tests.unit.projections.governing import Governing

from keyfold.events import facts, topics
from keyfold.events.entities import Alias, Key, Principal, RegistryPolicy
from keyfold.events.signatures import Signer, fingerprint
from keyfold.events.statements import Chain, ChainHead, Entry, sign_entries
from keyfold.events.streams import REGISTRY, partition_of
from keyfold.events.times import to_text

PARTITIONS = 4
START_MS = 1_767_000_000_000
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


class Maker(Governing):
    """Chooses what happens next among what may; keeps just enough state for that."""

    def __init__(self, source: random.Random, longest_pause_ms: int, start_ms: int = START_MS) -> None:
        super().__init__(source, longest_pause_ms, start_ms, genesis_events(start_ms))
        self.sealing: list[str] = []

    def steps(self, number: int) -> list[facts.Event]:
        for _ in range(number):
            possible = self._possible()
            if self.random.random() < 0.3:
                keys = [key for key in self.all_of(Key) if key.status in {"Enabled", "Disabled"}]
                possible = self.governing_steps(self.random.choice(keys) if keys else None)
            self.random.choice(possible)()
        return self.events

    def _possible(self) -> list[Callable[[], None]]:
        r, keys = self.random, self.all_of(Key)
        found = [self.create_key, self.publish_sealing_key, self.deny, self.random_bytes, self.put_policy]
        if keys:
            key = r.choice(keys)
            found += [lambda: self.deny(key.key_id), lambda: self.alias(key.key_id)]
            if key.status == "Enabled":
                found += [lambda: self.use(key)] * 16 + [lambda: self.rotate(key), lambda: self.disable(key)]
            if key.status == "Disabled":
                found += [lambda: self.simple(key, facts.KeyEnabled, "EnableKey")]
            if key.status in {"Enabled", "Disabled"}:
                found += [lambda: self.schedule(key), lambda: self.put_policy(f"key/{key.key_id}")]
            if key.status == "PendingDeletion":
                found += [lambda: self.simple(key, facts.KeyDeletionCancelled, "CancelKeyDeletion")]
                found += [lambda: self.destroy(key)]
            if key.policies:
                found += [lambda: self.delete_policy(f"key/{key.key_id}", [each.policy for each in key.policies])]
        revocable = [each.principal for each in self.all_of(Principal) if each.status != "Revoked"]
        if len(revocable) > 1:
            found += [lambda: self.revoke(r.choice(revocable[1:]))]
        if aliases := self.all_of(Alias):
            found += [lambda: self.delete_alias(r.choice(aliases).alias)]
        if len(policies := self.all_of(RegistryPolicy)) > 1:
            found += [lambda: self.delete_policy(REGISTRY, [each.policy for each in policies])]
        if len(self.sealing) > 1:
            found += [self.erase_sealing_key]
        return found

    def create_key(self) -> None:
        key_id = self.uuid()
        protection = self.random.choice(["HSM", "SOFTWARE"])
        self.decided(
            facts.KeyCreated,
            f"key/{key_id}",
            "CreateKey",
            key_id=key_id,
            key_spec="SYMMETRIC_DEFAULT",
            protection=protection,
            description=self.random.choice(["", "Orders, 注文", "tab\there, \\ and \n line"]),
            tags={"cost": "4711"} if self.random.random() < 0.5 else {},
            created_by="alice",
            usage_budget=self.random.choice([8, 60, 2**31]),
            rotate_at_percent=self.random.choice([None, 50, 95]),
        )
        self._material(key_id, 1, "CreateKey", protection)

    def rotate(self, key: Key) -> None:
        version = len(key.versions) + 1
        spec = {"key_spec": key.key_spec, "protection": key.protection, "version": version, "cause": "requested"}
        self.decided(facts.KeyRotated, f"key/{key.key_id}", "RotateKey", key_id=key.key_id, **spec)
        self._material(key.key_id, version, "RotateKey", key.protection)

    def use(self, key: Key) -> None:
        r, stream = self.random, f"key/{key.key_id}"
        verb, items = r.choice(DATA_VERBS), r.randint(1, 9)
        size = r.randint(0, 5000)
        more = {"verb": verb, "principal": "alice", "protection": key.protection, "items": items, "bytes": size}
        version = None if verb == "Decrypt" else key.current_version
        why = {**self.charges(key.key_id), **self.live_grant(key)}
        more |= {"key_id": key.key_id, "key_version": version}
        self.decided(facts.CommandAuthorized, stream, verb, decision=why, **more)
        if r.random() < 0.1:
            self.outcome(facts.OperationFailed, stream, verb, key_id=key.key_id, code="TokenUnavailable")
            return
        failed = r.randint(0, items) if verb == "Decrypt" else 0
        versions: dict[str, int] = {}
        for _ in range(items - failed):
            used = r.randint(1, len(key.versions)) if verb == "Decrypt" else key.current_version
            versions[str(used)] = versions.get(str(used), 0) + 1
        failures = {"InvalidCiphertext": list(range(failed))} if failed else {}
        counts = {"items": items, "bytes": size, "versions": versions, "failures": failures, "mac": ZERO}
        self.outcome(facts.KeyUsed, stream, verb, key_id=key.key_id, **counts)

    def disable(self, key: Key) -> None:
        self.decided(facts.KeyDisabled, f"key/{key.key_id}", "DisableKey", key_id=key.key_id, reason="audit")
        self.outcome(facts.KeyUseCeased, f"key/{key.key_id}", "DisableKey", key_id=key.key_id, erased_versions=[])

    def simple(self, key: Key, kind: type[facts.Event], verb: str) -> None:
        self.decided(kind, f"key/{key.key_id}", verb, key_id=key.key_id)
        self.outcome(facts.CommandCompleted, f"key/{key.key_id}", verb)

    def schedule(self, key: Key) -> None:
        date = to_text(self.now_ms + self.random.randint(1, 30) * 86_400_000)
        stream = f"key/{key.key_id}"
        self.decided(facts.KeyDeletionScheduled, stream, "ScheduleKeyDeletion", key_id=key.key_id, deletion_date=date)
        self.outcome(facts.CommandCompleted, stream, "ScheduleKeyDeletion")

    def destroy(self, key: Key) -> None:
        versions = [version.version for version in key.versions]
        stream = f"key/{key.key_id}"
        self.decided(facts.KeyDestroyed, stream, "DestroyKey", key_id=key.key_id, versions=versions)
        self.outcome(facts.KeyUseCeased, stream, "DestroyKey", key_id=key.key_id, erased_versions=versions)

    def alias(self, key_id: str) -> None:
        alias = f"alias/{self.random.choice('abcdef')}"
        kind, verb = (facts.AliasUpdated, "UpdateAlias") if alias in self.view else (facts.AliasCreated, "CreateAlias")
        self.decided(kind, REGISTRY, verb, alias=alias, key_id=key_id)
        self.outcome(facts.CommandCompleted, REGISTRY, verb)

    def delete_alias(self, alias: str) -> None:
        self.decided(facts.AliasDeleted, REGISTRY, "DeleteAlias", alias=alias)

    def revoke(self, name: str) -> None:
        self.decided(facts.PrincipalRevoked, REGISTRY, "RevokePrincipal", principal=name)

    def put_policy(self, stream: str = REGISTRY) -> None:
        name = self.random.choice(["readers", "writers", "owners"])
        text = f"permit (principal, action, resource); // {self.random.randint(0, 9)}"
        self.decided(facts.PolicyPut, stream, "PutPolicy", policy=name, text=text)

    def delete_policy(self, stream: str, names: list[str]) -> None:
        self.decided(facts.PolicyDeleted, stream, "DeletePolicy", policy=self.random.choice(sorted(names)))

    def publish_sealing_key(self) -> None:
        identifier = self.uuid()
        self.sealing.append(identifier)
        pair = {"sealing_key": identifier, "public_key": "ab" * 1216, "blob_digest": ZERO}
        self.append(facts.SealingKeyPublished, REGISTRY, **pair)

    def erase_sealing_key(self) -> None:
        self.append(facts.SealingKeyErased, REGISTRY, sealing_key=self.sealing.pop(0))

    def deny(self, key_id: str | None = None) -> None:
        stream = f"key/{key_id}" if key_id else "principal/alice"
        verb = "Decrypt" if key_id else "GenerateRandom"
        command = self.signed_command(stream, verb, dry_run=self.random.random() < 0.2)
        refused = {"verb": verb, "principal": "alice", "code": "AccessDenied"}
        self.decided(facts.CommandDenied, stream, verb, command=command, **refused)

    def random_bytes(self) -> None:
        items = self.random.randint(1, 5)
        use = {"key_id": None, "key_version": None, "protection": None, "items": items, "bytes": 0}
        stream, verb = "principal/alice", "GenerateRandom"
        why = self.charges("")
        self.decided(facts.CommandAuthorized, stream, verb, decision=why, verb=verb, principal="alice", **use)
        self.outcome(facts.CommandCompleted, stream, verb, items=items, bytes=32 * items, mac=ZERO)

    def _material(self, key_id: str, version: int, verb: str, protection: str) -> None:
        stream = f"key/{key_id}"
        if self.random.random() < 0.1:
            self.outcome(facts.OperationFailed, stream, verb, key_id=key_id, code="TokenUnavailable")
            return
        spec = {"version": version, "key_spec": "SYMMETRIC_DEFAULT", "protection": protection, "blob_digest": ZERO}
        self.outcome(facts.KeyMaterialGenerated, stream, verb, key_id=key_id, **spec)


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
