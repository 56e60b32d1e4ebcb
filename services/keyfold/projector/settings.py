"""Timing and sizes of the projector; every number carries its unit in its name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProjectorSettings:
    """`commits_per_s` (of all partitions together) and `burst` (of each) bound how often is committed: a lone event is
    written at once, a stream of them in batches, so that a busy log costs few transactions. A rebuild takes
    large batches, one behind the other: what it does beside them is little, and folding lets others go on in between.
    """

    max_records: int = 500
    max_records_building: int = 2_000
    idle_poll_s: float = 0.5
    commits_per_s: float = 80.0
    burst: int = 5
    cached_entities: int = 10_000
    store_deadline_s: float = 10.0
    publish_deadline_s: float = 5.0
    trust_interval_s: float = 1.0
    status_interval_s: float = 0.5
    swap_below_records: int = 2_000
    swap_patience_s: float = 10.0
    swap_again_after_s: float = 60.0
    first_retry_s: float = 0.1
    longest_retry_s: float = 5.0
    dead_letters_per_s: float = 10.0
