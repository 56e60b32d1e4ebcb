"""`keyfold policy suggest`: the least Cedar that permits what a principal was seen to do."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Final

import typer

from keyfold.cli.exits import Differs
from keyfold.cli.policy_simulate import Since, Span, Until
from keyfold.cli.projected import key_id_of
from keyfold.cli.session import Session, now_ms, of
from keyfold.deciding.covering import Attached, Coverage, Unused, unused
from keyfold.deciding.suggesting import Usage, Use, suggest, uses_of
from keyfold.events import facts
from keyfold.events.errors import NotFound
from keyfold.events.streams import key_id_of as key_of_stream
from keyfold.events.times import to_text
from keyfold.projections.ports import AuditFilter, Queries
from keyfold.projections.rows import AuditRow

_PAGE: Final = 500


@dataclass(slots=True)
class Suggestion:
    """Policy texts, how many commands they come from, events that they do not cover, and permits that go further."""

    principal: str
    texts: tuple[str, ...] = ()
    commands: int = 0
    uncovered: list[str] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)


def policy_suggest(
    context: typer.Context,
    *,
    principal: Annotated[str, typer.Option(metavar="NAME", help="Whose use it is about.")],
    since: Since = None,
    until: Until = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only this key (id or alias).")] = None,
) -> None:
    """Write the least Cedar that permits what a principal really did: verbs, keys and encryption contexts.

    Every command is held against the text before it is printed. What the principal is permitted and never used is told
    on standard error. Read it before you put it: it says what was used, not what should be.

    Example: keyfold policy suggest --principal alice --since 2026-01-01T00:00:00.000Z > alice.cedar
    """
    session = of(context)
    span = Span(since, to_text(now_ms()) if until is None else until)
    found = session.run(_suggested(session, principal, key, span))
    if not found.texts:
        session.say(f"{principal} was let through with nothing in this time")
    else:
        session.show(found, "\n".join(_numbered(found.texts)).rstrip())
    for each in found.unused:
        some = "never used at all" if each.wholly else f"never used for {', '.join(each.verbs)}"
        session.say(f"{each.policy_id} permits more: {some}")
    if found.uncovered:
        raise Differs(f"the suggestion does not cover {', '.join(found.uncovered[:20])}")


async def _suggested(session: Session, principal: str, key: str | None, span: Span) -> Suggestion:
    config = session.config
    async with session.queries(config) as queries:
        key_id = None if key is None else await key_id_of(queries, key)
        return await suggested(queries, principal, key_id, span)


async def suggested(queries: Queries, principal: str, key_id: str | None, span: Span) -> Suggestion:
    """Read what was used, suggest, and read again to prove that it is covered. Raises `NotFound`."""
    known = await queries.principal(principal)
    if known is None:
        raise NotFound(f"there is no principal {principal}; `keyfold principal list` shows which there are")
    wanted = AuditFilter(key_id=key_id, since=span.since, until=span.until)
    usage, found = Usage(principal), Suggestion(principal)
    async for use in _uses(queries, principal, wanted):
        usage.add(use)
        found.commands += 1
    names: dict[str, list[str]] = {}
    for alias in await queries.aliases():
        names.setdefault(alias.key_id, []).append(alias.alias)
    found.texts = suggest(usage, names)
    coverage = Coverage(principal, found.texts)
    async for use in _uses(queries, principal, wanted):
        if not coverage.permits(use):
            found.uncovered.append(use.event_id)
    policies = [
        Attached(key_of_stream(row.stream), row.policy, row.text)
        for row in await queries.policies()
        if key_id is None or key_of_stream(row.stream) in {None, key_id}
    ]
    found.unused = list(unused(policies, known, usage.verbs)) if key_id is None else []
    return found


async def _uses(queries: Queries, principal: str, wanted: AuditFilter) -> AsyncIterator[Use]:
    """Yield uses by the principal's commands, and by its approvals, which the trail shows under their authors."""
    async for row in _rows(queries, replace(wanted, principal=principal)):
        for use in _of(row, principal):
            yield use
    for proposal in await queries.proposals(status="Executed"):
        for approval in proposal.approvals:
            if approval.principal != principal:
                continue
            async for row in _rows(queries, replace(wanted, command_id=approval.command_id)):
                if row.principal != principal:
                    for use in _of(row, principal):
                        yield use


def _of(row: AuditRow, principal: str) -> list[Use]:
    event = facts.parse_event(row.value)
    return list(uses_of(event, principal)) if isinstance(event, facts.PolicyEvent) else []


async def _rows(queries: Queries, wanted: AuditFilter) -> AsyncIterator[AuditRow]:
    """Yield what policy let through, oldest first."""
    after: str | None = None
    while True:
        page = await queries.audit(wanted, limit=_PAGE, after=after, oldest_first=True)
        for row in page.rows:
            if row.role == "policy" and row.outcome == "authorized":
                yield row
        after = page.next
        if after is None:
            return


def _numbered(texts: tuple[str, ...]) -> list[str]:
    """Say where one text ends: what is too long for one policy is put as several."""
    if len(texts) == 1:
        return list(texts)
    return [f"// text {number} of {len(texts)}: a policy of its own\n{text}" for number, text in enumerate(texts, 1)]
