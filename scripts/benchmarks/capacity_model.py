"""What a deployment can do: for each part the commands per second at which it has no time left. Pure.

What a command costs at a part (processor time, measured) is c = a + b ÷ n: its own cost, and its share of what a
transaction costs, which n commands have in common. With i what one process of the part uses for partitions that have no
load (cores), k the cores that it may use, and s the part of all commands that its busiest process gets:

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
class Cost:
    """What a command costs: `own`, and its share of `transaction`. In microseconds, or in bytes."""

    own: float
    transaction: float = 0.0

    def each(self, batch: float) -> float:
        """Return the cost of one command where a transaction holds so many."""
        return self.own + self.transaction / batch


@dataclass(frozen=True, slots=True)
class Sheet:
    """What commands of one shape cost.

    `costs` has the parts but the brokers, and `client`; `brokers` (all together) and `wire` (all connections) are by
    replication factor. `idle` is in cores, of one process of each part (one broker) while no partition has load.
    `efficiency` is what a core does where it is a small one, as a part of what it would do.
    """

    items: int
    costs: Mapping[str, Cost]
    brokers: Mapping[int, Cost]
    wire: Mapping[int, Cost]
    idle: Mapping[str, float]
    efficiency: float = 1.0


@dataclass(frozen=True, slots=True)
class Token:
    """A token behind each worker: sessions in its pool, calls of a command, seconds of a call."""

    sessions: int
    calls: float
    call_s: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """A deployment. `workers` is how many processes of each of policy, hsm and projector; `cores` what one may use.

    `batch` is how many commands a transaction of policy, and one of the worker, holds. `busiest` overrides, for a part,
    how many partitions with keys its busiest process has: where that is known. `machine` is how many cores all share;
    None where each process has its own.
    """

    partitions: int
    workers: Mapping[str, int]
    batch: Mapping[str, float]
    brokers: int = 1
    replication: int = 1
    cores: Mapping[str, float] = field(default_factory=dict)
    busiest: Mapping[str, int] = field(default_factory=dict)
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


def batch_of(part: str, batch: Mapping[str, float]) -> float:
    """Return how many commands a transaction holds as a part meets them: its own, or both kinds' harmonic mean."""
    return batch.get(part) or 2 / (1 / batch["policy"] + 1 / batch["hsm"])


def capacities(sheet: Sheet, cluster: Cluster) -> dict[str, float]:
    """Return what each part can do, in commands per second."""
    found = {part: _worker(sheet, cluster, part) for part in SHARING}
    if cluster.token is not None:
        token = cluster.token
        found["token"] = token.sessions / (token.calls * token.call_s * _share(cluster, "hsm"))
    brokers = cluster.brokers
    found["kafka"] = brokers * _room(sheet, cluster, "kafka") / _replicated(sheet.brokers, cluster)
    found |= {part: _room(sheet, cluster, part) / _cost(sheet, cluster, part) for part in ("postgres", "notary")}
    if cluster.network_bytes_s is not None:
        found["network"] = brokers * cluster.network_bytes_s / _replicated(sheet.wire, cluster)
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
    return _room(sheet, cluster, part) / (_cost(sheet, cluster, part) * _share(cluster, part))


def _cost(sheet: Sheet, cluster: Cluster, part: str) -> float:
    return sheet.costs[part].each(batch_of(part, cluster.batch))


def _share(cluster: Cluster, part: str) -> float:
    if cluster.shares == "one key":
        return 1.0
    return _most(cluster, part) / (cluster.partitions - 1)


def _most(cluster: Cluster, part: str) -> int:
    return cluster.busiest.get(part) or busiest(cluster.partitions, cluster.workers[part])


def _room(sheet: Sheet, cluster: Cluster, part: str) -> float:
    """Microseconds per second that one process has for commands."""
    cores = cluster.cores.get(part, 1.0)
    efficiency = sheet.efficiency if cores < 1 else 1.0
    return max(0.0, cores - sheet.idle[part] * _unloaded(cluster, part)) * efficiency * 1e6


def _unloaded(cluster: Cluster, part: str = "") -> float:
    """What part of the partitions has no load: of the busiest process, or of all."""
    loaded = 1 if cluster.shares == "one key" else cluster.partitions - 1
    if part not in SHARING:
        return 1 - loaded / cluster.partitions
    owned = math.ceil(cluster.partitions / cluster.workers[part])
    return 1 - min(loaded, _most(cluster, part), owned) / owned


def _machine(sheet: Sheet, cluster: Cluster, cores: float) -> float:
    processes = {**dict.fromkeys(PARTS, 1), **cluster.workers, "kafka": cluster.brokers}
    idle = sum(sheet.idle[part] * count for part, count in processes.items()) * _unloaded(cluster)
    cost = sum(_cost(sheet, cluster, part) for part in sheet.costs) + _replicated(sheet.brokers, cluster)
    return max(0.0, cores - idle) * 1e6 / cost


def _replicated(measured: Mapping[int, Cost], cluster: Cluster) -> float:
    """Return a cost at a replication factor: as measured, or on the straight line through the first and the last."""
    at = {replication: cost.each(batch_of("kafka", cluster.batch)) for replication, cost in measured.items()}
    replication, low, high = cluster.replication, min(at), max(at)
    if replication in at or low == high:
        return at.get(replication, at[low])
    return at[low] + (at[high] - at[low]) / (high - low) * (replication - low)
