"""Rate limits and quotas, counted from what was authorized and from broker time alone. Pure.

A level is a whole number and stands in the decision that charged it, so it is exact across restarts and replays. What
is refused is not charged; a dry run is charged to rates and to no quota. Verbs that put limits and policies right, and
those of proposals, are never limited: nobody is locked out by a limit.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from keyfold.deciding.rules import Rule
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.commands import BY_VERB, AnyCommand
from keyfold.events.entities import Bucket, Limit, Principal, bucket_name
from keyfold.events.streams import REGISTRY, key_id_of
from keyfold.events.times import SECOND_MS, to_milliseconds

MILLI: Final = 1000
MAX_LIMITS: Final = 100
UNLIMITED: Final = frozenset(
    {"PutLimit", "DeleteLimit", "PutPolicy", "DeletePolicy"}
    | {"ProposeCommand", "ApproveProposal", "DenyProposal", "CancelProposal"}
)


def charges(command: AnyCommand, principal: Principal, world: World) -> dict[str, int]:
    """Return the levels that all applicable limits have after this command. Raises `RateLimited`, `QuotaExceeded`."""
    if not world.deployment.limits or command.verb in UNLIMITED:
        return {}
    key_id = key_id_of(command.subject) or ""
    levels = [(limit, _charged(limit, command, principal, world)) for limit in _applicable(command, principal, world)]
    return {
        bucket_name(limit, principal.principal, key_id): level
        for limit, level in levels
        if limit.limit_kind == "rate" or not command.data.dry_run
    }


def _applicable(command: AnyCommand, principal: Principal, world: World) -> Iterator[Limit]:
    key_id = key_id_of(command.subject)
    for name in world.deployment.limits:
        limit = world.registry.get(f"limit/{name}")
        if (
            isinstance(limit, Limit)
            and limit.principal in {None, principal.principal}
            and (limit.group is None or limit.group in principal.groups)
            and limit.key_id in {None, key_id}
            and (limit.per == "principal" or key_id is not None)
            and (not limit.verbs or command.verb in limit.verbs)
            and (limit.unit == "commands" or isinstance(command.data, DataPlaneData))
        ):
            yield limit


def _charged(limit: Limit, command: AnyCommand, principal: Principal, world: World) -> int:
    data = command.data
    cost = data.items if limit.unit == "items" and isinstance(data, DataPlaneData) else 1
    share = _share(limit.amount, limit, command, world)
    bucket = world.entities.get(bucket_name(limit, principal.principal, key_id_of(command.subject) or ""))
    known = bucket if isinstance(bucket, Bucket) else None
    if limit.limit_kind == "quota":
        return _quota(limit, share, cost, known, world.now_ms)
    full = _share(limit.burst, limit, command, world) * MILLI
    level = full if known is None else min(full, known.level + _refill(limit, share, known, world.now_ms))
    if cost * MILLI > level:
        raise errors.RateLimited
    return level - cost * MILLI


def _share(amount: int, limit: Limit, command: AnyCommand, world: World) -> int:
    """A principal's streams are spread over all partitions but the registry's, so each has its part, rounded up."""
    if limit.per == "key" or command.subject == REGISTRY:
        return amount
    return -(-amount // (world.deployment.partitions - 1))


def _quota(limit: Limit, amount: int, cost: int, known: Bucket | None, now_ms: int) -> int:
    period_ms = limit.period_seconds * SECOND_MS
    same_window = known is not None and to_milliseconds(known.updated_at) // period_ms == now_ms // period_ms
    used = known.level if known is not None and same_window else 0
    if used + cost > amount:
        raise errors.QuotaExceeded
    return used + cost


def left_ratio(limit: Limit, level: int, command: AnyCommand, world: World) -> float:
    """Return what a level leaves of a limit, 0 to 1; levels are those of `charges`."""
    if limit.limit_kind == "quota":
        return max(0.0, 1 - level / _share(limit.amount, limit, command, world))
    return min(1.0, level / (_share(limit.burst, limit, command, world) * MILLI))


def _refill(limit: Limit, amount: int, known: Bucket, now_ms: int) -> int:
    passed_ms = now_ms - to_milliseconds(known.updated_at)
    return passed_ms * amount * MILLI // (limit.period_seconds * SECOND_MS)


def _put_limit(command: Any, world: World) -> Rule:
    arguments = command.data.arguments
    if not set(arguments.verbs) <= set(BY_VERB) - UNLIMITED:
        raise errors.InvalidCommand("a limit names verbs that are not known, or never limited")
    if arguments.kind == "quota" and arguments.burst is not None:
        raise errors.InvalidCommand("a quota has no burst")
    known = world.deployment.limits
    if arguments.limit not in known and len(known) >= MAX_LIMITS:
        raise errors.InvalidState(f"there are at most {MAX_LIMITS} limits")
    return facts.LimitPut, {**arguments.model_dump(), "burst": arguments.burst or arguments.amount}


def _delete_limit(command: Any, world: World) -> Rule:
    name = command.data.arguments.limit
    if name not in world.deployment.limits:
        raise errors.NotFound
    return facts.LimitDeleted, {"limit": name}


RULES: Final[dict[str, Callable[[Any, World], Rule]]] = {"PutLimit": _put_limit, "DeleteLimit": _delete_limit}
