"""What is due, as values: no I/O, no clock. What was sent is remembered only to wait until the projections show it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from keyfold.client import SealingKeyPeriod
from keyfold.events.arguments import EpochEvidence, RotationCause
from keyfold.events.entities import Issuer
from keyfold.events.times import SECOND_MS, to_milliseconds
from keyfold.projections.rows import StorageEpoch

DutyVerb = Literal[
    "DestroyKey", "RotateKey", "DeleteImportedKeyMaterial", "RotateSealingKey", "EraseSealingKey", "EndStorageEpoch",
    "PutIssuerKeys",
]  # fmt: skip

_MAX_DOUBLINGS: Final = 20


@dataclass(frozen=True, slots=True)
class Duty:
    """One command that is due; `target` is a key, a sealing key, a storage epoch or an issuer.

    A key is rotated for a `cause`, imported material is of a `version`, an issuer's keys are read from `source`, an
    epoch ends by `evidence`.
    """

    verb: DutyVerb
    target: str
    source: str = ""
    cause: RotationCause = "requested"
    version: int = 0
    evidence: tuple[EpochEvidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Times:
    """When sealing keys are due, and how long a duty rests, in milliseconds.

    `erase_awaited_after_ms` is for sealing keys that are older than the storage epoch, in a deployment for development.
    `settle_ms`: after success, until the projections surely show it. After failures, `backoff_ms` doubles to its
    maximum.
    """

    rotate_after_ms: int
    erase_after_ms: int
    erase_awaited_after_ms: int
    settle_ms: int
    backoff_ms: int
    max_backoff_ms: int


def sealing_duties(
    keys: Sequence[SealingKeyPeriod],
    now_ms: int,
    times: Times,
    epoch: StorageEpoch | None = None,
    *,
    development: bool = False,
) -> list[Duty]:
    """Rotate the current sealing key when it is too old; erase those that nothing valid is sealed to any more.

    A key from before the storage epoch is rotated at once: what it carried of destroyed keys is certified as erased
    only when it is erased itself. In a deployment for development nobody waits for that as long as elsewhere.
    """
    begun_ms = to_milliseconds(epoch.begun_at) if epoch is not None and epoch.begun_at is not None else 0
    duties: list[Duty] = []
    for key in keys:
        awaited = key.published_ms < begun_ms
        if key.retired_ms is None:
            if awaited or now_ms >= key.published_ms + times.rotate_after_ms:
                duties.append(Duty("RotateSealingKey", key.id))
            continue
        pause_ms = times.erase_awaited_after_ms if awaited and development else times.erase_after_ms
        if now_ms >= key.retired_ms + pause_ms:
            duties.append(Duty("EraseSealingKey", key.id))
    return duties


def epoch_duties(epoch: StorageEpoch | None) -> list[Duty]:
    """End the storage epoch before the current one when every partition says that it has turned."""
    if epoch is None or epoch.ended >= epoch.epoch - 1:
        return []
    if {turn.partition for turn in epoch.turned} != set(range(epoch.partitions)):
        return []
    evidence = tuple(EpochEvidence(partition=turn.partition, offset=turn.kafka_offset) for turn in epoch.turned)
    return [Duty("EndStorageEpoch", str(epoch.epoch - 1), evidence=evidence)]


def issuer_duties(issuers: Iterable[Issuer], now_ms: int) -> list[Duty]:
    """Read the keys of issuers that publish them, when a quarter of their life is over.

    That leaves three quarters for trying again. What is due too: keys that were never put, and those of an issuer whose
    settings were put since.
    """
    duties: list[Duty] = []
    for issuer in issuers:
        if issuer.jwks_source is not None and now_ms >= _read_again_ms(issuer):
            duties.append(Duty("PutIssuerKeys", issuer.issuer, issuer.jwks_source))
    return duties


def _read_again_ms(issuer: Issuer) -> int:
    if issuer.keys_expire_at is None:
        return 0
    lifetime_ms = issuer.keys_lifetime_seconds * SECOND_MS
    put_ms = to_milliseconds(issuer.keys_expire_at) - lifetime_ms
    return 0 if put_ms < to_milliseconds(issuer.updated_at) else put_ms + lifetime_ms // 4


@dataclass(slots=True)
class _Rest:
    until_ms: int
    failures: int = 0


class Agenda:
    """Which duties rest, and until when."""

    def __init__(self, times: Times) -> None:
        self._times = times
        self._resting: dict[Duty, _Rest] = {}

    def ready(self, duties: Iterable[Duty], now_ms: int) -> list[Duty]:
        """Return the duties that do not rest; what is no duty any more is forgotten."""
        due = list(dict.fromkeys(duties))
        self._resting = {duty: rest for duty, rest in self._resting.items() if duty in due or rest.until_ms > now_ms}
        return [duty for duty in due if duty not in self._resting or self._resting[duty].until_ms <= now_ms]

    def done(self, duty: Duty, now_ms: int) -> None:
        """The command was carried out: wait until the projections show it."""
        self._resting[duty] = _Rest(now_ms + self._times.settle_ms)

    def failed(self, duty: Duty, now_ms: int, *, retriable: bool) -> None:
        """The command failed: try again later, and ever later; a lasting refusal rests for the longest time."""
        failures = self._resting[duty].failures if duty in self._resting else 0
        pause = self._times.backoff_ms << min(failures, _MAX_DOUBLINGS) if retriable else self._times.max_backoff_ms
        self._resting[duty] = _Rest(now_ms + min(pause, self._times.max_backoff_ms), failures + 1)
