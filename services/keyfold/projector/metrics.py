"""All metrics of the projector, declared once, with help text. Counted once per batch."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from keyfold.telemetry import metrics as shared

RECORDS: Final = Counter(
    "keyfold_projector_records", "Event records folded and written, by schema (blue or green).", ["schema"]
)
REPORTS: Final = Counter("keyfold_projector_reports", "Records that were not believed.")
BATCH_RECORDS: Final = Histogram(
    "keyfold_projector_batch_records", "Records of one batch.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 2000)
)
STAGE_SECONDS: Final = Histogram(
    "keyfold_projector_stage_seconds",
    "Time of one batch in a stage: fold, apply (the Postgres transaction), publish (the directory).",
    ["stage"],
    buckets=shared.STAGE_BUCKETS,
)
INTERRUPTED: Final = Counter(
    "keyfold_projector_interruptions", "Times a partition was restored after a failure, by code.", ["code"]
)
HALTED: Final = Gauge("keyfold_projector_halted", "Partitions that stopped until somebody acts.")
REBUILDING: Final = Gauge("keyfold_projector_rebuilding", "1 while another schema is being built or swapped in.")

FOLD: Final = STAGE_SECONDS.labels("fold")
APPLY: Final = STAGE_SECONDS.labels("apply")
PUBLISH: Final = STAGE_SECONDS.labels("publish")
