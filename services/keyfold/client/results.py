"""What control verbs return: the facts of the answer, as frozen values."""

import base64
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from keyfold.client.answers import Answer
from keyfold.client.flights import would_be_authorized
from keyfold.client.intents import Intent
from keyfold.client.public_keys import PublicKey
from keyfold.events.arguments import Origin, Protection
from keyfold.events.errors import InternalError, KeyfoldError
from keyfold.events.specs import KeySpec, KeyUsage, WrappingAlgorithm

ProposalStatus = Literal["Executed", "Approved", "Pending", "Failed"]


@dataclass(frozen=True, slots=True)
class KeyMetadata:
    """A key just created. `version` is its current version, from 1; 0 where the answer was repeated without it.

    A key of origin EXTERNAL waits for its material.
    """

    key_id: str
    version: int
    key_spec: KeySpec
    protection: Protection
    command_id: str
    key_usage: KeyUsage | None = None
    origin: Origin = "KEYFOLD"


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
class Compromise(Completed):
    """Versions marked as compromised, and what became of the rotation right behind: done, refused, or not asked for."""

    rotation: Completed | KeyfoldError | None = None


@dataclass(frozen=True, slots=True)
class ImportParameters:
    """What one import of key material needs: wrap it for `public_key` (SubjectPublicKeyInfo, DER) until `expires_at`.

    None of it is secret, so the wrapping may be done elsewhere. A later one for the same key makes this one void.
    """

    key_id: str
    version: int
    import_token: str
    wrapping_algorithm: WrappingAlgorithm
    public_key: bytes = field(repr=False)
    expires_at: str


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


def public_key_of(answer: Answer) -> PublicKey:
    """Return the public key of an answer to `GetPublicKey`. Raises `InternalError`."""
    summary, key_id = answer.summary, answer.data.key_id
    try:
        der = base64.b64decode(summary["public_key"], validate=True)
        found = PublicKey(key_id or "", summary["version"], summary["key_spec"], summary["key_usage"], der)
    except (KeyError, TypeError, ValueError):
        raise _without(answer, "a public key") from None
    return found


def import_parameters(answer: Answer) -> ImportParameters:
    """Return the parameters of an answer to `GetParametersForImport`. Raises `InternalError`."""
    summary, key_id = answer.summary, answer.data.key_id
    try:
        return ImportParameters(
            key_id or "",
            summary["version"],
            summary["import_token"],
            summary["wrapping_algorithm"],
            base64.b64decode(summary["public_key"], validate=True),
            summary["expires_at"],
        )
    except (KeyError, TypeError, ValueError):
        raise _without(answer, "import parameters") from None


def _without(answer: Answer, what: str) -> InternalError:
    """The error for an answer that lacks its result: as when it was executed before and only summed up."""
    return InternalError(f"command {answer.data.command_id} was answered without {what}; send it again")
