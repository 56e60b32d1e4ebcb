"""The control verbs: what the worker does for a fact that policy has already decided, and the outcome it states.

A lifecycle fact stands whatever happens here, so most of these cannot fail. Making material or a sealing key can; that
is stated as a failure of the operation. Nothing is written here: the keystore records and events are returned.
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, Protocol
from uuid import UUID

from keyfold.custody import HandleCache, KeyReference, SealingPrivateKey
from keyfold.events import commands, facts
from keyfold.events.arguments import Protection
from keyfold.events.errors import AlreadyExists, InvalidCommand, InvalidState, NotFound
from keyfold.events.specs import KeySpec
from keyfold.events.streams import REGISTRY, key_id_bytes
from keyfold.hsm.data_verbs import KeyCustody
from keyfold.hsm.keystore import Draft
from keyfold.hsm.tickets import Ticket

MAKES_SOMETHING: Final = frozenset({"CreateKey", "RotateKey", "RotateSealingKey"})
"""Verbs that are not carried out where their body does not open: what they make would be for nobody."""


class SealingCustody(Protocol):
    """What the worker asks of the token `seal` (`keyfold.custody.SealingKeys`)."""

    def create(self, sealing_key_id: bytes) -> tuple[bytes, bytes]: ...

    def load(self, sealing_key_id: bytes, blob: bytes) -> SealingPrivateKey: ...

    def erase(self, sealing_key_id: bytes) -> None: ...

    def list_ids(self) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome's type and own fields, what goes with it, and the summary that the caller gets."""

    outcome: type[facts.Outcome]
    fields: dict[str, Any] = field(default_factory=dict)
    events: tuple[facts.Event, ...] = ()
    stored: tuple[facts.Event, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)


