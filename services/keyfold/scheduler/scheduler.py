"""The shell: looks at what is due, sends it, rests. One round after the other, each with a deadline.

A crash at any point loses nothing: what was not carried out is still due, and what was is refused or changes nothing
when it is sent again.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from keyfold.client import Completed, SealingKeyPeriod
from keyfold.events.arguments import DeletionCause, EpochEvidence, RotationCause
from keyfold.events.entities import Deployment, Issuer
from keyfold.events.errors import KeyfoldError
from keyfold.events.times import to_text
from keyfold.logging import get_logger
from keyfold.projections.rows import DueDeletion, DueExpiry, DueRotation, StorageEpoch
from keyfold.scheduler import metrics
from keyfold.scheduler.duties import Agenda, Duty, epoch_duties, issuer_duties, sealing_duties
from keyfold.scheduler.settings import SchedulerSettings

_AT_ONCE: Final = 100

_log = get_logger()


class Projected(Protocol):
    """Where it is looked up what is due; `keyfold.projections.ports.Queries` is one."""

    async def due_deletions(self, now: str, limit: int = 100) -> Sequence[DueDeletion]:
        """Return keys pending deletion whose date is not after `now`, the longest due first."""

    async def due_rotations(self, now: str, limit: int = 100) -> Sequence[DueRotation]:
        """Return keys whose current version is to be replaced, and why, the most urgent first."""

    async def due_material_expiries(self, now: str, limit: int = 100) -> Sequence[DueExpiry]:
        """Return versions whose imported material is over, the longest due first."""

    async def issuers(self) -> Sequence[Issuer]:
        """Return the issuers whose tokens are accepted."""

    async def storage_epoch(self) -> StorageEpoch | None:
        """Return the current storage epoch and which partitions have turned to it."""

    async def deployment(self) -> Deployment | None:
        """Return what genesis fixed."""


class KeySets(Protocol):
    """Where issuers' keys are read; `keyfold.scheduler.key_sets.KeySets` is one."""

    async def read(self, source: str) -> str:
        """Return a key set as text. Raises `KeySetUnreadable`, and does not wait for ever."""


class Commands(Protocol):
    """What the scheduler sends; `keyfold.client.Keyfold` is one."""

    async def destroy_key(self, key_id: str, *, timeout_s: float | None = None) -> Completed: ...

    async def rotate_key(
        self, key: str, *, cause: RotationCause = "requested", timeout_s: float | None = None
    ) -> Completed: ...

    async def delete_imported_key_material(
        self,
        key: str,
        *,
        version: int | None = None,
        cause: DeletionCause = "requested",
        timeout_s: float | None = None,
    ) -> Completed: ...

    async def end_storage_epoch(
        self, epoch: int, evidence: Sequence[EpochEvidence], *, timeout_s: float | None = None
    ) -> Completed: ...

    async def rotate_sealing_key(self, *, timeout_s: float | None = None) -> Completed: ...

    async def erase_sealing_key(self, sealing_key: str, *, timeout_s: float | None = None) -> Completed: ...

    async def put_issuer_keys(self, issuer: str, jwks: str, *, timeout_s: float | None = None) -> Completed: ...

    def sealing_keys(self) -> list[SealingKeyPeriod]: ...


class Scheduler:
    """One scheduler; a second one beside it only sends commands that are refused or change nothing.

    `stepped_s` is when its last round began (monotonic); `blind` says that it could not look up what is due.
    """

    def __init__(
        self,
        kms: Commands,
        projected: Projected,
        key_sets: KeySets,
        settings: SchedulerSettings,
        clock_ms: Callable[[], int],
    ) -> None:
        self._kms, self._projected, self._key_sets = kms, projected, key_sets
        self._settings, self._clock_ms = settings, clock_ms
        self._times = settings.times()
        self._agenda = Agenda(self._times)
        self.stepped_s: float | None = None
        self.blind = False

    async def run(self, stop: asyncio.Event) -> None:
        """Do rounds until stopped."""
        while not stop.is_set():
            self.stepped_s = time.monotonic()
            with metrics.ROUND_SECONDS.time():
                await self.round()
            try:
                async with asyncio.timeout(self._settings.interval_s):
                    await stop.wait()
            except TimeoutError:
                continue

    async def round(self) -> int:
        """Send what is due and does not rest; return how many commands were carried out."""
        now = self._clock_ms()
        try:
            async with asyncio.timeout(self._settings.command_timeout_s):
                duties = await self._projected_duties(now)
            self.blind = False
        except (KeyfoldError, TimeoutError) as error:
            _log.warning("due-unknown", reason=str(error) or "no answer in time")
            duties = sealing_duties(self._kms.sealing_keys(), now, self._times)
            self.blind = True
        metrics.ROUNDS.labels("blind" if self.blind else "looked").inc()
        metrics.DUE.set(len(duties))
        ready = self._agenda.ready(duties, now)
        return sum(await asyncio.gather(*(self._carry_out(duty) for duty in ready)))

    async def _projected_duties(self, now_ms: int) -> list[Duty]:
        now, projected = to_text(now_ms), self._projected
        epoch, deployment = await projected.storage_epoch(), await projected.deployment()
        development = deployment is not None and deployment.development
        deletions = await projected.due_deletions(now, _AT_ONCE)
        rotations = await projected.due_rotations(now, _AT_ONCE)
        expiries = await projected.due_material_expiries(now, _AT_ONCE)
        return [
            *sealing_duties(self._kms.sealing_keys(), now_ms, self._times, epoch, development=development),
            *(Duty("DestroyKey", key.key_id) for key in deletions),
            *(Duty("RotateKey", key.key_id, cause=key.cause) for key in rotations),
            *(Duty("DeleteImportedKeyMaterial", each.key_id, version=each.version) for each in expiries),
            *epoch_duties(epoch),
            *issuer_duties(await projected.issuers(), now_ms),
        ]

    async def _carry_out(self, duty: Duty) -> bool:
        try:
            done = await self._send(duty)
        except KeyfoldError as error:
            self._agenda.failed(duty, self._clock_ms(), retriable=error.retriable)
            metrics.DUTIES.labels(duty.verb, error.code).inc()
            _log.warning("duty-failed", verb=duty.verb, target=duty.target, code=error.code, reason=str(error))
            return False
        self._agenda.done(duty, self._clock_ms())
        metrics.DUTIES.labels(duty.verb, "").inc()
        _log.info("duty-done", verb=duty.verb, target=duty.target, command=done.command_id)
        return True

    async def _send(self, duty: Duty) -> Completed:
        kms, target, timeout_s = self._kms, duty.target, self._settings.command_timeout_s
        match duty.verb:
            case "DestroyKey":
                sending = kms.destroy_key(target, timeout_s=timeout_s)
            case "RotateKey":
                sending = kms.rotate_key(target, cause=duty.cause, timeout_s=timeout_s)
            case "DeleteImportedKeyMaterial":
                sending = kms.delete_imported_key_material(
                    target, version=duty.version, cause="expired", timeout_s=timeout_s
                )
            case "PutIssuerKeys":
                jwks = await self._key_sets.read(duty.source)
                sending = kms.put_issuer_keys(target, jwks, timeout_s=timeout_s)
            case "RotateSealingKey":
                sending = kms.rotate_sealing_key(timeout_s=timeout_s)
            case "EraseSealingKey":
                sending = kms.erase_sealing_key(target, timeout_s=timeout_s)
            case "EndStorageEpoch":
                sending = kms.end_storage_epoch(int(target), duty.evidence, timeout_s=timeout_s)
        return await sending
