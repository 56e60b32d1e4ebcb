"""What a partition does beside its tickets: turn to the next storage epoch, and certify what is erased.

A turn makes the outer envelope of every live blob anew under the epoch's key, a slice at a time between batches of
tickets, each slice in one transaction. It keeps no position: which blobs are left is seen from the blobs. So a crash at
any point loses the slice under way, and the next owner goes on with what is still under an older epoch.

It is synchronous and asks the token: callers keep it off the event loop.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from keyfold.custody import InvalidBlob
from keyfold.events import facts
from keyfold.events.entities import Deployment, SealingKey
from keyfold.events.streams import key_stream, partition_stream
from keyfold.events.times import DAY_MS, MINUTE_MS, to_milliseconds, to_text
from keyfold.hsm.done import text_of
from keyfold.hsm.engine import Work
from keyfold.hsm.jobs import KeyCustody
from keyfold.hsm.keystore import Erasure, ImportKey, Index, Material, Versions
from keyfold.hsm.material_verbs import VERSIONS_OF_RECORD
from keyfold.logging import get_logger

_log = get_logger()
SLICE: Final = 200
LOOKED_AT: Final = 5_000
IMPORT_KEY_KEPT_MS: Final = DAY_MS + 16 * MINUTE_MS
MAX_CERTIFIED: Final = 1_000
COVERS: Final = ("keystore", "log", "log-backups", "payloads-of-commands")
DOES_NOT_COVER: Final = (
    "token-backups",
    "token-media",
    "copies-by-users-of-the-token",
    "plaintext-that-callers-hold",
)


@dataclass(frozen=True, slots=True)
class Step:
    """Work to commit in one transaction, if any yet; with `epoch` the partition has turned to it."""

    work: Work | None
    epoch: int | None = None


class Upkeep:
    """The upkeep of one owned partition. It is thrown away with it."""

    def __init__(self, custody: KeyCustody, partition: int, clock_ms: Callable[[], int]) -> None:
        self._custody, self._partition, self._clock_ms = custody, partition, clock_ms
        self._left: Iterator[str] | None = None
        self._damaged: set[str] = set()
        self._look_at_imports_ms = 0
        self._versions = 0

    def step(self, epoch: int, index: Index, deployment: Deployment, sealing_keys: Sequence[SealingKey]) -> Step | None:
        """Return the next step, or None where it has to wait. `epoch` is the one that the partition has turned to."""
        if epoch < deployment.storage_epoch:
            return self._turn(deployment.storage_epoch, index)
        return self._certify(index, deployment, sealing_keys)

    def void_imports(self, index: Index) -> Step | None:
        """Erase the keys of imports whose time is over: no import with them can still be on its way."""
        now = self._clock_ms()
        if now < self._look_at_imports_ms:
            return None
        over = [key_id for key_id, key in index.imports.items() if self._is_over(key)][:SLICE]
        # A partition may have many open imports, and none is over before it is a day old.
        self._look_at_imports_ms = now if over else now + MINUTE_MS
        voided = (self._voided(key_id, index.imports[key_id].import_token) for key_id in over)
        return Step(Work((), tuple(voided))) if over else None

    def _is_over(self, key: ImportKey) -> bool:
        return to_milliseconds(key.time) + IMPORT_KEY_KEPT_MS <= self._clock_ms()

    def _voided(self, key_id: str, import_token: str) -> facts.Event:
        identifier, data = f"{self._partition}.{import_token}.import-over", {"import_token": import_token}
        time = to_text(self._clock_ms())
        return facts.ImportKeyErased.new(identifier, key_stream(key_id), time, key_id=key_id, **data)

    def _turn(self, epoch: int, index: Index) -> Step | None:
        """All new blobs are under the epoch's key from its adoption on, so that the list of old ones only shrinks."""
        if self._damaged or not self._adopt(epoch):
            return None
        if self._left is None:
            self._left, self._versions = iter(list(index.keys)), 0
        stored: list[facts.Event] = []
        for count, key_id in enumerate(self._left, 1):
            versions = index.versions(key_id)
            self._versions += len(versions)
            old = {v: m for v, m in versions.items() if self._custody.epoch_of(m.blob) < epoch}
            stored += self._rewrapped(key_id, self._sound(key_id, old), epoch)
            if len(stored) >= SLICE or len(old) >= SLICE or count >= LOOKED_AT:
                return Step(Work((), tuple(stored)) if stored else None)
        stored += self._imports(index, epoch)
        self._left = None
        if self._damaged:
            _log.error("storage-epoch-held-up", partition=self._partition, epoch=epoch, keys=sorted(self._damaged)[:10])
            return Step(Work((), tuple(stored)) if stored else None)
        identifier = f"{self._partition}.{epoch}.storage-epoch-turned"
        turned = facts.StorageEpochTurned.new(
            identifier,
            partition_stream(self._partition),
            to_text(self._clock_ms()),
            epoch=epoch,
            partition=self._partition,
            versions=self._versions,
        )
        return Step(Work((turned,), tuple(stored)), epoch)

    def _adopt(self, epoch: int) -> bool:
        """Take up the epoch. Partition 0's owner makes its key where the command that was to do so has failed."""
        if self._partition == 0 and not self._custody.adopt_epoch(epoch):
            self._custody.begin_epoch(epoch)
        return self._custody.adopt_epoch(epoch)

    def _sound(self, key_id: str, versions: Versions) -> Versions:
        """Leave out blobs that do not open: the old epoch cannot end while they are there, but all else goes on."""
        sound: dict[int, Material] = {}
        for version, material in versions.items():
            try:
                sound[version] = material._replace(blob=self._custody.rewrap(material.reference, material.blob))
            except InvalidBlob as error:
                _log.error("key-blob-damaged", key_id=key_id, version=version, reason=str(error))
                self._damaged.add(key_id)
        return sound

    def _rewrapped(self, key_id: str, versions: Versions, epoch: int) -> Iterator[facts.Event]:
        """State blobs that were made anew. A key with many versions takes several records, none of them large."""
        numbers = sorted(versions)
        for at in range(0, len(numbers), VERSIONS_OF_RECORD):
            part = {number: versions[number] for number in numbers[at : at + VERSIONS_OF_RECORD]}
            blobs = {str(version): text_of(material.blob) for version, material in part.items()}
            yield facts.KeyMaterialRewrapped.new(
                f"{self._partition}.{epoch}.rewrapped.{key_id}.{numbers[at]}",
                key_stream(key_id),
                to_text(self._clock_ms()),
                key_id=key_id,
                epoch=epoch,
                blobs=blobs,
            )

    def _imports(self, index: Index, epoch: int) -> Iterator[facts.Event]:
        """The keys of open imports: few, since each waits a day at most."""
        for key_id, key in index.imports.items():
            if self._custody.epoch_of(key.blob) < epoch:
                token, reference = bytes.fromhex(key.import_token.replace("-", "")), key.reference
                yield facts.ImportKeyStored.new(
                    f"{self._partition}.{epoch}.rewrapped-import.{key_id}",
                    key_stream(key_id),
                    to_text(self._clock_ms()),
                    key_id=key_id,
                    import_token=key.import_token,
                    version=reference.version,
                    key_spec=reference.spec,
                    key_usage=reference.usage,
                    protection=reference.protection,
                    wrapping_algorithm=key.wrapping_algorithm,
                    blob=text_of(self._custody.rewrap_import(token, key.blob)),
                )

    def _certify(self, index: Index, deployment: Deployment, sealing_keys: Sequence[SealingKey]) -> Step | None:
        """What was destroyed after the first sealing key that is still there waits for that one's erasure."""
        ended = deployment.storage_epoch_ended
        oldest = min((key.published_at for key in sealing_keys if key.erased_at is None), default=None)
        events: list[facts.Event] = []
        stored: list[facts.Event] = []
        for key_id, erasures in index.erasures.items():
            done = [e for e in erasures if e.epoch <= ended and (oldest is None or e.time < oldest)][:MAX_CERTIFIED]
            if done:
                events.append(self._certificate(key_id, done, deployment, sealing_keys))
                versions = [erasure.version for erasure in done]
                identifier = f"{events[-1].id}.certified"
                record = facts.ErasureCertified.new(
                    identifier, key_stream(key_id), events[-1].time, key_id=key_id, versions=versions
                )
                stored.append(record)
            if len(events) >= SLICE or len(done) >= MAX_CERTIFIED:
                break
        return Step(Work(tuple(events), tuple(stored))) if events else None

    def _certificate(
        self, key_id: str, erasures: list[Erasure], deployment: Deployment, sealing_keys: Sequence[SealingKey]
    ) -> facts.Event:
        module = self._custody.identity().module
        last = max(erasure.time for erasure in erasures)
        epoch = max(erasure.epoch for erasure in erasures)
        return facts.KeyErased.new(
            f"{self._partition}.{erasures[0].offset}.erased.{key_id}.{erasures[0].version}",
            key_stream(key_id),
            to_text(self._clock_ms()),
            key_id=key_id,
            versions=[erasure.version for erasure in erasures],
            destroyed_by={str(erasure.version): erasure.offset for erasure in erasures},
            blob_digests={str(erasure.version): erasure.blob_digest for erasure in erasures},
            epoch=epoch,
            epoch_key_destroyed=deployment.storage_epoch_end or "",
            sealing_key=_last_before(last, sealing_keys),
            module=module,
            demonstration=module.startswith("SoftHSM"),
            covers=list(COVERS),
            does_not_cover=list(DOES_NOT_COVER),
        )


def _last_before(time: str, sealing_keys: Sequence[SealingKey]) -> str | None:
    before = [key for key in sealing_keys if key.published_at <= time]
    return max(before, key=lambda key: key.published_at).sealing_key if before else None
