"""Refuses to work on a log whose topics were given other partitions than genesis fixed.

A stream's partition follows from its name and the number that genesis fixed, so a partition that somebody added would
never be used by who follows the rules; and Kafka takes no partition away again. What is done about it is said in
docs/secured-cluster.md. It reads nothing of the log.
"""

from keyfold.bus import Bus, TopicMismatch
from keyfold.events import topics


async def require_partitions(bus: Bus, partitions: int, *names: str) -> None:
    """Raise `TopicMismatch` unless the events, and the topics of these names, have so many partitions."""
    admin = bus.admin()
    await admin.start()
    try:
        counts = {name: len(await admin.start_offsets(name)) for name in (topics.EVENTS, *names)}
    finally:
        await admin.stop()
    wrong = tuple(
        f"{name} has {count} partitions, genesis fixed {partitions} for ever; "
        "if some were added, restore a backup into an empty cluster"
        for name, count in counts.items()
        if count != partitions
    )
    if wrong:
        raise TopicMismatch(wrong)
