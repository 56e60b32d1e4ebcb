"""All metrics of the HSM worker, declared once, with help text. Whoever serves them reads the default registry."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from keyfold.telemetry import metrics as shared

OUTCOMES: Final = Counter("keyfold_hsm_outcomes", "Outcome events committed, by event type and code.", ["type", "code"])
ITEMS: Final = Counter("keyfold_hsm_items", "Items of data-plane commands in committed outcomes, by verb.", ["verb"])
OPERATION_SECONDS: Final = Histogram(
    "keyfold_hsm_operation_seconds",
    "Time in which a ticket was executed, in seconds, by verb: body opened, key at hand, result sealed.",
    ["verb"],
    buckets=(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)
STAGE_SECONDS: Final = Histogram(
    "keyfold_hsm_stage_seconds",
    "Time of one batch in a stage, in seconds: intake (signatures), execute, commit (the transaction), reply; and "
    "unwrap, of one key that was not open yet.",
    ["stage"],
    buckets=shared.STAGE_BUCKETS,
)
HANDLE_HITS: Final = Counter("keyfold_hsm_handle_cache_hits", "Uses of a key that was open already.")
HANDLE_MISSES: Final = Counter("keyfold_hsm_handle_cache_misses", "Uses of a key that had to be unwrapped first.")
HANDLES: Final = Gauge("keyfold_hsm_handles_open", "Keys that are open.")
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
TOKEN_BUSY: Final = Gauge("keyfold_hsm_token_busy_threads", "Threads that ask the token now, or wait for it.")
TOKEN_REOPENED: Final = Counter("keyfold_hsm_token_reopened", "Times the lost token was opened again.")
TOKEN_PAUSED: Final = Gauge(
    "keyfold_hsm_token_paused", "1 while a partition takes no tickets because the token is down.", ["partition"]
)
TOKEN_ITEM_SECONDS: Final = Histogram(
    "keyfold_hsm_token_item_seconds",
    "Time of one item in the token in seconds: the slowest ticket's average, by hop to a thread.",
    buckets=(0.00002, 0.0001, 0.0005, 0.002, 0.01, 0.05, 0.2, 0.5, 2, 10),
)

INTAKE: Final = STAGE_SECONDS.labels("intake")
UNWRAP: Final = STAGE_SECONDS.labels("unwrap")
EXECUTE: Final = STAGE_SECONDS.labels("execute")
COMMIT: Final = STAGE_SECONDS.labels("commit")
REPLY: Final = STAGE_SECONDS.labels("reply")

_operations: Final[dict[str, Histogram]] = {}


def executed(verb: str, seconds: float) -> None:
    """Note how long one ticket took. Once per ticket, so the label is looked up in a plain dict; from any thread."""
    timed = _operations.get(verb)
    if timed is None:
        timed = _operations[verb] = OPERATION_SECONDS.labels(verb)
    timed.observe(seconds)
