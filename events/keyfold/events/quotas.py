"""How much each role may ask of the brokers: quotas by Kafka user, as one table. Pure.

A client that floods its topic, or asks without end, is slowed down by the brokers before it delays others. Services
have no quota: what slows policy or the HSM worker down slows everybody down. Rates are bytes per second of one user on
one broker; `request_percentage` is of one broker thread's time. Limits of principals are another matter, and policy's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, order=True)
class Quota:
    """What one Kafka user may use of each broker."""

    user: str
    producer_byte_rate: int
    consumer_byte_rate: int
    request_percentage: int

    def values(self) -> dict[str, float]:
        """Return them by the names that Kafka has for them."""
        return {
            "producer_byte_rate": float(self.producer_byte_rate),
            "consumer_byte_rate": float(self.consumer_byte_rate),
            "request_percentage": float(self.request_percentage),
        }

    def command(self) -> str:
        """Return the arguments by which Kafka's own `kafka-configs` tool sets it."""
        values = ",".join(f"{name}={value:.0f}" for name, value in self.values().items())
        return f"--alter --entity-type users --entity-name '{self.user}' --add-config '{values}'"


_TABLE: Final = {
    "client": (16 * MIB, 32 * MIB, 50),
    "witness": (1 * MIB, 32 * MIB, 25),
    "auditor": (1 * MIB, 64 * MIB, 50),
    "operator": (1 * MIB, 32 * MIB, 25),
}

LIMITED: Final = tuple(_TABLE)
"""The roles that have a quota."""


def quotas(users: Iterable[tuple[str, str]]) -> list[Quota]:
    """Return the quotas of (role, Kafka user), sorted; roles without one are passed over."""
    return sorted(Quota(user, *_TABLE[role]) for role, user in users if role in _TABLE)
