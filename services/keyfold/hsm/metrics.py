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
TOKEN_STATE: Final = Gauge(
    "keyfold_hsm_token_state", "1 for the state that the token is in, 0 for the others, by state.", ["state"]
)
TOKEN_CHANGES: Final = Counter("keyfold_hsm_token_changes", "Times the token's state became this one.", ["state"])
TOKEN_SESSIONS: Final = Gauge(
    "keyfold_hsm_token_sessions", "Sessions in the token's pool; fewer than the setting where its limit is lower."
)
TOKEN_REOPENED: Final = Counter("keyfold_hsm_token_reopened", "Times the lost token was opened again.")
TOKEN_PAUSED: Final = Gauge(
    "keyfold_hsm_token_paused", "1 while a partition takes no tickets because the token is down.", ["partition"]
)
TOKEN_ITEM_SECONDS: Final = Histogram(
    "keyfold_hsm_token_item_seconds",
    "Time of one item in the token in seconds: the slowest ticket's average, by hop to a thread.",
    buckets=(0.00002, 0.0001, 0.0005, 0.002, 0.01, 0.05, 0.2, 0.5, 2, 10),
)
