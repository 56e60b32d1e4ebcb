"""What control verbs return: the facts of the answer, as frozen values."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from keyfold.client.answers import Answer
from keyfold.client.flights import would_be_authorized
from keyfold.client.intents import Intent
from keyfold.events.arguments import Protection
from keyfold.events.errors import InternalError

ProposalStatus = Literal["Executed", "Approved", "Pending", "Failed"]


@dataclass(frozen=True, slots=True)
class KeyMetadata:
    """A key just created. `version` is its current version, from 1; 0 where the answer was repeated without it."""

    key_id: str
    version: int
    key_spec: str
    protection: Protection
    command_id: str


@dataclass(frozen=True, slots=True)
class Completed:
    """A control verb that was carried out. `summary` is the service's own; it may name more in later versions.

    `registry_revision` is set by verbs of the registry: this client's later commands wait for it everywhere.
    """

    command_id: str
    key_id: str | None = None
    version: int = 0
    registry_revision: int | None = None
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DryRun(Completed):
    """What a dry run returns in place of the verb's own result: it would have been authorized; nothing was done.

    `decision` is the id of the event that records it; None where the answer was repeated without it.
    """

    decision: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal(Completed):
    """A command that waits for approvals, on the stream of `key_id` or the registry's. Approve it by id and digest.

    `digest` is SHA-256 (hex) of the exact bytes of the proposing command: what approvers agree to.
    """

    digest: str = ""

    @property
    def id(self) -> str:
        """The proposal's id, which is that of the command that proposed it."""
        return self.command_id


@dataclass(frozen=True, slots=True)
class Approval(Completed):
    """What an approval led to. With the last one that was needed the proposed command is `Executed`.

    Then `summary`, `key_id` and `version` are those of the proposed verb. A data-plane command is `Approved`: its
    proposer may send it now. Otherwise the proposal is `Pending`, with so many `approvals`, or has `Failed`, and `code`
    says why. `status` is None where the answer was repeated without it.
    """

    proposal: str = ""
    status: ProposalStatus | None = None
    approvals: int | None = None
    code: str | None = None


def completed(answer: Answer) -> Completed:
    """Return the facts of an answer."""
    data = answer.data
    return Completed(data.command_id, data.key_id, data.version, data.registry_revision, answer.summary)


def settled(intent: Intent, answer: Answer) -> Completed:
    """Return what became of a command: a `DryRun` where only that was asked for.

    Raises `InternalError` where a dry run was carried out: nobody may take that for a dry run.
    """
    if not intent.dry_run:
        return completed(answer)
    return dry_run_of(intent, answer)


def dry_run_of(intent: Intent, answer: Answer) -> DryRun:
    """Return the facts of a dry run that was not denied. Raises `InternalError`; see `settled`."""
    data = answer.data
    if not would_be_authorized(data):
        raise InternalError(
            f"{intent.verb} on {intent.name} was to be a dry run, but was carried out as {data.outcome}"
        )
    return DryRun(data.command_id, data.key_id, decision=data.decision)


def proposed(answer: Answer) -> Proposal:
    """Return the handle of a proposal that was made."""
    data = answer.data
    return Proposal(data.command_id, data.key_id, 0, data.registry_revision, answer.summary, digest=data.command_digest)


def approved(proposal: str, answer: Answer) -> Approval:
    """Return what an approval led to."""
    data, summary = answer.data, answer.summary
    status = summary.get("status")
    return Approval(
        data.command_id,
        data.key_id,
        data.version or summary.get("version", 0),
        data.registry_revision,
        summary,
        proposal=proposal,
        status=status if status in get_args(ProposalStatus) else None,
        approvals=summary.get("approvals"),
        code=summary.get("code"),
    )
