"""What an authorization looked at: the texts of policies, grants one by one, limits one by one. Pure.

Part of `explaining`. Each grant and each limit is asked about as if it were the only one, by the code that decides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from keyfold.deciding import grants, limits
from keyfold.deciding.asking import Answer, Question, questions
from keyfold.deciding.cedar.library import Library
from keyfold.deciding.cedar.requests import Request, Verdict
from keyfold.deciding.cedar.text import statements_of
from keyfold.deciding.replaying import Recorded
from keyfold.deciding.supposing import Above
from keyfold.deciding.world import World
from keyfold.events import errors
from keyfold.events.entities import DEPLOYMENT, Grant, Grants, Key, Limit, RegistryPolicy, grants_name
from keyfold.events.streams import REGISTRY, key_id_of

Mark = Literal["determined", "in error", "could apply", ""]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy's text. `determined`: Cedar names it; `could apply`: by its scope it might have."""

    number: int
    text: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy as it was in force, `registry/<name>` or `key/<name>`; no statements where it could not be read."""

    policy: str
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class GrantNote:
    """A grant between the caller and the key, and what became of it: it covers the command, or why it does not."""

    grant: str
    said: str
    covers: bool


@dataclass(frozen=True, slots=True)
class LimitNote:
    """A limit that applies. `level` is what it has after the command, None where it refuses the command.

    Where it is `shared`, the partition has its share of the amount, and the level is of that.
    """

    limit: str
    kind: str
    amount: int
    period_seconds: int
    level: int | None
    shared: bool


def texts(request: Request, answer: Answer, world: World, *, near: bool) -> Iterator[PolicyText]:
    """Yield the texts that matter, whole, with the statements marked that do."""
    marks: dict[str, Mark] = {}
    if near:
        library = Library()
        library.load(world.registry)
        applicable, _ = library.applicable(request)
        marks = {policy.policy_id: "could apply" for policy in applicable}
    for name in answer.policies:
        error = name.startswith("error:")
        marks[name.removeprefix("error:")] = "in error" if error else "determined"
    for policy in sorted({name.partition("#")[0] for name in marks}):
        text = _text_of(policy, request.key, world)
        if text is not None:
            yield PolicyText(policy, _statements(policy, text, marks))


def _text_of(policy: str, key: Key | None, world: World) -> str | None:
    owner, _, name = policy.partition("/")
    if owner == "registry":
        found = world.registry.get(f"policy/{name}")
        return found.text if isinstance(found, RegistryPolicy) else None
    attached = key.policies if owner == "key" and key is not None else ()
    return next((each.text for each in attached if each.policy == name), None)


def _statements(policy: str, text: str, marks: Mapping[str, Mark]) -> tuple[Statement, ...]:
    try:
        found = statements_of(text)
    except errors.InvalidPolicy:
        return ()
    whole = marks.get(policy, "")
    return tuple(Statement(n, each.text, marks.get(f"{policy}#{n}", whole)) for n, each in enumerate(found))


def grant_notes(question: Question, verdict: Verdict, world: World) -> Iterator[GrantNote]:
    """Ask about each grant as if it were the only one."""
    command, key_id = question.command, key_id_of(question.command.subject)
    index = grants_name(key_id or "", command.data.principal)
    known = world.entities.get(index)
    for name in known.grants if isinstance(known, Grants) else ():
        grant = world.entities.get(f"grant/{name}")
        if not isinstance(grant, Grant):
            continue
        alone = Above(world.entities, {index: Grants(grants=(name,))})
        try:
            covers = grants.covering(command, verdict.uncovered, alone, world.now_ms) is not None
            said = "covers the command" if covers else _why_not(grant, command.verb, world)
        except errors.GrantExhausted:
            covers, said = False, "its allowance is used up"
        yield GrantNote(name, said, covers)


def _why_not(grant: Grant, verb: str, world: World) -> str:
    if grant.status != "Active":
        return f"it was {grant.status.lower()}"
    if not grant.live(world.now_ms):
        return "its time was over"
    if not grants.holds(grant, world.entities, world.now_ms):
        return "a grant that it was delegated from does not hold any more"
    if verb not in grant.verbs:
        return f"it is for {', '.join(grant.verbs)}"
    return "its constraints do not let this command through"


def limit_notes(recorded: Recorded) -> Iterator[LimitNote]:
    """Ask about each limit as if it were the only one."""
    command, world = recorded.command, recorded.world
    principal = next(questions(recorded)).principal
    for name in world.deployment.limits:
        limit = world.registry.get(f"limit/{name}")
        alone = world.deployment.model_copy(update={"limits": (name,)})
        supposed = replace(world, registry=Above(world.registry, {DEPLOYMENT: alone}))
        try:
            level = next(iter(limits.charges(command, principal, supposed).values()), -1)
        except (errors.RateLimited, errors.QuotaExceeded):
            level = None
        if isinstance(limit, Limit) and level != -1:
            shared = limit.per == "principal" and command.subject != REGISTRY
            yield LimitNote(name, limit.limit_kind, limit.amount, limit.period_seconds, level, shared)
