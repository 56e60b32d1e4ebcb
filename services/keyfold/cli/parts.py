"""Which embedded parts run. A deployment whose brokers run elsewhere has none."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from keyfold.embedded import PartStatus, Stack

_ALIVE: Final = frozenset({"running", "starting"})


def running(stack: "Stack") -> frozenset[str]:
    """Return the names of the parts that run now."""
    if not stack.directory.exists():
        return frozenset()
    return frozenset(part.name for part in stack.status() if part.state in _ALIVE)


def is_embedded(stack: "Stack") -> bool:
    """Say whether the brokers of this deployment are started here."""
    return stack.directory.exists() and stack.directory.has_port("kafka")


def is_down(stack: "Stack") -> bool:
    """Say whether the deployment is started here and nothing of it runs."""
    return is_embedded(stack) and not running(stack)


def shown(stack: "Stack") -> "list[PartStatus]":
    """Return the parts that a person expects to see: none that run elsewhere, no supervisor that never ran."""
    if not is_embedded(stack):
        return []
    elsewhere = set() if stack.directory.has_port("postgres") else {"postgres"}
    return [part for part in stack.status() if part.name not in elsewhere and (part.name != "supervisor" or part.pid)]
