"""From the table of topics to the cluster's settings, and back to a list of differences. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from keyfold.bus.errors import BusError
from keyfold.events.topics import DAY_MS, REPLIES, REPLIES_PREFIX, TOPICS, Topic

_MINUTE_MS: Final = 60_000
_COMPACTED_SEGMENT_BYTES: Final = 64 * 1024 * 1024

# What `verify` compares: the part of the settings that the design relies on. The rest is housekeeping.
CONTRACT: Final = (
    "cleanup.policy",
    "retention.ms",
    "retention.bytes",
    "max.message.bytes",
    "message.timestamp.type",
    "compression.type",
    "min.insync.replicas",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One topic as the cluster shall have it."""

    name: str
    partitions: int
    configs: Mapping[str, str]

    def differences(self, partitions: int | None, configs: Mapping[str, str]) -> list[str]:
        """Compare with what the cluster has (None: no such topic); one sentence per difference."""
        if partitions is None:
            return [f"{self.name} does not exist"]
        found = []
        if partitions != self.partitions:
            found.append(f"{self.name} has {partitions} partitions, not {self.partitions}")
        found += [
            f"{self.name} has {key}={configs.get(key)}, not {self.configs[key]}" for key in self.differing(configs)
        ]
        return found

    def differing(self, configs: Mapping[str, str]) -> list[str]:
        """Return the settings of the contract that the cluster has otherwise."""
        return [key for key in CONTRACT if key in self.configs and self.configs[key] != configs.get(key)]


def plan(
    partitions: int, topics: Iterable[Topic] = TOPICS, reply_names: Iterable[str] = (), min_insync: int | None = None
) -> list[Plan]:
    """Return the plan for the table's topics and for the reply topics of these clients."""
    rows = list(topics)
    rows += [_reply_topic(name) for name in reply_names]
    return [Plan(row.name, row.partitions or partitions, _configs(row, min_insync)) for row in rows]


def _reply_topic(name: str) -> Topic:
    if not name or not all(char.isascii() and (char.isalnum() or char in "-_") for char in name) or len(name) > 100:
        raise BusError(f"{name!r} cannot name a reply topic; use letters, digits, - and _, at most 100")
    row = next(topic for topic in TOPICS if topic.name == REPLIES)
    return Topic(REPLIES_PREFIX + name, row.partitions, row.cleanup, row.retention_ms, row.max_message_bytes)


def _configs(topic: Topic, min_insync: int | None) -> dict[str, str]:
    configs = {
        "max.message.bytes": str(topic.max_message_bytes),
        "message.timestamp.type": "LogAppendTime" if topic.append_time else "CreateTime",
        # Any producer may compress, by what no reader here can undo; the brokers can, and store what everybody reads.
        "compression.type": "uncompressed",
    }
    if min_insync is not None:
        configs["min.insync.replicas"] = str(min_insync)
    if topic.cleanup == "compact":
        return configs | _compacted()
    configs |= {"cleanup.policy": "delete", "retention.ms": str(topic.retention_ms), "retention.bytes": "-1"}
    if topic.cleanup == "delete":
        # Only closed segments are deleted: a segment as long as the retention would double it.
        configs["segment.ms"] = str(max(10 * _MINUTE_MS, topic.retention_ms // 7))
    return configs


def _compacted() -> dict[str, str]:
    """Small segments closed often, cleaned early: a restore reads what the cleaner has not come to yet.

    Tombstones stay for a day, far longer than any restore takes: a reader never misses a deletion.
    """
    return {
        "cleanup.policy": "compact",
        "segment.ms": str(10 * _MINUTE_MS),
        "segment.bytes": str(_COMPACTED_SEGMENT_BYTES),
        "min.cleanable.dirty.ratio": "0.2",
        "delete.retention.ms": str(DAY_MS),
    }
