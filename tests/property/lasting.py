"""Deployments whose keys are of every kind and live whole lives: versions, compromise, import, storage epochs.

`Lasting` adds wishes and the worker's answers to those of a `Story`, or of an `Archive` that is one.
"""

from typing import Any, Final

from tests.property.kinds import arguments, batch, end_of_epoch, import_outcome
from tests.support.archive import Archive
from tests.support.desk import outcome_of
from tests.support.histories import Story
from tests.support.people import PARTITIONS

from keyfold.events import facts
from keyfold.events.commands import BY_VERB
from keyfold.events.entities import Key
from keyfold.events.specs import SYMMETRIC_ONLY, USAGE_OF_VERB
from keyfold.events.streams import REGISTRY, partition_of

MINE: Final = 0.4
"""How often a wish is one of this module's."""
LIFE: Final = (
    "RotateKey", "RotateKey", "UpdateKeyValidity", "EnableKeyRotation", "DisableKeyRotation", "DisableKeyVersion",
    "DisableKeyVersion", "EnableKeyVersion", "EnableKeyVersion", "DestroyKeyVersion", "MarkKeyCompromised",
    "GetPublicKey",
)  # fmt: skip
CEASING: Final = (
    facts.KeyVersionDisabled, facts.KeyVersionDestroyed, facts.KeyCompromised, facts.ImportedKeyMaterialDeleted,
    facts.KeyDeletionScheduled,
)  # fmt: skip


class Lasting(Story):
    """A story that also asks everything that can be asked about one key, and hears of it."""

    def _wish(self, principal: str) -> tuple[str, str, dict[str, Any]]:
        r = self.random
        if r.random() >= MINE:
            return super()._wish(principal)
        if r.random() < 0.03:
            verb = r.choice(["BeginStorageEpoch", "EndStorageEpoch"])
            epoch = end_of_epoch(r, self._deployment()) if verb == "EndStorageEpoch" else {}
            return verb, REGISTRY, {"arguments": epoch}
        stream = r.choice(self.streams)
        key = self._key(stream)
        verb = r.choice(_verbs(key)) if key is not None else "CreateKey"
        options = batch(r, verb, key) if BY_VERB[verb].data_plane else {}
        return verb, stream, {"arguments": arguments(r, verb, key, self.now_ms), **options}

    def _key(self, stream: str) -> Key | None:
        found = self.desks[partition_of(stream, PARTITIONS)].state.entities.get(stream)
        return found if isinstance(found, Key) else None

    def _answers(self, ticket: facts.PolicyEvent) -> list[facts.Event]:  # noqa: PLR0911 - one case a line
        key = self._key(ticket.subject)
        failed = key is not None and self.random.random() < 0.1
        match ticket:
            case facts.CommandAuthorized() if key is not None and ticket.data.verb == "ImportKeyMaterial":
                return [import_outcome(ticket, key, done=not failed)]
            case _ if key is None or failed:
                return super()._answers(ticket) if ticket.subject != REGISTRY else self._of_registry(ticket)
            case facts.CommandAuthorized() if ticket.data.verb == "GetPublicKey":
                return [outcome_of(ticket)]
            case facts.KeyCreated() | facts.KeyRotated() if ticket.data.origin == "EXTERNAL":
                return [outcome_of(ticket)]
            case facts.ImportParametersIssued(data=data):
                told = data.model_dump(
                    include={"key_id", "import_token", "version", "wrapping_algorithm", "expires_at"}
                )
                return [outcome_of(ticket, facts.ImportParametersCreated, **told, public_key="MCow", attributes={})]
            case _ if isinstance(ticket, CEASING):
                return [outcome_of(ticket, facts.KeyUseCeased, key_id=key.key_id, erased_versions=[])]
        return super()._answers(ticket)

    def _of_registry(self, ticket: facts.PolicyEvent) -> list[facts.Event]:
        if not isinstance(ticket, facts.CommandAuthorized) or ticket.data.verb != "EndStorageEpoch":
            return super()._answers(ticket)
        ended = facts.StorageEpochKeyDestroyed.new(
            f"{ticket.id}.destroyed", REGISTRY, ticket.time, epoch=self._deployment().storage_epoch - 1, token="kms",
            serial="1", module="m", answer="CKR_OK", found_after=0, evidence={},
        )  # fmt: skip
        return [ended, outcome_of(ticket)]


def _verbs(key: Key) -> list[str]:
    """What there is to ask about a key: its life, uses that fit it, and imports where material comes from outside."""
    uses = [verb for verb, usage in USAGE_OF_VERB.items() if usage == key.key_usage]
    if key.key_spec != "SYMMETRIC_DEFAULT":
        uses = [verb for verb in uses if verb not in SYMMETRIC_ONLY]
    found = [*LIFE, *LIFE, *uses * (24 // len(uses))]
    if key.origin == "EXTERNAL":
        awaited = not all(version.material for version in key.versions)
        found += ["DeleteImportedKeyMaterial", "GetParametersForImport"] * (6 if awaited else 1)
        found += ["ImportKeyMaterial"] * (30 if key.import_parameters else 1)
    return found


class LastingArchive(Lasting, Archive):
    """A whole log of such a deployment, read late by everybody."""
