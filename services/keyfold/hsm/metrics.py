"""All counters of the HSM worker, declared once, with help text. Whoever serves them reads the default registry."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

OUTCOMES: Final = Counter("keyfold_hsm_outcomes", "Outcome events committed, by event type and code.", ["type", "code"])
ITEMS: Final = Counter("keyfold_hsm_items", "Items of data-plane commands in committed outcomes, by verb.", ["verb"])
TRANSACTIONS: Final = Counter("keyfold_hsm_transactions", "Transactions committed, by partition.", ["partition"])
BATCH_TICKETS: Final = Histogram(
    "keyfold_hsm_batch_tickets", "Tickets per transaction.", buckets=(1, 2, 5, 10, 20, 50, 100, 200)
)
BATCH_SECONDS: Final = Histogram(
    "keyfold_hsm_batch_seconds",
    "Time from a batch's arrival to its commit, in seconds.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
RESTORES: Final = Counter("keyfold_hsm_restores", "Times a partition was restored after a failure.", ["partition"])
STOPPED: Final = Gauge("keyfold_hsm_stopped", "1 while a partition is stopped until an operator acts.", ["partition"])
SKIPPED: Final = Counter("keyfold_hsm_skipped_records", "Records that were not believed, by reason.", ["reason"])
REPLIES_DROPPED: Final = Counter(
    "keyfold_hsm_replies_dropped", "Replies that could not be sent, by reason; the outcome stands.", ["reason"]
)
TOKEN_RETRIES: Final = Counter("keyfold_hsm_token_retries", "Times a batch waited because the token did not answer.")
