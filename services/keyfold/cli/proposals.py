"""`keyfold proposal …`: commands that wait until enough principals have approved them.

Who approves agrees to a digest. It is computed here from the very bytes that are shown, so that the projections could
show something else, but never have it approved.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from keyfold.cli import exits, output
from keyfold.cli.arguments import NoWait, Pairs, Reason, Trial, how, identifier, moment, pairs
from keyfold.cli.exits import Differs
from keyfold.cli.projected import key_id_of
from keyfold.cli.session import Session, now_ms, of
from keyfold.cli.writing import write
from keyfold.client import Approval, DryRun, Keyfold
from keyfold.client.arguments import arguments_model
from keyfold.events import entities
from keyfold.events.commands import ProposeCommand, parse_command
from keyfold.events.entities import ProposalStatus
from keyfold.events.errors import NotFound, ProposalMismatch, Refusal
from keyfold.events.streams import REGISTRY, key_stream
from keyfold.events.streams import key_id_of as key_of
from keyfold.projections.ports import Queries

app = typer.Typer(name="proposal", help="Commands that need approvals.", no_args_is_help=True)

ProposalId = Annotated[str, typer.Argument(metavar="PROPOSAL", help="The proposal's id.", callback=identifier)]
On = Annotated[str, typer.Argument(metavar="KEY", help="The key, by id or alias; `registry` for what is about no key.")]
Words = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="An argument of the verb: JSON where it takes that, else text."),
]
Size = Annotated[int | None, typer.Option("--bytes", min=0, help="Of a data-plane verb: at most so many bytes.")]
Pinned = Annotated[
    str | None, typer.Option("--digest", metavar="HEX", help="Go on, without asking, only with this digest.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask. Without a terminal nothing is asked in any case.")]


@app.command()
def create(
    context: typer.Context,
    verb: Annotated[str, typer.Argument(metavar="VERB", help="What is proposed, like DestroyKeyNow.")],
    on: On = REGISTRY,
    *,
    argument: Words = None,
    context_pairs: Pairs = None,
    items: Annotated[int | None, typer.Option(min=1, help="Of a data-plane verb: at most so many items.")] = None,
    size: Size = None,
    expires: Annotated[str, typer.Option(metavar="WHEN", help="When it ends, at the latest in 30d.")] = "1d",
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Propose a command. Prints the proposal's id and digest, which approvers are asked to agree to.

    Example: keyfold proposal create DestroyKeyNow alias/orders --reason "the key was disclosed"

    Example: keyfold proposal create PutIssuerKeys --argument issuer=ci --argument jwks="$(cat jwks.json)"
    """
    arguments, about, until = arguments_of(verb, argument), pairs(context_pairs), moment(expires)
    key = None if on == REGISTRY else on
    write(
        of(context),
        lambda kms: kms.propose(
            verb, key, arguments=arguments, contexts=[about] if about else None, items=items, size_bytes=size,
            expires_at=until, reason=reason, dry_run=dry_run,
        ),
        lambda made: f"proposal {made.id}\ndigest   {made.digest}",
        no_wait=no_wait,
        more=lambda made: {"proposal": made.id, "digest": made.digest},
    )  # fmt: skip


@app.command("list")
def list_(
    context: typer.Context,
    *,
    on: Annotated[str | None, typer.Option(metavar="KEY", help="Only on this key, or on `registry`.")] = None,
    status: Annotated[ProposalStatus | None, typer.Option(help="Only in this state.")] = None,
) -> None:
    """List proposals, oldest first.

    Example: keyfold proposal list --status Pending
    """
    session = of(context)

    async def work(queries: Queries) -> tuple[entities.Proposal, ...]:
        stream = on if on in {None, REGISTRY} else key_stream(await key_id_of(queries, on or ""))
        return await queries.proposals(stream=stream, status=status)

    found = session.ask(work)
    rows = [
        (p.proposal, _status(p), p.verb, p.stream, p.proposer, len(p.approvals), p.created_at, p.expires_at)
        for p in found
    ]
    headers = ("PROPOSAL", "STATUS", "VERB", "ON", "BY", "APPROVALS", "SINCE", "UNTIL")
    session.show(found, output.table(headers, rows, empty="no proposals"))


@app.command()
def show(context: typer.Context, proposal: ProposalId) -> None:
    """Show a proposal: its state, who approved it, its digest, and the exact command that has this digest.

    Example: keyfold proposal show 01890a5d-ac96-774b-bcce-b302099a8057
    """
    session = of(context)
    found = _proposal(session, proposal)
    approvals = [(a.principal, a.time, a.command_id) for a in found.approvals]
    table = output.table(("APPROVED BY", "AT", "COMMAND"), approvals, empty="nobody has approved it")
    session.show(found, f"{output.pairs(_described(found))}\n\n{table}\n\n{found.command}")


