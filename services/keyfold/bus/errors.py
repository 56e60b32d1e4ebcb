"""Errors of the bus: what a process can do about each of them is the reason why there are several.

    KeyfoldError
    ├── BusError
    │   ├── NotAuthorized         the brokers do not let this user do that: access rules are missing, or rightly so
    │   ├── PositionLost          the log no longer holds what comes next: stop the partition, an operator decides
    │   ├── RecordTooLarge        found before anything was sent; names the record by its place in the call
    │   ├── TopicMismatch         the cluster is not what the table of topics says; names every difference
    │   └── UnknownDestination    a sender knows no such topic or partition (yet); it looks again in the background
    └── Unavailable
        ├── BusUnavailable        no answer in time; nothing of ours is in doubt
        └── InDoubt               a transaction may or may not have happened: stop the writer, start a new one, restore
            ├── Fenced            another process took the transactional id over, or the transaction timed out
            ├── RecordRefused     the broker refuses a record of this transaction for what it is
            └── WriterUnusable    this writer was left in doubt before, is not started, is busy or is stopped

It holds no retry policy: `retriable` says that the same thing may succeed later, the process decides when.
"""

from typing import ClassVar, Final

from aiokafka import errors as kafka

from keyfold.events.errors import KeyfoldError, Unavailable

_AUTHORIZATION: Final = (
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
)


class BusError(KeyfoldError):
    """Something about the bus that trying again does not cure."""

    code = "BusError"


class NotAuthorized(BusError):
    """The brokers' access rules do not let this user do what was asked."""

    code = "NotAuthorized"

    def __init__(self, what: str, error: BaseException) -> None:
        super().__init__(f"{what}: {type(error).__name__}; see `keyfold topics acl` for what each role needs")


class PositionLost(BusError):
    """A reader's position is outside the log (deleted, truncated, or another cluster)."""

    code = "PositionLost"

    def __init__(self, topic: str, partition: int, position: int, detail: str = "") -> None:
        self.topic, self.partition, self.position = topic, partition, position
        super().__init__(
            f"position {position} of {topic}-{partition} is outside the log{detail}; "
            "records were lost or this is another cluster: restore it, or rebuild explicitly"
        )


class RecordTooLarge(BusError):
    """A record exceeds its topic's limit. `index` is its place in the sequence that was given."""

    code = "RecordTooLarge"

    def __init__(self, index: int, topic: str, size_bytes: int, limit_bytes: int) -> None:
        self.index, self.topic, self.size_bytes, self.limit_bytes = index, topic, size_bytes, limit_bytes
        super().__init__(
            f"record {index} for {topic} has {size_bytes} bytes, the topic takes {limit_bytes}; nothing was sent"
        )


class TopicMismatch(BusError):
    """The cluster's topics differ from the table; `differences` holds one sentence for each."""

    code = "TopicMismatch"

    def __init__(self, differences: tuple[str, ...]) -> None:
        self.differences = differences
        super().__init__("the cluster differs from the table of topics: " + "; ".join(differences))


class UnknownDestination(BusError):
    """A sender's cached metadata knows no such topic or partition."""

    code = "UnknownDestination"
    retriable: ClassVar[bool] = True

    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition
        super().__init__(f"no partition {partition} of topic {topic} is known; create the topic or correct the address")


class BusUnavailable(Unavailable):
    """The cluster did not answer in time. Nothing of ours is in doubt."""

    code = "BusUnavailable"


def is_refusal(error: BaseException) -> bool:
    """Tell whether the brokers answered that this user may not."""
    return isinstance(error, _AUTHORIZATION)


def unavailable(what: str, error: BaseException) -> KeyfoldError:
    """Say why something did not happen: not allowed, or no answer in time."""
    return NotAuthorized(what, error) if is_refusal(error) else BusUnavailable(f"{what}: {error!r}")


def start_failure(what: str, error: Exception) -> KeyfoldError:
    """Say what kept a client from starting: brokers that do not answer, or a refusal that will not go away."""
    if is_refusal(error):
        return NotAuthorized(f"{what} could not start", error)
    if getattr(error, "retriable", isinstance(error, TimeoutError | OSError)):
        return BusUnavailable(f"{what} could not start: {error!r}; check the brokers")
    return BusError(f"{what} could not start: {error!r}; check settings and permissions")


class InDoubt(Unavailable):
    """A transaction may or may not be committed. The writer is unusable."""

    code = "InDoubt"


class Fenced(InDoubt):
    """The transactional id has a newer owner, or the transaction outlived its timeout at the broker."""

    code = "Fenced"
    retriable = False


class RecordRefused(InDoubt):
    """The broker refuses a record for what it is (too large, invalid): the same transaction will fail again."""

    code = "RecordRefused"
    retriable = False


class WriterUnusable(InDoubt):
    """The writer cannot be used (again)."""

    code = "WriterUnusable"
