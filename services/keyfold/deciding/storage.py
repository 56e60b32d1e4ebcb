"""The rules of work that the HSM worker does on the registry: sealing keys, storage epochs. Pure."""

from collections.abc import Callable
from typing import Any, Final

from keyfold.deciding.rules import Rule, authorized
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.entities import SealingKey
from keyfold.events.times import MINUTE_MS, to_milliseconds

ERASE_AFTER_MS: Final = 16 * MINUTE_MS


def _rotate_sealing_key(command: Any, _world: World) -> Rule:
    return authorized(command, None)


def _erase_sealing_key(command: Any, world: World) -> Rule:
    """In a deployment for development nobody waits; commands that are still sealed to the key are lost to it."""
    sealing_key = world.entities.get(f"sealing-key/{command.data.arguments.sealing_key}")
    if not isinstance(sealing_key, SealingKey):
        raise errors.NotFound
    if sealing_key.erased_at is not None or sealing_key.retired_at is None:
        raise errors.InvalidState("only a retired sealing key is erased, once")
    early = to_milliseconds(sealing_key.retired_at) + ERASE_AFTER_MS > world.now_ms
    if early and not world.deployment.development:
        raise errors.InvalidState(
            "commands sealed to this key may still be valid; erase it 16 minutes after retirement"
        )
    return authorized(command, None)


def _begin_storage_epoch(_command: Any, world: World) -> Rule:
    deployment = world.deployment
    if deployment.storage_epoch_ended != deployment.storage_epoch - 1:
        raise errors.InvalidState("the turn to the current storage epoch is still under way")
    return facts.StorageEpochBegun, {"epoch": deployment.storage_epoch + 1}


def _end_storage_epoch(command: Any, world: World) -> Rule:
    """What the evidence says is the HSM worker's to verify; here it must name every partition."""
    deployment, arguments = world.deployment, command.data.arguments
    if not deployment.storage_epoch_ended < arguments.epoch == deployment.storage_epoch - 1:
        raise errors.InvalidState("this is not the storage epoch that waits for its end")
    named = [place.partition for place in arguments.evidence]
    if sorted(named) != list(range(deployment.partitions)):
        raise errors.InvalidCommand("the evidence names every partition once")
    return authorized(command, None)


RULES: Final[dict[str, Callable[[Any, World], Rule]]] = {
    "RotateSealingKey": _rotate_sealing_key,
    "EraseSealingKey": _erase_sealing_key,
    "BeginStorageEpoch": _begin_storage_epoch,
    "EndStorageEpoch": _end_storage_epoch,
}
