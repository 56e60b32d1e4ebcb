"""All metrics of the scheduler, declared once, with help text."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

ROUNDS: Final = Counter("keyfold_scheduler_rounds", "Rounds, by whether what is due could be looked up.", ["outcome"])
ROUND_SECONDS: Final = Histogram(
    "keyfold_scheduler_round_seconds",
    "Time of one round: looking up what is due, and sending it.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2, 5, 15, 60),
)
DUTIES: Final = Counter(
    "keyfold_scheduler_duties",
    "Commands sent because time had come, by verb and code; done ones have none.",
    ["verb", "code"],
)
DUE: Final = Gauge("keyfold_scheduler_due", "What was due in the last round, resting duties among it.")
