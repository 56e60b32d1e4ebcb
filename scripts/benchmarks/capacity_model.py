"""What a deployment can do: for each part the commands per second at which it has no time left. Pure.

With c the cost of a command at a part (processor time, measured), i what one process of it uses without load (cores),
k the cores that it may use, and s the part of all commands that its busiest process gets. For policy processors and
workers c is a + b ÷ n: what a command costs itself, and what a transaction costs, which n commands share.

    workers (policy, hsm, projector)   (k − i) ÷ (c × s)     s = ⌈P ÷ M⌉ ÷ (P − 1), at most 1; with one key 1
    a token behind each worker         sessions ÷ (calls × time of a call × s)
    brokers                            B × (k − i) ÷ c(R)    c(R) measured for two R, straight between and beyond
    network                            B × bytes per second ÷ bytes of a command(R)
    notary                             (k − i) ÷ c           one process works for all partitions
    postgres                           (k − i) ÷ c           one server
    machine, where all share one       (k − Σi) ÷ Σc         the clients', too

P − 1 partitions have keys (partition 0 is the registry's), M is the number of processes. The deployment is as fast as
its slowest part. Callers do not wait for projector, Postgres and notary: these fall behind where they are the slowest,
so they bound what is sustained, not a burst.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Shares = Literal["even", "one key"]
SHARING: Final = ("policy", "hsm", "projector")
"""Parts whose processes share the partitions."""
BEHIND: Final = frozenset({"projector", "postgres", "notary"})
"""Parts that callers do not wait for."""
PARTS: Final = ("policy", "hsm", "kafka", "projector", "postgres", "notary", "scheduler")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one command costs: microseconds of processor time at each part, brokers and wire by replication factor.

    `cost_us` has the parts but the brokers, and `client`; `transaction_us` is what a transaction costs besides. `batch`
    is how many commands a transaction held where nothing was limited. `broker_us` is of all brokers together,
    `wire_bytes` of all connections. `idle` is in cores, of one process of each part (one broker).
    """

    items: int
    cost_us: Mapping[str, float]
    transaction_us: Mapping[str, float]
    batch: Mapping[str, float]
    broker_us: Mapping[int, float]
    wire_bytes: Mapping[int, float]
    idle: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Token:
    """A token behind each worker: sessions in its pool, calls of a command, seconds of a call."""

    sessions: int
    calls: float
    call_s: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """A deployment. `workers` is how many processes of each of policy, hsm and projector; `cores` what one may use.

    `busiest` overrides, for a part, how many partitions with keys its busiest process has, and `batch` how many
    commands a transaction holds: where that is known. `machine` is how many cores all share; None where each process
    has its own.
    """

    partitions: int
    workers: Mapping[str, int]
    brokers: int = 1
    replication: int = 1
    cores: Mapping[str, float] = field(default_factory=dict)
    busiest: Mapping[str, int] = field(default_factory=dict)
    batch: Mapping[str, float] = field(default_factory=dict)
    shares: Shares = "even"
    network_bytes_s: float | None = None
    token: Token | None = None
    machine: float | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """The slowest part, and how many commands it can do in a second."""

    part: str
    per_second: float


def busiest(partitions: int, processes: int) -> int:
    """Return how many partitions with keys one process has at most; sizes of shares differ by one."""
    return min(math.ceil(partitions / processes), partitions - 1)


def cost_us(sheet: Sheet, part: str, batch: Mapping[str, float]) -> float:
    """Return what a command costs at a part, in transactions of so many, or of as many as in the sheet."""
    transaction = sheet.transaction_us.get(part, 0.0)
    return sheet.cost_us[part] + (transaction / (batch.get(part) or sheet.batch[part]) if transaction else 0.0)


def capacities(sheet: Sheet, cluster: Cluster) -> dict[str, float]:
    """Return what each part can do, in commands per second."""
    found = {part: _worker(sheet, cluster, part) for part in SHARING}
    if cluster.token is not None:
        token = cluster.token
        found["token"] = token.sessions / (token.calls * token.call_s * _share(cluster, "hsm"))
    brokers, replication = cluster.brokers, cluster.replication
    found["kafka"] = brokers * _room(sheet, cluster, "kafka") / _at(sheet.broker_us, replication)
    found |= {part: _room(sheet, cluster, part) / sheet.cost_us[part] for part in ("postgres", "notary")}
    if cluster.network_bytes_s is not None:
        found["network"] = brokers * cluster.network_bytes_s / _at(sheet.wire_bytes, replication)
    if cluster.machine is not None:
        found["machine"] = _machine(sheet, cluster, cluster.machine)
    return found


def callers_bound(sheet: Sheet, cluster: Cluster) -> Bound:
    """Return what callers get while the parts that they do not wait for may fall behind."""
    return _least({part: each for part, each in capacities(sheet, cluster).items() if part not in BEHIND})


def sustained_bound(sheet: Sheet, cluster: Cluster) -> Bound:
    """Return what lasts: nothing falls behind."""
    return _least(capacities(sheet, cluster))


def _least(capacity: Mapping[str, float]) -> Bound:
    part = min(capacity, key=lambda each: capacity[each])
    return Bound(part, capacity[part])


def _worker(sheet: Sheet, cluster: Cluster, part: str) -> float:
    return _room(sheet, cluster, part) / (cost_us(sheet, part, cluster.batch) * _share(cluster, part))


def _share(cluster: Cluster, part: str) -> float:
    if cluster.shares == "one key":
        return 1.0
    most = cluster.busiest.get(part) or busiest(cluster.partitions, cluster.workers[part])
    return most / (cluster.partitions - 1)


def _room(sheet: Sheet, cluster: Cluster, part: str) -> float:
    """Microseconds per second that one process has for commands."""
    return max(0.0, cluster.cores.get(part, 1.0) - sheet.idle[part]) * 1e6


def _machine(sheet: Sheet, cluster: Cluster, cores: float) -> float:
    processes = {**dict.fromkeys(PARTS, 1), **cluster.workers, "kafka": cluster.brokers}
    idle = sum(sheet.idle[part] * count for part, count in processes.items())
    cost = sum(cost_us(sheet, part, cluster.batch) for part in sheet.cost_us)
    cost += _at(sheet.broker_us, cluster.replication)
    return max(0.0, cores - idle) * 1e6 / cost


def _at(measured: Mapping[int, float], replication: int) -> float:
    """Return a cost at a replication factor: as measured, or on the straight line through the first and the last."""
    if replication in measured or len(measured) == 1:
        return measured.get(replication, next(iter(measured.values())))
    low, high = min(measured), max(measured)
    slope = (measured[high] - measured[low]) / (high - low)
    return measured[low] + slope * (replication - low)
