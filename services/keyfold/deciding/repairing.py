"""When a change is refused because too few could take it back. Pure; who could is asked in `repair`.

A change is refused where fewer than two administrators could repair policies afterwards, and fewer than before: what
does not make it worse must stay possible, above all to stop somebody, whatever state the policies are in.
"""

from collections.abc import Iterator
from typing import Final

from keyfold.deciding.lifecycle import ALLOWED
from keyfold.deciding.repair import MIN_ADMINISTRATORS, lasting_administrators, repairers
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.entities import Entity, Key
from keyfold.events.view import Changes, View

GOVERNING: Final = (
    facts.PolicyPut,
    facts.PolicyDeleted,
    facts.PrincipalUpdated,
    facts.PrincipalSuspended,
    facts.PrincipalRevoked,
    facts.SigningKeyRotated,
    facts.SigningKeyRevoked,
    facts.KeyTagged,
)
_STATES: Final = tuple(sorted(ALLOWED["PutPolicy"]))


def check_repairable(changes: Changes, world: World) -> None:
    """Raise `AdministratorsNeeded` where these changes of this partition's entities lock out."""
    if world.entities is world.registry or world.partition == 0:
        _check_registry(changes, world)
    for name, after in changes.items():
        before = world.entities.get(name)
        if isinstance(after, Key) and after.policies:
            _check_key(before if isinstance(before, Key) else after, after, world)


def _check_registry(changes: Changes, world: World) -> None:
    before, after = world.registry, _changed(world.registry, changes)
    if _locks_out(lasting_administrators(before, world.now_ms), lasting_administrators(after, world.now_ms)):
        raise errors.AdministratorsNeeded
    possible = repairers(world.authorizer, after, world.now_ms)
    if possible < MIN_ADMINISTRATORS and _locks_out(repairers(world.authorizer, before, world.now_ms), possible):
        raise errors.AdministratorsNeeded


def _check_key(before: Key, after: Key, world: World) -> None:
    """A key's policies may ask for its state, so each state that it can come into is asked about."""
    for (there, status), (here, _) in zip(_in_states(before), _in_states(after), strict=True):
        possible = repairers(world.authorizer, world.registry, world.now_ms, key=here, status=status)
        if possible < MIN_ADMINISTRATORS and _locks_out(
            repairers(world.authorizer, world.registry, world.now_ms, key=there, status=status), possible
        ):
            raise errors.AdministratorsNeeded


def _in_states(key: Key) -> Iterator[tuple[Key, str]]:
    """Policies may also ask whether the current version is compromised, which other states hide."""
    *others, current = key.versions[: key.current_version]
    rest = key.versions[key.current_version :]
    for since in (None, key.created_at):
        marked = current.model_copy(update={"compromised_at": since})
        supposed = key.model_copy(update={"versions": (*others, marked, *rest)})
        yield from ((supposed, status) for status in _STATES)


def _locks_out(before: int, after: int) -> bool:
    return after < MIN_ADMINISTRATORS and after < before


def _changed(view: View, changes: Changes) -> dict[str, Entity]:
    return {name: entity for name, entity in {**view, **changes}.items() if entity is not None}
