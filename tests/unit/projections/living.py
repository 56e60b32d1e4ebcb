"""Generated histories with the whole life of keys: every spec, versions, import, compromise, storage epochs, erasure.

`Living` adds steps to those of `Maker`; each step is also there for tests that want one thing to happen.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.unit.projections.choosing import ZERO
from tests.unit.projections.histories import HISTORIES, PARTITIONS, START_MS, Maker

from keyfold.events import facts
from keyfold.events.entities import Deployment, Key, KeyVersion
from keyfold.events.specs import ALGORITHMS, is_asymmetric
from keyfold.events.storage import Capability
from keyfold.events.streams import REGISTRY, partition_stream
from keyfold.events.times import to_text

DAY_MS = 86_400_000
MINE = 0.5  # how often a step is one of this module's
KINDS = sorted(ALGORITHMS)
USES = {
    "SIGN_VERIFY": ("Sign", "Verify"),
    "GENERATE_VERIFY_MAC": ("GenerateMac", "VerifyMac"),
    "KEY_AGREEMENT": ("DeriveSharedSecret",),
    "KEY_ENCAPSULATION": ("Encapsulate", "Decapsulate"),
    "ENCRYPT_DECRYPT": ("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKeyPair"),
}
BOUNDS = ("not_before", "not_after")
PUBLIC = "MCowBQYDK2VwAyEA"
KeyStep = Callable[[Key], None]


class Living(Maker):
    """Steps about keys and versions, imported material and storage epochs."""

    def _possible(self) -> list[Callable[[], None]]:
        if self.random.random() >= MINE:
            return super()._possible()
        found: list[Callable[[], None]] = [self.create, self.create, self.find_capabilities]
        found += [self.begin_epoch] if self.deployment.storage_epoch == self.deployment.storage_epoch_ended + 1 else []
        found += [self.turn, self.turn, self.end_epoch] if self._turning() else []
        if keys := self.all_of(Key):
            key = self.random.choice(keys)
            found += [partial(step, key) for step in self._key_life(key)]
        return found

    @property
    def deployment(self) -> Deployment:
        found = self.view["deployment"]
        assert isinstance(found, Deployment)
        return found

    def _turning(self) -> bool:
        return self.deployment.storage_epoch > self.deployment.storage_epoch_ended + 1

    def _key_life(self, key: Key) -> list[KeyStep]:
        if key.status in {"Destroyed", "Failed"}:
            return [self.erase] * 12 if _uncertified(key) else []
        found: list[KeyStep] = [self.validity, self.rotation, self.compromise, self.read_public_key]
        found += [self.use_old] * 4 + ([self.rotate_for] if key.status == "Enabled" else [])
        if key.origin == "EXTERNAL":
            found += [self.get_parameters] * 3 + [self.delete_material] * 2
            found += [self.import_material] * 12 if key.import_parameters else []
        if len(key.versions) > 1:
            found += [self.disable_version] * 2 + [self.enable_version] + [self.destroy_version] * 2
        return found + ([self.erase] * 6 if _uncertified(key) else [])

    # Keys and versions

    def create(self, origin: str | None = None, kind: tuple[str, str] | None = None, **more: Any) -> str:
        """A key of any spec; returns its id."""
        r, key_id = self.random, self.uuid()
        spec, usage = kind or r.choice(KINDS)
        origin = origin or r.choice(["KEYFOLD", "KEYFOLD", "EXTERNAL"])
        period = r.choice([None, 90 * DAY_MS // 1000, 5]) if origin == "KEYFOLD" else None
        bounds = {"not_before": r.choice([None, self.later(DAY_MS)]), "not_after": r.choice([None, self.later(DAY_MS)])}
        known: dict[str, Any] = {"key_spec": spec, "key_usage": usage, "origin": origin, "protection": "SOFTWARE"}
        known |= {"description": "", "tags": {}, "created_by": "alice", "rotation_period_seconds": period, **bounds}
        known |= {"usage_budget": r.choice([8, 2**31]), "rotate_at_percent": r.choice([None, 50])}
        self.decided(facts.KeyCreated, f"key/{key_id}", "CreateKey", key_id=key_id, **(known | more))
        if origin == "EXTERNAL":
            self.outcome(facts.CommandCompleted, f"key/{key_id}", "CreateKey")
        else:
            self.make_material(self.key(key_id), 1, "CreateKey")
        return key_id

    def key(self, key_id: str) -> Key:
        """A key as it is now."""
        found = self.view[f"key/{key_id}"]
        assert isinstance(found, Key)
        return found

    def make_material(self, key: Key, version: int, verb: str) -> None:
        self.outcome(facts.KeyMaterialGenerated, f"key/{key.key_id}", verb, **self._of_material(key, version))

    def _of_material(self, key: Key, version: int) -> dict[str, Any]:
        public = f"{PUBLIC}{self.random.randint(1000, 9999)}" if is_asymmetric(key.key_spec) else None
        kind = {"key_spec": key.key_spec, "key_usage": key.key_usage, "protection": key.protection}
        stated = {"public_key": public, "attributes": {"CKA_SENSITIVE": True, "CKA_VALUE_LEN": 32, "CKA_LABEL": "é"}}
        return {"key_id": key.key_id, "version": version, "blob_digest": ZERO, **kind, **stated}

    def rotate_for(self, key: Key, cause: str | None = None) -> None:
        number = len(key.versions) + 1
        why = {"version": number, "cause": cause or self.random.choice(["period", "compromise"]), "origin": key.origin}
        kind = {"key_spec": key.key_spec, "key_usage": key.key_usage, "protection": key.protection}
        self.decided(facts.KeyRotated, f"key/{key.key_id}", "RotateKey", key_id=key.key_id, **why, **kind)
        if key.origin == "EXTERNAL":
            self.outcome(facts.CommandCompleted, f"key/{key.key_id}", "RotateKey")
        else:
            self.make_material(key, number, "RotateKey")

    def validity(self, key: Key) -> None:
        r = self.random
        bounds = {name: r.choice([None, self.later(DAY_MS), to_text(self.now_ms)]) for name in BOUNDS}
        self.control(facts.KeyValidityUpdated, key, "UpdateKeyValidity", **bounds)

    def rotation(self, key: Key) -> None:
        if self.random.random() < 0.5:
            self.control(facts.KeyRotationDisabled, key, "DisableKeyRotation")
        else:
            self.control(facts.KeyRotationEnabled, key, "EnableKeyRotation", rotation_period_seconds=3600)

    def compromise(self, key: Key, versions: list[int] | None = None) -> None:
        known = [version.version for version in key.versions]
        marked = versions or sorted(self.random.sample(known, self.random.randint(1, len(known))))
        since = {"versions": marked, "occurred_at": to_text(self.now_ms - DAY_MS), "reason": "leaked"}
        self.control(facts.KeyCompromised, key, "MarkKeyCompromised", **since)

    def disable_version(self, key: Key) -> None:
        self._old_version(key, facts.KeyVersionDisabled, "DisableKeyVersion", "Active", erased=False)

    def enable_version(self, key: Key) -> None:
        self._old_version(key, facts.KeyVersionEnabled, "EnableKeyVersion", "Disabled", erased=None)

    def destroy_version(self, key: Key) -> None:
        self._old_version(key, facts.KeyVersionDestroyed, "DestroyKeyVersion", "Disabled", erased=True)

    def _old_version(self, key: Key, kind: type[facts.Event], verb: str, status: str, *, erased: bool | None) -> None:
        known = [v.version for v in key.versions if v.version != key.current_version and v.status == status]
        if not known:
            return
        version, stream = self.random.choice(known), f"key/{key.key_id}"
        self.decided(kind, stream, verb, key_id=key.key_id, version=version, reason="audit")
        if erased is None:
            self.outcome(facts.CommandCompleted, stream, verb)
        else:
            gone = [version] if erased else []
            self.outcome(facts.KeyUseCeased, stream, verb, key_id=key.key_id, erased_versions=gone)

    def read_public_key(self, key: Key) -> None:
        verb, stream = "GetPublicKey", f"key/{key.key_id}"
        none = {"protection": None, "items": 0, "bytes": 0}
        who = {"verb": verb, "principal": "alice", "key_id": key.key_id, "key_version": key.current_version}
        self.decided(facts.CommandAuthorized, stream, verb, **who, **none)
        self.outcome(facts.CommandCompleted, stream, verb)

    def use_old(self, key: Key, version: int | None = None, verb: str | None = None, items: int | None = None) -> None:
        """A use of any version; some items fail."""
        r, stream = self.random, f"key/{key.key_id}"
        verb, items = verb or r.choice(USES[key.key_usage]), items or r.randint(1, 9)
        version = version or r.randint(1, len(key.versions))
        who = {"verb": verb, "principal": "alice", "key_id": key.key_id, "key_version": version}
        more = {"protection": key.protection, "items": items, "bytes": 7, "refused_versions": [1]}
        self.decided(facts.CommandAuthorized, stream, verb, **who, **more)
        failed = r.randint(0, items // 2)
        why = {"InvalidSignature": list(range(failed))} if failed else {}
        counts = {"items": items, "bytes": 7, "versions": {str(version): items - failed}, "failures": why}
        self.outcome(facts.KeyUsed, stream, verb, key_id=key.key_id, mac=ZERO, **counts)

    # Imported material

    def get_parameters(self, key: Key) -> None:
        stream, verb = f"key/{key.key_id}", "GetParametersForImport"
        waiting = next((v.version for v in key.versions if not v.material), key.current_version)
        known = {"import_token": self.uuid(), "version": waiting, "wrapping_algorithm": "RSA_AES_KEY_WRAP_SHA_256"}
        known |= {"key_id": key.key_id, "expires_at": self.later(DAY_MS)}
        kind = {"key_spec": key.key_spec, "key_usage": key.key_usage, "protection": key.protection}
        self.decided(facts.ImportParametersIssued, stream, verb, wrapping_key_spec="RSA_4096", **known, **kind)
        made = {"public_key": PUBLIC + "abcd", "attributes": {"CKA_EXTRACTABLE": False}}
        self.outcome(facts.ImportParametersCreated, stream, verb, **known, **made)

    def import_material(self, key: Key, valid_to: str | None = None) -> None:
        open_one = key.import_parameters
        assert open_one is not None
        stream, verb = f"key/{key.key_id}", "ImportKeyMaterial"
        who = {"verb": verb, "principal": "alice", "key_id": key.key_id, "key_version": open_one.version}
        self.decided(facts.CommandAuthorized, stream, verb, protection=key.protection, items=1, bytes=9, **who)
        if valid_to is None and self.random.random() < 0.2:
            self.outcome(facts.OperationFailed, stream, verb, key_id=key.key_id, code="IncorrectKeyMaterial")
            return
        until = valid_to or self.random.choice([None, self.later(3 * DAY_MS)])
        known = {"import_token": open_one.import_token, "key_check_value": "0a1b2c", "valid_to": until}
        material = self._of_material(key, open_one.version)
        self.outcome(facts.KeyMaterialImported, stream, verb, **material, **known)

    def delete_material(self, key: Key) -> None:
        known = [version.version for version in key.versions if version.material]
        if not known:
            return
        version, stream = self.random.choice(known), f"key/{key.key_id}"
        verb, why = "DeleteImportedKeyMaterial", {"version": version, "cause": "expired"}
        self.decided(facts.ImportedKeyMaterialDeleted, stream, verb, key_id=key.key_id, **why)
        self.outcome(facts.KeyUseCeased, stream, verb, key_id=key.key_id, erased_versions=[version])

    # The token and its storage epochs

    def find_capabilities(self) -> None:
        kinds = self.random.sample(KINDS, 3)
        offered = [
            Capability(key_spec=s, key_usage=u, protection="HSM", algorithms=list(ALGORITHMS[s, u]), resident=True)  # type: ignore[arg-type]
            for s, u in kinds
        ]
        imports = {"RSA_AES_KEY_WRAP_SHA_256": self.random.choice(["token", "worker"])}
        self.append(facts.TokenCapabilitiesFound, REGISTRY, module="SoftHSM 2", capabilities=offered, imports=imports)

    def begin_epoch(self) -> None:
        epoch = self.deployment.storage_epoch + 1
        self.decided(facts.StorageEpochBegun, REGISTRY, "BeginStorageEpoch", epoch=epoch)
        self.outcome(facts.CommandCompleted, REGISTRY, "BeginStorageEpoch")

    def turn(self, partition: int | None = None) -> None:
        place = self.random.randrange(PARTITIONS) if partition is None else partition
        said = {"epoch": self.deployment.storage_epoch, "partition": place, "versions": self.random.randint(0, 9)}
        self.append(facts.StorageEpochTurned, partition_stream(place), **said)

    def end_epoch(self) -> None:
        token = {"token": "kms", "serial": "4711", "module": "SoftHSM 2", "answer": "CKR_OK", "found_after": 0}
        evidence = {str(partition): 7 for partition in range(PARTITIONS)}
        epoch = self.deployment.storage_epoch - 1
        self.append(facts.StorageEpochKeyDestroyed, REGISTRY, epoch=epoch, evidence=evidence, **token)

    def erase(self, key: Key) -> None:
        self.append(facts.KeyErased, f"key/{key.key_id}", **self._certificate(key, _uncertified(key)))

    def _certificate(self, key: Key, gone: list[KeyVersion]) -> dict[str, Any]:
        proof = {"epoch": self.deployment.storage_epoch_ended or 1, "epoch_key_destroyed": "registry/1.0"}
        claims = {"covers": ["log", "keystore"], "does_not_cover": ["token backups"], "demonstration": True}
        return {
            "key_id": key.key_id,
            "versions": [version.version for version in gone],
            "destroyed_by": {str(version.version): 5 for version in gone},
            "blob_digests": {str(version.version): ZERO for version in gone},
            "sealing_key": self.random.choice([None, self.uuid()]),
            "module": "SoftHSM 2",
            **proof,
            **claims,
        }

    def control(self, kind: type[facts.Event], key: Key, verb: str, **data: Any) -> None:
        self.decided(kind, f"key/{key.key_id}", verb, key_id=key.key_id, **data)
        self.outcome(facts.CommandCompleted, f"key/{key.key_id}", verb)


def _uncertified(key: Key) -> list[KeyVersion]:
    return [version for version in key.versions if version.status == "Destroyed" and version.erased_at is None]


def living(source: random.Random, steps: int, longest_pause_ms: int = 5 * DAY_MS) -> list[facts.Event]:
    """A generated history with all of that."""
    return Living(source, longest_pause_ms, START_MS).steps(steps)


HISTORIES["living"] = living