@app.command()
def approve(
    context: typer.Context,
    proposal: ProposalId,
    *,
    digest: Pinned = None,
    yes: Yes = False,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Agree to a proposal, after showing what it is. The approval that completes it carries the command out.

    Exit code 1 if the proposed command was refused then.

    Example: keyfold --as admin-2 proposal approve 01890a5d-ac96-774b-bcce-b302099a8057
    """
    session = of(context)
    found = _read(session, proposal, digest)
    _ask(f"Approve this {found.verb}?", answered=yes or dry_run or digest is not None)

    async def send(kms: Keyfold) -> Approval | DryRun:
        key = key_of(found.stream)
        return await kms.approve_proposal(found.proposal, found.digest, key=key, reason=reason, dry_run=dry_run)

    done = write(session, send, lambda done: _told(found, done), no_wait=no_wait, more=partial(_about, found))
    if done is not None and done.status == "Failed":
        raise typer.Exit(exits.REFUSED)


@app.command()
def deny(
    context: typer.Context,
    proposal: ProposalId,
    *,
    digest: Pinned = None,
    yes: Yes = False,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Refuse a proposal for good, after showing what it is.

    Example: keyfold --as admin-2 proposal deny 01890a5d-ac96-774b-bcce-b302099a8057 --reason "not agreed"
    """
    session = of(context)
    found = _read(session, proposal, digest)
    _ask(f"Deny this {found.verb}?", answered=yes or dry_run or digest is not None)
    key = key_of(found.stream)
    write(
        session,
        lambda kms: kms.deny_proposal(found.proposal, found.digest, key=key, **how(reason, dry_run)),
        lambda _: f"proposal {proposal} is denied",
        no_wait=no_wait,
        more=lambda _: {"proposal": proposal, "digest": found.digest},
    )


@app.command()
def cancel(
    context: typer.Context,
    proposal: ProposalId,
    *,
    reason: Reason = None,
    dry_run: Trial = False,
    no_wait: NoWait = False,
) -> None:
    """Take back a proposal.

    Example: keyfold proposal cancel 01890a5d-ac96-774b-bcce-b302099a8057
    """
    session = of(context)
    key = key_of(_proposal(session, proposal).stream)
    write(
        session,
        lambda kms: kms.cancel_proposal(proposal, key=key, **how(reason, dry_run)),
        lambda _: f"proposal {proposal} is cancelled",
        no_wait=no_wait,
    )


def arguments_of(verb: str, words: Sequence[str] | None) -> dict[str, Any]:
    """Read NAME=VALUE words as a verb's arguments: JSON where the verb takes that there, and text otherwise.

    Raises `UsageError`, and `InvalidArgument` for an unknown verb.
    """
    fields = arguments_model(verb).model_fields
    return {name: _value(fields.get(name), text) for name, text in pairs(words, "--argument").items()}


def _value(field: FieldInfo | None, text: str) -> Any:
    with suppress(ValueError):
        if field is not None:
            TypeAdapter(field.rebuild_annotation()).validate_json(text, strict=True)
        return json.loads(text)
    return text


def _read(session: Session, name: str, pinned: str | None) -> entities.Proposal:
    """Return a proposal after showing it. Raises `ProposalMismatch` where its digest is not the pinned one."""
    found = _proposal(session, name)
    if pinned not in {None, found.digest}:
        raise ProposalMismatch(f"proposal {name} has the digest {found.digest}, not the one that was to be decided on")
    for line in output.pairs(_described(found)).splitlines():
        session.say(line)
    return found


def _ask(question: str, *, answered: bool) -> None:
    if not answered and sys.stdin.isatty():
        typer.confirm(question, abort=True, err=True)


def _proposal(session: Session, name: str) -> entities.Proposal:
    found = session.ask(lambda queries: queries.proposal(name))
    if found is None:
        raise NotFound(f"there is no proposal {name}; `keyfold proposal list` shows which there are")
    if sha256(found.command.encode()).hexdigest() != found.digest or _proposing(found).id != name:
        raise Differs(f"the projections show a command for proposal {name} that is not the one with its digest")
    return found


def _proposing(proposal: entities.Proposal) -> ProposeCommand:
    with suppress(Refusal):
        command = parse_command(proposal.command.encode())
        if isinstance(command, ProposeCommand):
            return command
    raise Differs(f"the projections show a command for proposal {proposal.proposal} that proposes nothing")


def _described(proposal: entities.Proposal) -> list[tuple[str, Any]]:
    command = _proposing(proposal)
    wish = command.data.arguments
    extent = [("contexts", json.dumps(wish.contexts, ensure_ascii=False)), ("items", wish.items), ("bytes", wish.bytes)]
    return [
        ("proposal", proposal.proposal),
        ("status", _status(proposal) + (f" ({proposal.code})" if proposal.code else "")),
        ("verb", wish.verb),
        ("on", command.subject),
        ("arguments", json.dumps(wish.arguments, ensure_ascii=False)),
        *(extent if wish.contexts is not None else []),
        ("proposed by", command.data.principal),
        ("reason", command.data.reason),
        ("created", proposal.created_at),
        ("until", wish.expires_at),
        ("approved by", [approval.principal for approval in proposal.approvals]),
        ("closed", f"{proposal.closed_at} by {proposal.closed_by or '-'}" if proposal.closed_at else None),
        ("digest", proposal.digest),
    ]


def _status(proposal: entities.Proposal) -> str:
    """There is no event for an end that has come, so it is told here."""
    return "Expired" if proposal.expired(now_ms()) else proposal.status


def _about(proposal: entities.Proposal, done: Approval) -> dict[str, Any]:
    facts = {"status": done.status, "approvals": done.approvals, "code": done.code}
    return {"proposal": proposal.proposal, "digest": proposal.digest, **facts}


def _told(proposal: entities.Proposal, done: Approval) -> str:
    name = proposal.proposal
    match done.status:
        case "Executed":
            return f"approved and executed: {proposal.verb} on {proposal.stream}"
        case "Approved":
            return f"approved; {proposal.proposer} may send it now, with --proposal {name}"
        case "Pending":
            return f"approved, {done.approvals} in all; policy asks for more"
        case "Failed":
            return f"approved, but {proposal.verb} on {proposal.stream} was refused: {done.code}"
        case None:
            return f"approved before; `keyfold proposal show {name}` says what became of it"
