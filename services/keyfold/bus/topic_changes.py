"""What of topics that exist may be altered to what the table says. Pure.

A setting is altered only where no record is lost by it and none is read otherwise than before. Everything else is for
whoever runs the cluster, and is told with its reason.
"""

from collections.abc import Callable, Mapping
from typing import Final

from keyfold.bus.errors import TopicMismatch
from keyfold.bus.topic_plan import Plan

_CLOCK: Final = "message.timestamp.type"
_APPEND_TIME: Final = "LogAppendTime"


class Alterations:
    """Collects, topic by topic, what is to be set and what may not be."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self._settings: dict[str, dict[str, str]] = {}
        self._refused: list[str] = []

    def add(self, row: Plan, partitions: int, configs: Mapping[str, str], *, empty: bool) -> None:
        """Compare a topic with its plan; `empty` says that no partition of it has a record."""
        if partitions != row.partitions:
            difference = f"{row.name} has {partitions} partitions, not {row.partitions}"
            self._refused.append(f"{difference}: their number is fixed when a deployment begins")
        for key in row.differing(configs):
            present, wanted = configs.get(key, ""), row.configs[key]
            reason = _REASONS[key](present, wanted, empty)
            if reason is None:
                self._settings.setdefault(row.name, {})[key] = wanted
                self.sentences.append(f"{row.name} has {key}={wanted} now, not {present}")
            else:
                self._refused.append(f"{row.name} has {key}={present}, not {wanted}: {reason}")

    def settings(self) -> Mapping[str, Mapping[str, str]]:
        """Return what to set, by topic. Raises `TopicMismatch` with all that may not be altered."""
        if self._refused:
            raise TopicMismatch(tuple(self._refused))
        return self._settings


def depends_on_records(row: Plan, configs: Mapping[str, str]) -> bool:
    """Tell whether `add` must know whether the topic is empty."""
    return row.configs.get(_CLOCK) == _APPEND_TIME != configs.get(_CLOCK)


def _clock(_present: str, wanted: str, empty: bool) -> str | None:
    if wanted == _APPEND_TIME and not empty:
        return "the records that are there have times that their writers chose"
    return None


def _retention(present: str, wanted: str, _empty: bool) -> str | None:
    return None if _allows(wanted, present) else "that would delete records"


def _size(present: str, wanted: str, _empty: bool) -> str | None:
    return None if _allows(wanted, present) else "records that are larger may be there"


def _cleanup(_present: str, _wanted: str, _empty: bool) -> str | None:
    return "records may be missing already, or would be; compare the topic with a replica or backup"


def _compression(_present: str, _wanted: str, _empty: bool) -> str | None:
    return None


def _replicas(_present: str, _wanted: str, _empty: bool) -> str | None:
    return "it depends on the replicas that there are; set it at the brokers, or correct replication_factor"


def _allows(limit: str, other: str) -> bool:
    """Tell whether a limit allows all that another does; -1 is none. What is no number is not compared."""
    try:
        this, that = int(limit), int(other)
    except ValueError:
        return False
    return this == -1 or -1 < that <= this


_REASONS: Final[Mapping[str, Callable[[str, str, bool], str | None]]] = {
    "cleanup.policy": _cleanup,
    "retention.ms": _retention,
    "retention.bytes": _retention,
    "max.message.bytes": _size,
    _CLOCK: _clock,
    "compression.type": _compression,
    "min.insync.replicas": _replicas,
}
"""Why each setting of the contract may not be altered from what is to what should be; None: it may."""
