"""The control verbs: what the worker does for a fact that policy has already decided, and the outcome it states.

A lifecycle fact stands whatever happens here, so most of these cannot fail. Making material or a sealing key can; that
is stated as a failure of the operation. Nothing is written here: the keystore records and events are returned.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from keyfold.custody import HandleCache
from keyfold.events import commands, facts
from keyfold.hsm.done import Done
from keyfold.hsm.jobs import KeyCustody
from keyfold.hsm.keystore import Draft
from keyfold.hsm.material_verbs import MaterialVerbs
from keyfold.hsm.tickets import Ticket
from keyfold.hsm.token_verbs import SealingCustody, TokenVerbs

__all__ = ["ControlVerbs", "Done", "SealingCustody", "makes_something"]

_MAKES_SOMETHING: Final = frozenset({"CreateKey", "RotateKey", "RotateSealingKey", "GetParametersForImport"})


def makes_something(ticket: Ticket) -> bool:
    """Tell whether it may fail: what it makes would be for nobody where its body does not open, and can be asked again.

    All other control verbs carry out what policy has decided as a fact.
    """
    event = ticket.event
    awaited = isinstance(event, facts.KeyCreated | facts.KeyRotated) and event.data.origin == "EXTERNAL"
    return ticket.verb in _MAKES_SOMETHING and not awaited


class ControlVerbs:
    """Carries out control tickets. `new_id` draws the UUIDs of sealing keys."""

    def __init__(
        self, custody: KeyCustody, cache: HandleCache, sealing: SealingCustody, new_id: Callable[[], str]
    ) -> None:
        self.material = MaterialVerbs(custody, cache)
        self.token = TokenVerbs(custody, sealing, new_id)

    def carry_out(self, ticket: Ticket, draft: Draft) -> Done:
        """Do what the ticket's fact asks for. Raises a `Refusal` or `TokenUnavailable`."""
        done = self._on_keys(ticket, draft) or self._on_tokens(ticket, draft) or Done(facts.CommandCompleted)
        return replace(done, summary={**done.summary, **_governance(ticket.event)})

    def _on_keys(self, ticket: Ticket, draft: Draft) -> Done | None:
        material, event = self.material, ticket.event
        match event:
            case facts.KeyCreated() | facts.KeyRotated():
                return material.make(ticket, event, draft)
            case facts.KeyDestroyed(data=data):
                return material.erase(ticket, data.key_id, None, draft, final=True)
            case facts.KeyVersionDestroyed(data=data) | facts.ImportedKeyMaterialDeleted(data=data):
                final = isinstance(event, facts.KeyVersionDestroyed)
                return material.erase(ticket, data.key_id, [data.version], draft, final=final)
            case (
                facts.KeyDisabled(data=data)
                | facts.KeyDeletionScheduled(data=data)
                | facts.KeyVersionDisabled(data=data)
                | facts.KeyCompromised(data=data)
            ):
                return material.cease(data.key_id)
            case facts.ImportParametersIssued():
                return material.import_parameters(ticket, event)
        return material.public_key(ticket, draft) if isinstance(ticket.executed, commands.GetPublicKey) else None

    def _on_tokens(self, ticket: Ticket, draft: Draft) -> Done | None:
        if isinstance(ticket.event, facts.StorageEpochBegun):
            return self.token.begin_epoch(ticket.event)
        if not isinstance(ticket.event, facts.CommandAuthorized):
            return None
        match ticket.executed:
            case commands.RotateSealingKey():
                return self.token.rotate_sealing_key(ticket)
            case commands.EraseSealingKey(data=data):
                return self.token.erase_sealing_key(ticket, data.arguments.sealing_key, draft)
            case commands.EndStorageEpoch() as command:
                return self.token.end_epoch(ticket, command)
        return None


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
