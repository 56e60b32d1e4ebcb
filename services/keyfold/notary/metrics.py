"""All metrics of the notary, declared once, with help text. Counted once per round."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from keyfold.telemetry import metrics as shared

LEAVES: Final = Gauge("keyfold_notary_leaves", "Leaves of the committed tree, by partition.", ["partition"])
UNTRUSTED: Final = Gauge(
    "keyfold_notary_untrusted_leaves", "Leaves that are no authentic record, by partition.", ["partition"]
)
NOT_SIGNED: Final = Gauge(
    "keyfold_notary_partition_stopped", "1 while no checkpoints of the partition are signed.", ["partition"]
)
CHECKPOINTS: Final = Counter("keyfold_notary_checkpoints", "Checkpoints published.")
STAGE_SECONDS: Final = Histogram(
    "keyfold_notary_stage_seconds",
    "Time of one round in a stage: read, sign (the token), commit (the transaction).",
    ["stage"],
    buckets=shared.STAGE_BUCKETS,
)
RESTORES: Final = Counter("keyfold_notary_restores", "Times everything was restored after a failure.")

READ: Final = STAGE_SECONDS.labels("read")
SIGN: Final = STAGE_SECONDS.labels("sign")
COMMIT: Final = STAGE_SECONDS.labels("commit")
