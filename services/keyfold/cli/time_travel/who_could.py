"""`keyfold who-could`: who could have sent a command about a key at a time, and what would have been answered."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from keyfold.cli import output
from keyfold.cli.arguments import KeyName, Pairs, pairs
from keyfold.cli.exits import UsageError
from keyfold.cli.policy_sources import Source
from keyfold.cli.session import of
from keyfold.cli.time_travel.reading import ArchiveDirectory, At, Trail, as_of, instant, milliseconds, opened
from keyfold.deciding.who_could import Could, state_answer, who_could
from keyfold.deciding.wishing import VERBS, Wish, command_of
from keyfold.events import errors
from keyfold.events.errors import InvalidCommand, NotFound
from keyfold.events.key_states import state_of
from keyfold.events.times import to_text

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked, in which world, and what everybody would have been answered."""

    key_id: str
    verb: str
    at: str
    contexts: tuple[dict[str, str], ...]
    supposed: dict[str, Any]
    state: str
    state_answer: str | None
    principals: tuple[Could, ...]

    def as_data(self) -> dict[str, Any]:
        """Return it as a document."""
        told: dict[str, Any] = output.plain(self)
        told["principals"] = [{**output.plain(each), "could": each.could} for each in self.principals]
        return told


def command(
    context: typer.Context,
    key: KeyName,
    verb: Annotated[str, typer.Argument(metavar="VERB", help="A verb about keys, like Decrypt or DestroyKeyNow.")],
    *,
    at: At = None,
    pair: Pairs = None,
    principal: Annotated[str | None, typer.Option("--principal", metavar="NAME", help="Only this one.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="As if this reason was given.")] = None,
    host: Annotated[str, typer.Option("--host", metavar="NAME", help="As if it came from this host or instance.")] = "",
    items: Annotated[int, typer.Option(min=1, max=1000, help="As if it had so many items.")] = 1,
    argument: Annotated[
        list[str] | None,
        typer.Option("--argument", metavar="NAME=VALUE", help="An argument of the verb; the value may be JSON."),
    ] = None,
    trail: Trail = False,
    archive: ArchiveDirectory = None,
) -> None:
    """Tell who could have done something with a key at a time: by which policies, grants, rights and approvals.

    Every principal that the registry knew then is asked about, by the code that decides. Limits are not asked; and what
    policies require of a context, a reason or a host is as it is said here. Without --at: now.

    Example: keyfold who-could alias/orders Decrypt --at 30d --context tenant=blue

    Example: keyfold who-could alias/orders CreateGrant --argument grantee=bob
    """
    session, when = of(context), instant(at, "--at")
    if verb not in VERBS:
        raise UsageError(f"{verb} is no verb about a key that exists; known are {', '.join(sorted(VERBS))}")
    arguments = {name: _value(text) for name, text in pairs(argument, "--argument").items()}
    wish = Wish(verb, (pairs(pair),), arguments, reason, host, items)

    async def work() -> Answers:
        async with opened(session, trail=trail, archive=archive) as log:
            return await answers(log, key, wish, when, principal)

    found = session.run(work())
    session.show(found.as_data(), _words(found))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


async def answers(log: Source, name: str, wish: Wish, at: str | None, principal: str | None = None) -> Answers:
    """Ask in the world as of a time. Raises `NotFound`, and `UsageError` for arguments that do not fit the verb."""
    past, at_ms = await as_of(log, name, at), milliseconds(at)
    key, world = past.key(), past.world(at_ms, log.partitions)
    if principal is not None and world.principal(principal) is None:
        raise NotFound(f"the registry knew no principal {principal} at {to_text(at_ms)}")
    try:
        asked, supposed = command_of(wish, key, world)
    except InvalidCommand as error:
        raise UsageError(f"{error} (--argument NAME=VALUE)") from None
    return Answers(
        key_id=key.key_id,
        verb=wish.verb,
        at=to_text(at_ms),
        contexts=tuple(dict(each) for each in wish.contexts),
        supposed=supposed,
        state=state_of(key, at_ms),
        state_answer=state_answer(asked, key, world),
        principals=tuple(who_could(asked, world, principal)),
    )


def _words(found: Answers) -> str:
    rows = [
        (each.principal, each.principal_type, "yes" if each.could else "no", _answer(each), _by(each))
        for each in sorted(found.principals, key=lambda each: (not each.could, each.approvals is None, each.principal))
    ]
    table = output.table(("PRINCIPAL", "TYPE", "COULD", "ANSWER", "BY"), rows, empty="nobody was registered")
    able = [each.principal for each in found.principals if each.could]
    return f"{output.pairs(_about(found))}\n\n{table}\n\n{len(able)} of {len(found.principals)} could"


def _about(found: Answers) -> Iterable[tuple[str, Any]]:
    refused = f"; it would have refused this: {_said(found.state_answer)}" if found.state_answer else ""
    return [
        ("key", found.key_id),
        ("verb", found.verb),
        ("as of", found.at),
        ("state", f"{found.state}{refused}"),
        ("context", [f"{name}={value}" for context in found.contexts for name, value in context.items()]),
        *([("supposed", found.supposed)] if found.supposed else []),
    ]


def _answer(each: Could) -> str:
    """Say what would have been answered: the first refusal, in the order in which policy decides."""
    if each.standing is not None:
        return each.standing
    if not each.permitted:
        return f"{each.code}: {_approvals(each)}" if each.approvals is not None else str(each.code)
    return each.afterwards or "permitted"


def _approvals(each: Could) -> str:
    wanted = each.approvals
    if wanted is None or not wanted.approvers:
        return "nobody else could approve"
    named = ", ".join(wanted.approvers[:_SHOWN]) + (" and more" if len(wanted.approvers) > _SHOWN else "")
    proposal = "" if wanted.proposable else "; it could not have proposed it"
    if wanted.needed is None:
        return f"not even with the approvals of {named}{proposal}"
    return f"with {wanted.needed} of the approvals of {named}{proposal}"


def _by(each: Could) -> list[str] | str:
    return list(each.policies) or ("no policy or grant permits it" if not each.permitted else "")


def _said(code: str) -> str:
    return f"{code} ({errors.refusal_by_code(code).hint})"
