"""Why a command was answered as it was: everything that its decision was made from, as plain values. Pure.

It is taken from a replayed decision: the same questions are asked in the same world, and what was asked of policies,
grants and limits on the way is kept. It is said for people elsewhere; nothing here depends on how.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyfold.deciding.asking import Answer, Question, questions, refused_before
from keyfold.deciding.cedar.requests import Request
from keyfold.deciding.reasons import GrantNote, LimitNote, PolicyText, grant_notes, limit_notes, texts
from keyfold.deciding.remaking import Remade, check_signature, remake
from keyfold.deciding.replaying import Recorded
from keyfold.deciding.world import World
from keyfold.events import errors, facts

_LIMITED: Final = frozenset({errors.RateLimited.code, errors.QuotaExceeded.code})


@dataclass(frozen=True, slots=True)
class Asked:
    """One authorization: who asked for what with which attributes, and the answer with all that it came from.

    `uncovered` are the contexts (by index) that no policy permits. `policies` are the texts with a statement that
    determined the answer; of a denial by default, those with one that could apply.
    """

    principal: Mapping[str, Any]
    verb: str
    key: Mapping[str, Any] | None
    contexts: tuple[Mapping[str, str], ...]
    items: int
    bytes: int
    reason: str
    source: str
    cause: str
    target: str | None
    algorithm: str
    message_type: str
    key_version: int
    destination: str
    proposes: str
    approvals: tuple[str, ...]
    answer: Answer
    uncovered: tuple[int, ...]
    policies: tuple[PolicyText, ...]
    grants: tuple[GrantNote, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with what it was made from. `refused_before` is the code of what was not even asked.

    `differing` are the places in which the decision made again differs. `signature` says what is wrong with it, if so.
    """

    event: facts.PolicyEvent
    partition: int
    position: int
    statement_n: int
    command_id: str
    verb: str
    signing_key: str
    signature: str | None
    dry_run: bool
    code: str | None
    refused_before: str | None
    asked: tuple[Asked, ...]
    limits: tuple[LimitNote, ...]
    remade: Remade
    differing: tuple[str, ...]


def explain(recorded: Recorded) -> Explanation:
    """Explain a decision while its world is live. Raises `Refusal` and KeyError where the log cannot be right."""
    event, command, remade = recorded.event, recorded.command, remake(recorded)
    denied = isinstance(event, facts.CommandDenied)
    before = _refused_before(recorded)
    asked = () if before is not None else tuple(_asked(question, recorded.world) for question in questions(recorded))
    code = event.data.code if isinstance(event, facts.CommandDenied) else None
    counted = bool(asked) and (not denied or code in _LIMITED)
    return Explanation(
        event=event,
        partition=recorded.leaf.partition,
        position=recorded.leaf.position,
        statement_n=recorded.leaf.statement_n,
        command_id=command.id,
        verb=command.verb,
        signing_key=command.data.signing_key,
        signature=_signature(recorded),
        dry_run=command.data.dry_run,
        code=code,
        refused_before=before,
        asked=asked,
        limits=tuple(limit_notes(recorded)) if counted else (),
        remade=remade,
        differing=tuple(differing(event, remade.event)) if remade.event is not None else (),
    )


def _refused_before(recorded: Recorded) -> str | None:
    try:
        return refused_before(recorded)
    except errors.InternalError:
        return errors.InternalError.code


def _signature(recorded: Recorded) -> str | None:
    try:
        check_signature(recorded)
    except (errors.Refusal, KeyError) as error:
        return str(error)
    return None


def differing(event: facts.PolicyEvent, made: facts.PolicyEvent) -> Iterator[str]:
    """Name the places in which two decisions differ, as dotted paths."""
    one, other = _flat(event.model_dump()), _flat(made.model_dump())
    yield from sorted(place for place in {*one, *other} if one.get(place) != other.get(place))


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in document.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _asked(question: Question, world: World) -> Asked:
    request = question.request(world)
    verdict = world.authorizer.authorize(request, world.registry, world.deployment.policies_revision)
    answer = question.answer(world)
    default = not answer.allowed and not verdict.policies
    granted = not verdict.allowed and not verdict.policies and question.action == question.command.verb
    return Asked(
        principal=_principal(request),
        verb=request.action,
        key=_key(request),
        contexts=tuple(request.contexts),
        items=request.items,
        bytes=request.bytes,
        reason=request.reason,
        source=request.source,
        cause=request.cause,
        target=request.target,
        algorithm=request.algorithm,
        message_type=request.message_type,
        key_version=request.key_version,
        destination=request.destination,
        proposes=request.proposes,
        approvals=request.approvals,
        answer=answer,
        uncovered=verdict.uncovered,
        policies=tuple(texts(request, answer, world, near=default)),
        grants=tuple(grant_notes(question, verdict, world)) if granted else (),
    )


def _principal(request: Request) -> dict[str, Any]:
    principal = request.principal
    return {
        "name": principal.principal,
        "type": principal.principal_type,
        "status": principal.status,
        "groups": principal.groups,
        "tags": principal.tags,
    }


def _key(request: Request) -> dict[str, Any] | None:
    """Describe the key as policies saw it: while it is asked for, as it would be."""
    key, creation = request.key, request.creation
    if not request.is_key:
        return None
    if key is None and creation is None:
        return {"key_id": request.resource_id, "status": None}
    known = {"key_id": request.resource_id, **request.traits()._asdict()}
    if key is None:
        return known | {"tags": creation.tags if creation else {}}
    return known | {"created_by": key.created_by, "tags": key.tags}
