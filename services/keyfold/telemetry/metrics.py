"""The metrics that every process has, declared once, with help text. A service's own are in its package.

Labels are few and bounded: topics, partitions, verbs, codes. Never a principal, a key, a command or an address.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # when each series began would double what is scraped
STAGE_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
"""Seconds, from one command's signature to a transaction that a broker holds up."""

LAG: Final = Gauge(
    "keyfold_consumer_lag",
    "Offsets between what this process has done and the partition's end. Transactions' markers count as offsets.",
    ["topic", "partition"],
)
READY: Final = Gauge("keyfold_ready", "1 while the process is ready, 0 otherwise.")
CHECK: Final = Gauge("keyfold_check_ok", "1 while this check of readiness is ok, by name.", ["check"])
LOOP_DELAY: Final = Histogram(
    "keyfold_event_loop_delay_seconds",
    "How late the event loop came to a timer that was due, looked at once a second.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
DEAD_LETTERS: Final = Counter("keyfold_dead_letters", "Records that could not be read and were reported.")
DEAD_LETTERS_SUPPRESSED: Final = Counter(
    "keyfold_dead_letters_suppressed", "Records that could not be read and were too many to be reported."
)
OWNED: Final = Gauge("keyfold_partition_owned", "1 while this process works on the partition.", ["partition"])
