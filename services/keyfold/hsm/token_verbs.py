"""Control verbs about keys that stay in a token: sealing keys, and the keys of storage epochs.

Each is an intent (the ticket), then an idempotent act in the token, then the fact: a repetition finishes it.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Protocol
from uuid import UUID

from keyfold.custody import SealingPrivateKey
from keyfold.events import commands, facts
from keyfold.events.errors import InvalidState, NotFound
from keyfold.events.streams import REGISTRY
from keyfold.hsm.done import Done, text_of
from keyfold.hsm.jobs import KeyCustody
from keyfold.hsm.keystore import Draft
from keyfold.hsm.tickets import Ticket


class SealingCustody(Protocol):
    """What the worker asks of the token `seal` (`keyfold.custody.SealingKeys`)."""

    def create(self, sealing_key_id: bytes) -> tuple[bytes, bytes]: ...

    def load(self, sealing_key_id: bytes, blob: bytes) -> SealingPrivateKey: ...

    def erase(self, sealing_key_id: bytes) -> None: ...

    def list_ids(self) -> list[bytes]: ...


class TokenVerbs:
    """Works on tokens for partition 0. `new_id` draws the UUIDs of sealing keys."""

    def __init__(self, custody: KeyCustody, sealing: SealingCustody, new_id: Callable[[], str]) -> None:
        self._custody, self._sealing, self._new_id = custody, sealing, new_id

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
            facts.SealingKeyStored.new(identifier, REGISTRY, time, **common, blob=text_of(blob)),
        )

    def rotate_sealing_key(self, ticket: Ticket) -> Done:
        """Make the next sealing key."""
        identifier = f"{ticket.partition}.{ticket.decision.offset}.sealing-key"
        published, stored = self.new_sealing_key(identifier, ticket.event.time)
        summary = {"sealing_key": published.data.sealing_key}
        return Done(facts.CommandCompleted, events=(published,), stored=(stored,), summary=summary)

    def erase_sealing_key(self, ticket: Ticket, sealing_key: str, draft: Draft) -> Done:
        """Destroy the token key around a retired sealing key."""
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

    def begin_epoch(self, event: facts.StorageEpochBegun) -> Done:
        """Make the key of the next storage epoch; every partition turns to it when it finds it."""
        self._custody.begin_epoch(event.data.epoch)
        return Done(facts.CommandCompleted, summary={"epoch": event.data.epoch})

    def end_epoch(self, ticket: Ticket, command: commands.EndStorageEpoch) -> Done:
        """Destroy the key of an old epoch, once the evidence that all partitions have turned was verified.

        If we crash behind the destruction, the ticket is executed again: there is nothing to destroy then, and the
        fact that is stated is the same.
        """
        arguments = command.data.arguments
        if ticket.flaw is not None:
            raise InvalidState(ticket.flaw)
        self._custody.end_epoch(arguments.epoch)
        found = self._custody.epochs().count(arguments.epoch)
        if found:
            raise InvalidState("the token still finds the epoch's key after destroying it; an operator must look at it")
        identity = self._custody.identity()
        event, epoch = ticket.event, {"epoch": arguments.epoch}
        destroyed = facts.StorageEpochKeyDestroyed.new(
            f"{ticket.partition}.{ticket.decision.offset}.storage-epoch-key-destroyed",
            event.subject,
            event.time,
            **epoch,
            token=identity.label,
            serial=identity.serial,
            module=identity.module,
            answer="CKR_OK",
            found_after=found,
            evidence={str(place.partition): place.offset for place in arguments.evidence},
        )
        return Done(facts.CommandCompleted, events=(destroyed,), summary=epoch)