class ControlVerbs:
    """Carries out control tickets. `new_id` draws the UUIDs of sealing keys."""

    def __init__(
        self, custody: KeyCustody, cache: HandleCache, sealing: SealingCustody, new_id: Callable[[], str]
    ) -> None:
        self._custody, self._cache, self._sealing, self._new_id = custody, cache, sealing, new_id

    def carry_out(self, ticket: Ticket, draft: Draft) -> Done:
        """Do what the ticket's fact asks for. Raises a `Refusal` or `TokenUnavailable`."""
        done = self._carry_out(ticket, draft)
        return replace(done, summary={**done.summary, **_governance(ticket.event)})

    def _carry_out(self, ticket: Ticket, draft: Draft) -> Done:
        match ticket.event:
            case facts.KeyCreated(data=data):
                return self._material(ticket, draft, 1, data.key_spec, data.protection)
            case facts.KeyRotated(data=data):
                return self._material(ticket, draft, data.version, data.key_spec, data.protection)
            case facts.KeyDestroyed(data=data):
                return self._destroy(ticket, data.key_id, draft)
            case facts.KeyDisabled(data=data) | facts.KeyDeletionScheduled(data=data):
                self._cache.evict(key_id_bytes(data.key_id))
                return _ceased(data.key_id, [])
        return self._on_sealing_keys(ticket, draft)

    def _on_sealing_keys(self, ticket: Ticket, draft: Draft) -> Done:
        match ticket.executed:
            case commands.RotateSealingKey():
                return self._rotate_sealing_key(ticket)
            case commands.EraseSealingKey(data=data):
                return self._erase_sealing_key(ticket, data.arguments.sealing_key, draft)
        return Done(facts.CommandCompleted)

    def new_sealing_key(self, identifier: str, time: str) -> tuple[facts.Event, facts.Event]:
        """Make a pair in the token; return (what is published, what is stored).

        If we crash before both are committed, a token key without a blob remains: the next start erases it.
        """
        sealing_key = self._new_id()
        public_key, blob = self._sealing.create(UUID(sealing_key).bytes)
        common = {"sealing_key": sealing_key, "public_key": public_key.hex()}
        digest = sha256(blob).hexdigest()
        return (
            facts.SealingKeyPublished.new(identifier, REGISTRY, time, **common, blob_digest=digest),
            facts.SealingKeyStored.new(identifier, REGISTRY, time, **common, blob=_text(blob)),
        )

    def _material(self, ticket: Ticket, draft: Draft, version: int, spec: KeySpec, protection: Protection) -> Done:
        key_id = ticket.key_id
        if key_id is None:
            raise InvalidCommand(f"{ticket.verb} needs a key's stream")
        if version in draft.versions(key_id):
            raise AlreadyExists(f"material of version {version} exists; an operator must look at this key")
        # If we crash before the commit, nothing remains of it: the material exists in this blob only.
        blob = self._custody.generate(KeyReference(key_id_bytes(key_id), version, spec, protection))
        common = {"key_id": key_id, "version": version, "key_spec": spec, "protection": protection}
        identifier = f"{ticket.partition}.{ticket.decision.offset}.material"
        stored = facts.KeyMaterialStored.new(identifier, ticket.stream, ticket.event.time, **common, blob=_text(blob))
        fields = {**common, "blob_digest": sha256(blob).hexdigest()}
        summary = {"key_id": key_id, "version": version}
        return Done(facts.KeyMaterialGenerated, fields, stored=(stored,), summary=summary)

    def _destroy(self, ticket: Ticket, key_id: str, draft: Draft) -> Done:
        """The handles go first: when the fact is durable, nothing is open any more."""
        event = ticket.event
        self._cache.evict(key_id_bytes(key_id))
        present = sorted(draft.versions(key_id))
        if not present:
            return _ceased(key_id, [])
        identifier = f"{ticket.partition}.{ticket.decision.offset}.erased"
        erased = facts.KeyMaterialErased.new(identifier, event.subject, event.time, key_id=key_id, versions=present)
        return _ceased(key_id, present, stored=(erased,))

    def _rotate_sealing_key(self, ticket: Ticket) -> Done:
        identifier = f"{ticket.partition}.{ticket.decision.offset}.sealing-key"
        published, stored = self.new_sealing_key(identifier, ticket.event.time)
        summary = {"sealing_key": published.data.sealing_key}
        return Done(facts.CommandCompleted, events=(published,), stored=(stored,), summary=summary)

    def _erase_sealing_key(self, ticket: Ticket, sealing_key: str, draft: Draft) -> Done:
        """Intent (the ticket), then an idempotent act in the token, then the fact: a repetition finishes it."""
        if sealing_key == draft.current_sealing_key:
            raise InvalidState("this sealing key is the current one; rotate it first")
        if sealing_key not in draft.sealing:
            raise NotFound("no such sealing key is kept; it was erased before, or never was")
        self._sealing.erase(UUID(sealing_key).bytes)
        identifier = f"{ticket.partition}.{ticket.decision.offset}.sealing-key"
        event, data = ticket.event, {"sealing_key": sealing_key}
        return Done(
            facts.CommandCompleted,
            events=(facts.SealingKeyErased.new(identifier, event.subject, event.time, **data),),
            stored=(facts.SealingKeyDeleted.new(identifier, event.subject, event.time, **data),),
            summary=data,
        )


def _ceased(key_id: str, erased: list[int], stored: tuple[facts.Event, ...] = ()) -> Done:
    fields = {"key_id": key_id, "erased_versions": erased}
    return Done(facts.KeyUseCeased, fields, stored=stored, summary={"key_id": key_id})


def _text(blob: bytes) -> str:
    return b64encode(blob).decode("ascii")


def _governance(event: facts.PolicyEvent) -> dict[str, Any]:
    """What the caller is told of a proposal or grant beside the outcome."""
    executed = event.data.decision.proposal
    if executed is not None:
        return {"proposal": executed.proposal, "status": "Executed"}
    match event:
        case facts.ProposalCreated(data=data):
            return {"proposal": data.proposal, "digest": data.digest, "status": "Pending"}
        case facts.ProposalApproved(data=data):
            told = {"proposal": data.proposal, "status": data.status, "approvals": data.approvals}
            return {**told, "code": data.code} if data.code else told
        case facts.GrantCreated(data=data):
            return {"grant": data.grant}
    return {}
