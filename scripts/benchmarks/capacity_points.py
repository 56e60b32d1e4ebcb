"""What is measured of capacity, as values: kinds of load, and measurements of them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

WORKERS: Final = ("policy", "hsm")
"""What gets small cores, and is started as often as wanted."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of load: so many callers for each worker, each with commands of so many items of Encrypt."""

    name: str
    protection: Literal["SOFTWARE", "HSM"]
    callers: int
    items: int


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement.

    `cores` is what each policy processor and worker may use, None where they are free. `batch` is how many commands a
    transaction of either held, on average; `busiest`, for either, how many partitions with keys the process has that
    has most of them; `throttled` the greatest part of periods in which one of its processes had used up its quota.
    `cost_us` (of one command) and `idle` (in cores, of all its processes) are by part; `used` is in cores, all parts
    together in the window. `late_s` is how long projector and notary took to catch up.
    """

    shape: str
    items: int
    brokers: int
    partitions: int
    workers: int
    cores: float | None
    one_key: bool
    callers: int
    commands_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int
    late_s: float
    used: float
    wire_bytes: float
    batch: Mapping[str, float] = field(default_factory=dict)
    busiest: Mapping[str, int] = field(default_factory=dict)
    throttled: Mapping[str, float] = field(default_factory=dict)
    cost_us: Mapping[str, float] = field(default_factory=dict)
    idle: Mapping[str, float] = field(default_factory=dict)
