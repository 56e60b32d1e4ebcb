"""The rules of the verbs about one version of a key, compromise among them. Pure, like all of `control`.

The current version is replaced by rotation, never disabled or destroyed alone. A version is destroyed alone when it was
out of use, disabled or compromised, for the waiting period: enabling it again cancels.
"""

from collections.abc import Callable
from typing import Any, Final

from keyfold.deciding.keys import MIN_PENDING_SECONDS, governed_key
from keyfold.deciding.lifecycle import VERSION_ALLOWED, version_for
from keyfold.deciding.rules import Rule
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.entities import Key, KeyVersion
from keyfold.events.times import SECOND_MS, to_milliseconds


def _old_version(command: Any, world: World) -> tuple[Key, KeyVersion]:
    key = governed_key(command, world)
    version = version_for(command.verb, key, command.data.arguments.version)
    if version.version == key.current_version:
        raise errors.InvalidState("this is the current version; rotate the key first, or disable the key")
    return key, version


def _fact(command: Any, key: Key, version: KeyVersion) -> dict[str, Any]:
    reason = command.data.arguments.reason or command.data.reason or ""
    return {"key_id": key.key_id, "version": version.version, "reason": reason}


def _disable(command: Any, world: World) -> Rule:
    return facts.KeyVersionDisabled, _fact(command, *_old_version(command, world))


def _enable(command: Any, world: World) -> Rule:
    """The current version can be disabled too, where the one that had replaced it could not be made."""
    key = governed_key(command, world)
    return facts.KeyVersionEnabled, _fact(command, key, version_for(command.verb, key, command.data.arguments.version))


def _destroy(command: Any, world: World) -> Rule:
    key, version = _old_version(command, world)
    since = version.changed_at if version.status == "Disabled" else None
    idle = [to_milliseconds(time) for time in (since, version.compromised_at) if time is not None]
    if not idle:
        raise errors.InvalidState("disable the version first, and wait")
    if world.now_ms < min(idle) + MIN_PENDING_SECONDS * SECOND_MS and not world.deployment.development:
        raise errors.InvalidState("the version was not out of use for seven days yet")
    return facts.KeyVersionDestroyed, _fact(command, key, version)


def _mark_compromised(command: Any, world: World) -> Rule:
    key, arguments = governed_key(command, world), command.data.arguments
    if to_milliseconds(arguments.occurred_at) > world.now_ms:
        raise errors.InvalidCommand("a compromise is said when it has occurred, not before")
    if arguments.versions is None:
        allowed = VERSION_ALLOWED[command.verb]
        versions = [version.version for version in key.versions if version.status in allowed]
    else:
        versions = sorted({version_for(command.verb, key, number).version for number in arguments.versions})
    if not versions:
        raise errors.InvalidState("the key has no version that could be compromised")
    return facts.KeyCompromised, {
        "key_id": key.key_id,
        "versions": versions,
        "occurred_at": arguments.occurred_at,
        "reason": arguments.reason or command.data.reason or "",
    }


RULES: Final[dict[str, Callable[[Any, World], Rule]]] = {
    "DisableKeyVersion": _disable,
    "EnableKeyVersion": _enable,
    "DestroyKeyVersion": _destroy,
    "MarkKeyCompromised": _mark_compromised,
}
