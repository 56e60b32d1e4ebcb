"""How large a key may grow: what is kept of it must fit a record, with what the HSM worker adds later. Pure."""

from typing import Final

from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.entities import Key
from keyfold.events.view import Changes

MAX_KEY_BYTES: Final = 2 * 1024 * 1024
"""Half of what a state record may have: facts that cannot be refused (uses, imports, marks, ends) always fit."""

GROWING: Final = (
    facts.KeyRotated,
    facts.KeyTagged,
    facts.PolicyPut,
    facts.KeyVersionEnabled,
)
"""What makes a key larger, and can wait until it is smaller. Nothing that stops a key is among it."""


def check_size(changes: Changes, world: World) -> None:
    """Raise `InvalidState` where a key becomes larger than it may be, and larger than it was."""
    for name, after in changes.items():
        if isinstance(after, Key):
            size, before = _size(after), world.entities.get(name)
            if size > MAX_KEY_BYTES and isinstance(before, Key) and size > _size(before):
                raise errors.InvalidState("the key has too many versions, policies and tags; create another one")


def _size(key: Key) -> int:
    return len(key.model_dump_json().encode())
