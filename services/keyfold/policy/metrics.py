"""All metrics of the policy processor, declared once, with help text; and how a batch is counted.

A batch is counted once, when its transaction stands: what was dropped and done again counts once too. How long a
command waited is counted per command, everything else per batch.
"""

from collections import Counter as Tally
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from keyfold.telemetry import metrics as shared

COMMANDS: Final = Counter(
    "keyfold_policy_commands",
    "Commands decided, by verb and code; the code of accepted ones is empty.",
    ["verb", "code"],
)
REJECTED: Final = Counter(
    "keyfold_policy_rejected", "Records that are no command of anybody who may send one, by code.", ["code"]
)
REPEATED: Final = Counter("keyfold_policy_repeated", "Commands that had been decided before and were answered again.")
STAGE_SECONDS: Final = Histogram(
    "keyfold_policy_stage_seconds",
    "Time of one batch in a stage: admission (signatures), decision (policies), commit (the transaction).",
    ["stage"],
    buckets=shared.STAGE_BUCKETS,
)
BATCH_COMMANDS: Final = Histogram(
    "keyfold_policy_batch_commands", "Records of one batch.", buckets=(1, 2, 5, 10, 20, 50, 100, 200)
)
WAIT_SECONDS: Final = Histogram(
    "keyfold_policy_command_seconds",
    "Time from a command's append by the broker to its committed decision, by this machine's clock, by verb.",
    ["verb"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600),
)
REPLIES_DROPPED: Final = Counter("keyfold_policy_replies_dropped", "Replies that could not be sent; decisions stand.")
RESTORES: Final = Counter("keyfold_policy_restores", "Times a partition was taken over again after a failure.")
IN_FLIGHT: Final = Gauge("keyfold_policy_in_flight", "Accepted commands without an outcome yet.", ["partition"])
BUDGET_WARNINGS: Final = Counter(
    "keyfold_policy_budget_warnings", "Key versions that used up a part of their budget.", ["percent"]
)
LIMIT_LEFT: Final = Gauge(
    "keyfold_policy_limit_left_ratio",
    "What is left of a limit, 0 to 1: of whoever has least, among those charged in the last batch.",
    ["limit"],
)
REGISTRY_FRESH: Final = Gauge("keyfold_policy_registry_fresh", "1 while the registry is new enough to decide on.")

ADMISSION: Final = STAGE_SECONDS.labels("admission")
DECISION: Final = STAGE_SECONDS.labels("decision")
COMMIT: Final = STAGE_SECONDS.labels("commit")


class BatchTally:
    """What is counted while a batch is decided; plain numbers, thrown away with the batch."""

    __slots__ = ("_commands", "_left", "_waiting", "admission_s", "decision_s", "rejected", "repeated", "warned")

    def __init__(self) -> None:
        self.admission_s = self.decision_s = 0.0
        self._commands: Tally[tuple[str, str]] = Tally()
        self._waiting: dict[str, list[int]] = {}
        self._left: dict[str, float] = {}
        self.rejected: Tally[str] = Tally()
        self.warned: Tally[int] = Tally()
        self.repeated = 0

    def decided(self, verb: str, code: str, appended_ms: int) -> None:
        """Note one decision; `code` is empty where the command was accepted."""
        self._commands[verb, code] += 1
        self._waiting.setdefault(verb, []).append(appended_ms)

    def left(self, limit: str, ratio: float) -> None:
        """Note what is left of a limit for one who was charged."""
        self._left[limit] = min(ratio, self._left.get(limit, 1.0))

    def count(self, records: int, now_ms: int, commit_s: float | None) -> None:
        """Add all of it to the metrics. `commit_s` is None where nothing was to be committed."""
        ADMISSION.observe(self.admission_s)
        DECISION.observe(self.decision_s)
        if commit_s is not None:
            COMMIT.observe(commit_s)
        BATCH_COMMANDS.observe(records)
        for verb, appended in self._waiting.items():
            waited = WAIT_SECONDS.labels(verb)
            for appended_ms in appended:
                waited.observe(max(0, now_ms - appended_ms) / 1000)
        for (verb, code), number in self._commands.items():
            COMMANDS.labels(verb, code).inc(number)
        for code, number in self.rejected.items():
            REJECTED.labels(code).inc(number)
        for percent, number in self.warned.items():
            BUDGET_WARNINGS.labels(percent).inc(number)
        for limit, ratio in self._left.items():
            LIMIT_LEFT.labels(limit).set(ratio)
        if self.repeated:
            REPEATED.inc(self.repeated)
