"""Control verbs that make, import or erase key material.

If we crash before what is returned here is committed, nothing remains of new material, which exists in its blob only.
Material that has to stay in the token (resident) is found again under its id when the ticket is executed again.
Erasing resident material comes before the fact is durable and is harmless when repeated: nobody can use it meanwhile,
as policy has refused the key before.
"""

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from keyfold.custody import HandleCache, Imported, KeyReference
from keyfold.events import commands, facts
from keyfold.events.errors import (
    AlreadyExists,
    ImportTokenInvalid,
    IncorrectKeyMaterial,
    InvalidCommand,
    KeyVersionUnusable,
    Refusal,
    TokenUnavailable,
)
from keyfold.events.streams import key_id_bytes
from keyfold.hsm.done import Done, ceased, text_of
from keyfold.hsm.jobs import KeyCustody
from keyfold.hsm.keystore import Draft, ImportKey
from keyfold.hsm.tickets import Ticket

VERSIONS_OF_RECORD: Final = 100
"""Versions in one keystore record: an RSA-4096 blob has 3 KiB as text, and a record at most 1 MiB."""

Making = facts.KeyCreated | facts.KeyRotated


class MaterialVerbs:
    """Makes and erases material through custody, and forgets handles of what must not be used any more."""

    def __init__(self, custody: KeyCustody, cache: HandleCache) -> None:
        self._custody, self._cache = custody, cache

    def make(self, ticket: Ticket, event: Making, draft: Draft) -> Done:
        """Make a version's material; one that waits for import has none."""
        data = event.data
        version = ticket.version
        summary = {"key_id": data.key_id, "version": version, "key_usage": data.key_usage}
        if data.origin == "EXTERNAL":
            return Done(facts.CommandCompleted, summary=summary)
        if version in draft.versions(data.key_id):
            raise AlreadyExists(f"material of version {version} exists; an operator must look at this key")
        reference = KeyReference(key_id_bytes(data.key_id), version, data.key_spec, data.protection, data.key_usage)
        made = self._custody.generate(reference)
        kind = _kind(data.key_id, reference)
        public_key = None if made.public_key is None else text_of(made.public_key)
        fields = {**kind, "blob_digest": sha256(made.blob).hexdigest(), "public_key": public_key}
        stored = self._record(
            ticket, facts.KeyMaterialStored, "material", **kind, blob=text_of(made.blob), public_key=public_key
        )
        return Done(
            facts.KeyMaterialGenerated, {**fields, "attributes": made.attributes}, stored=(stored,), summary=summary
        )

    def cease(self, key_id: str) -> Done:
        """Forget the key's handles: the worker has passed a command that stops or narrows its use."""
        self._cache.evict(key_id_bytes(key_id))
        return ceased(key_id, [])

    def erase(self, ticket: Ticket, key_id: str, versions: Iterable[int] | None, draft: Draft, *, final: bool) -> Done:
        """Erase versions (None: all, and an open import). Handles go first: when the fact is durable, none is open."""
        self._cache.evict(key_id_bytes(key_id))
        known = draft.versions(key_id)
        present = sorted(known if versions is None else set(versions) & set(known))
        records: list[facts.Event] = []
        import_key = draft.import_key(key_id) if versions is None else None
        if import_key is not None:
            erased = {"key_id": key_id, "import_token": import_key.import_token}
            records.append(self._record(ticket, facts.ImportKeyErased, "import-erased", **erased))
        for version in present:
            self._custody.erase(known[version].reference, known[version].blob)
        last = {version: self._last(known[version].blob) for version in present}
        if final:
            # Imported material that was deleted before is destroyed now: its blobs are in the log as well.
            deleted = (each for each in draft.deleted(key_id) if versions is None or each.version in versions)
            last = {each.version: (each.epoch, each.blob_digest) for each in deleted} | last
        numbers = sorted(last)
        # A slice of a turn that was never committed leaves blobs in the log's segments too, under the newest epoch.
        newest = self._custody.epoch_floor() if numbers else 0
        for at in range(0, len(numbers), VERSIONS_OF_RECORD):
            part = {number: last[number] for number in numbers[at : at + VERSIONS_OF_RECORD]}
            gone = {"key_id": key_id, "offset": ticket.decision.offset, "destroyed": final, **_erased(part, newest)}
            records.append(self._record(ticket, facts.KeyMaterialErased, f"erased.{numbers[at]}", **gone))
        return ceased(key_id, present, tuple(records))

    def _last(self, blob: bytes) -> tuple[int, str]:
        return self._custody.epoch_of(blob), sha256(blob).hexdigest()

    def public_key(self, ticket: Ticket, draft: Draft) -> Done:
        """Tell the public half of a version."""
        key_id = _key_id(ticket)
        material = draft.versions(key_id).get(ticket.version)
        if material is None or material.public_key is None:
            raise KeyVersionUnusable("there is no public key of this version")
        told = _kind(key_id, material.reference)
        return Done(facts.CommandCompleted, summary={**told, "public_key": text_of(material.public_key)})

    def import_parameters(self, ticket: Ticket, event: facts.ImportParametersIssued) -> Done:
        """Make the wrapping key of one import; it takes the place of an earlier one."""
        data = event.data
        made = self._custody.generate_import_key(UUID(data.import_token).bytes, data.wrapping_key_spec)
        if made.public_key is None:
            raise TypeError("an import key has a public half")
        common = data.model_dump(include={"key_id", "import_token", "version", "wrapping_algorithm"})
        told = {**common, "public_key": text_of(made.public_key), "expires_at": data.expires_at}
        kind = data.model_dump(include={"key_spec", "key_usage", "protection"})
        stored = self._record(ticket, facts.ImportKeyStored, "import-key", **common, **kind, blob=text_of(made.blob))
        fields = {**told, "attributes": made.attributes}
        return Done(facts.ImportParametersCreated, fields, stored=(stored,), summary=told)

    def import_material(
        self, ticket: Ticket, command: commands.ImportKeyMaterial, wrapped: bytes, draft: Draft
    ) -> Done:
        """Unwrap what the caller brought. Whatever comes of it, the import key is gone afterwards."""
        key_id, arguments = _key_id(ticket), command.data.arguments
        import_key = draft.import_key(key_id)
        if import_key is None or import_key.import_token != arguments.import_token:
            raise ImportTokenInvalid
        used = {"key_id": key_id, "import_token": import_key.import_token}
        erased = self._record(ticket, facts.ImportKeyErased, "import-erased", **used)
        try:
            made = self._unwrap(import_key, wrapped, draft.check(key_id, import_key.reference.version))
        except TokenUnavailable:
            raise
        except Refusal as refusal:
            failed = {"key_id": key_id, "code": refusal.code}
            return Done(facts.OperationFailed, failed, stored=(erased,), code=refusal.code)
        done = self._imported(ticket, import_key.reference, made)
        told = {"import_token": import_key.import_token, "valid_to": arguments.valid_to}
        return replace(done, fields={**done.fields, **told}, stored=(*done.stored, erased))

    def _unwrap(self, import_key: ImportKey, wrapped: bytes, before: str | None) -> Imported:
        """Open what the caller brought; for a version that had material it must be the same."""
        import_id = UUID(import_key.import_token).bytes
        made = self._custody.import_material(
            import_key.reference, import_id, import_key.blob, import_key.wrapping_algorithm, wrapped
        )
        if before not in {None, made.material_check}:
            raise IncorrectKeyMaterial
        return made

    def _imported(self, ticket: Ticket, reference: KeyReference, made: Imported) -> Done:
        key_id, version = _key_id(ticket), reference.version
        self._cache.evict(reference.key_id)
        kind = _kind(key_id, reference)
        public_key = None if made.public_key is None else text_of(made.public_key)
        blob = {"blob": text_of(made.blob), "material_check": made.material_check}
        stored = self._record(ticket, facts.KeyMaterialStored, "material", **kind, **blob, public_key=public_key)
        fields = {
            **kind,
            "blob_digest": sha256(made.blob).hexdigest(),
            "public_key": public_key,
            "attributes": made.attributes,
            "key_check_value": made.key_check_value,
        }
        summary = {"key_id": key_id, "version": version, "key_check_value": made.key_check_value}
        return Done(facts.KeyMaterialImported, fields, stored=(stored,), summary=summary)

    @staticmethod
    def _record(ticket: Ticket, kind: type[facts.KeystoreRecord], what: str, **data: Any) -> facts.Event:
        identifier = f"{ticket.partition}.{ticket.decision.offset}.{what}"
        return kind.new(identifier, ticket.stream, ticket.event.time, **data)


def _erased(versions: dict[int, tuple[int, str]], newest: int) -> dict[str, Any]:
    """Say of versions which were the last epoch and digest of a blob; no blob is under an epoch behind the newest."""
    return {
        "versions": sorted(versions),
        "epoch": max(newest, *(epoch for epoch, _ in versions.values())),
        "blob_digests": {str(version): digest for version, (_, digest) in versions.items()},
    }


def _kind(key_id: str, reference: KeyReference) -> dict[str, Any]:
    return {
        "key_id": key_id,
        "version": reference.version,
        "key_spec": reference.spec,
        "key_usage": reference.usage,
        "protection": reference.protection,
    }


def _key_id(ticket: Ticket) -> str:
    if ticket.key_id is None:
        raise InvalidCommand(f"{ticket.verb} needs a key's stream")
    return ticket.key_id
