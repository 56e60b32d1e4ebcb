"""Grants: rights on one key beside policies, for one principal, until a time and as often as was agreed. Pure.

A grant adds what no policy permits; it never overrides a `forbid`. It is effective for every command behind it in the
key's order, and what it allows is charged when a command is authorized, so its allowance is exact. A delegated grant
holds only while all its parents do, and its allowance was taken out of its parent's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from keyfold.deciding.lifecycle import check_state
from keyfold.deciding.rules import Rule
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.arguments import GrantVerb
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.commands import AnyCommand, algorithm_of
from keyfold.events.entities import Grant, Grants, Key, grants_name
from keyfold.events.evolve import View
from keyfold.events.streams import key_id_of
from keyfold.events.times import DAY_MS, to_milliseconds

MAX_LIFETIME_MS: Final = 366 * DAY_MS
MAX_PER_GRANTEE: Final = 50
MAX_DEPTH: Final = 5
GRANTABLE: Final = frozenset(get_args(GrantVerb))

Context = Mapping[str, str]


def covering(command: AnyCommand, uncovered: Sequence[int], entities: View, now_ms: int) -> Grant | None:
    """Return the oldest grant that covers a command which no policy permits for these contexts, or None.

    Raises `GrantExhausted` where only the allowance is missing.
    """
    key_id, data = key_id_of(command.subject), command.data
    if key_id is None or command.verb not in GRANTABLE:
        return None
    plane = data if isinstance(data, DataPlaneData) else None
    contexts = [plane.contexts[index] for index in uncovered] if plane else []
    exhausted = False
    for grant in _between(key_id, data.principal, entities):
        if not _covers(grant, command, contexts, entities) or not holds(grant, entities, now_ms):
            continue
        # What a delegated grant takes is checked where it is made.
        if command.verb == "CreateGrant" or allows(grant, 1, plane.items if plane else 0):
            return grant
        exhausted = True
    if exhausted:
        raise errors.GrantExhausted
    return None


def holds(grant: Grant, entities: View, now_ms: int) -> bool:
    """Tell whether a grant and all its parents are live."""
    current: Grant | None = grant
    for _ in range(MAX_DEPTH + 1):
        if current is None or not current.live(now_ms):
            return False
        if current.parent is None:
            return True
        current = _find(current.parent, entities)
    return False


def allows(grant: Grant, operations: int, items: int) -> bool:
    """Tell whether the allowance has room for this much more."""
    return _fits(grant.used_operations + operations, grant.max_operations) and _fits(
        grant.used_items + items, grant.max_items
    )


def _fits(total: int, most: int | None) -> bool:
    return most is None or total <= most


def _between(key_id: str, grantee: str, entities: View) -> Iterator[Grant]:
    index = entities.get(grants_name(key_id, grantee))
    for name in index.grants if isinstance(index, Grants) else ():
        grant = _find(name, entities)
        if grant is not None:
            yield grant


def _find(name: str, entities: View) -> Grant | None:
    found = entities.get(f"grant/{name}")
    return found if isinstance(found, Grant) else None


def _covers(grant: Grant, command: AnyCommand, contexts: Sequence[Context], entities: View) -> bool:
    key = entities.get(command.subject)
    if command.verb not in grant.verbs or not isinstance(key, Key):
        return False
    algorithm = algorithm_of(command)
    if grant.algorithms is not None and algorithm and algorithm not in grant.algorithms:
        return False
    if command.verb == "CreateGrant":
        return grant.delegable and command.data.arguments.parent == grant.grant
    return all(_matches(grant, context) for context in contexts)


def _matches(grant: Grant, context: Context) -> bool:
    if grant.encryption_context_equals is not None and dict(context) != grant.encryption_context_equals:
        return False
    subset = grant.encryption_context_subset
    return subset is None or all(context.get(name) == value for name, value in subset.items())


def _create_grant(command: Any, world: World) -> Rule:
    key = world.entities.get(command.subject)
    if not isinstance(key, Key):
        raise errors.NotFound
    check_state(command.verb, key, world.now_ms)
    arguments = command.data.arguments
    if f"grant/{command.id}" in world.entities:
        raise errors.AlreadyExists
    _check_own(arguments, key, world)
    if arguments.parent is not None:
        _check_within(arguments, command, world)
    return facts.GrantCreated, {
        **arguments.model_dump(),
        "verbs": sorted(set(arguments.verbs)),
        "key_id": key.key_id,
        "grant": command.id,
        "created_by": command.data.principal,
    }


def _check_own(arguments: Any, key: Key, world: World) -> None:
    expires = to_milliseconds(arguments.expires_at)
    if not world.now_ms < expires <= world.now_ms + MAX_LIFETIME_MS:
        raise errors.InvalidCommand("a grant ends in the future, within 366 days")
    if ("CreateGrant" in arguments.verbs) != arguments.delegable:
        raise errors.InvalidCommand("a delegable grant names CreateGrant among its verbs, another one does not")
    grantee = world.principal(arguments.grantee)
    if grantee is None or grantee.status == "Revoked":
        raise errors.NotFound
    live = sum(1 for grant in _between(key.key_id, arguments.grantee, world.entities) if grant.live(world.now_ms))
    if live >= MAX_PER_GRANTEE:
        raise errors.InvalidState(f"a principal has at most {MAX_PER_GRANTEE} grants on a key")


def _check_within(arguments: Any, command: Any, world: World) -> None:
    """A delegated grant may do nothing that its parent may not."""
    parent = _find(arguments.parent, world.entities)
    if parent is None or parent.key_id != key_id_of(command.subject) or parent.grantee != command.data.principal:
        raise errors.NotFound
    if not holds(parent, world.entities, world.now_ms) or not parent.delegable:
        raise errors.InvalidState("the parent grant does not hold, or is not delegable")
    if arguments.delegable and _depth(parent, world.entities) + 1 >= MAX_DEPTH:
        raise errors.InvalidState(f"grants are delegated at most {MAX_DEPTH} times")
    if not _narrower(arguments, parent):
        raise errors.InvalidCommand("a delegated grant allows no more than its parent")
    for wanted, most in ((arguments.max_operations, parent.max_operations), (arguments.max_items, parent.max_items)):
        if most is not None and wanted is None:
            raise errors.InvalidCommand("the parent's allowance is limited, so the delegated grant's must be")
    if not allows(parent, arguments.max_operations or 0, arguments.max_items or 0):
        raise errors.GrantExhausted


def _depth(grant: Grant, entities: View) -> int:
    depth, current = 0, grant
    while current.parent is not None and depth <= MAX_DEPTH:
        depth += 1
        found = _find(current.parent, entities)
        if found is None:
            break
        current = found
    return depth


def _narrower(arguments: Any, parent: Grant) -> bool:
    within_time = to_milliseconds(arguments.expires_at) <= to_milliseconds(parent.expires_at)
    within_verbs = set(arguments.verbs) <= set(parent.verbs)
    algorithms = parent.algorithms
    within_algorithms = algorithms is None or set(arguments.algorithms or ("*",)) <= set(algorithms)
    return within_time and within_verbs and within_algorithms and _narrower_context(arguments, parent)


def _narrower_context(arguments: Any, parent: Grant) -> bool:
    equals, subset = arguments.encryption_context_equals, arguments.encryption_context_subset
    if parent.encryption_context_equals is not None and equals != parent.encryption_context_equals:
        return False
    asked = {**(subset or {}), **(equals or {})}
    required = parent.encryption_context_subset or {}
    return all(asked.get(name) == value for name, value in required.items())


def ended_by_right(command: AnyCommand, world: World) -> tuple[str, ...]:
    """Name the grant that its grantee, retiring principal or maker may end without a policy; empty where none."""
    if command.verb not in {"RetireGrant", "RevokeGrant"}:
        return ()
    grant = _find(command.data.arguments.grant, world.entities)
    if grant is None or grant.key_id != key_id_of(command.subject):
        return ()
    entitled = {grant.grantee, grant.retiring_principal} if command.verb == "RetireGrant" else {grant.created_by}
    return (f"grant/{grant.grant}",) if command.data.principal in entitled else ()


def _ending(kind: type[facts.Event]) -> Callable[[Any, World], Rule]:
    def rule(command: Any, world: World) -> Rule:
        grant = _find(command.data.arguments.grant, world.entities)
        if grant is None or grant.key_id != key_id_of(command.subject):
            raise errors.NotFound
        if grant.status != "Active":
            raise errors.InvalidState("the grant was retired or revoked already")
        return kind, {"key_id": grant.key_id, "grant": grant.grant}

    return rule


RULES: Final[dict[str, Callable[[Any, World], Rule]]] = {
    "CreateGrant": _create_grant,
    "RetireGrant": _ending(facts.GrantRetired),
    "RevokeGrant": _ending(facts.GrantRevoked),
}
