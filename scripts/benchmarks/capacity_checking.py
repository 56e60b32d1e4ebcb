"""The model beside the measurements: cost sheets from some of the points, predictions of all others. Pure.

Fitted, for each shape, at one broker, `FITTED` partitions and one worker of each kind:

- policy processors and workers at two points with small cores, all keys and one key: they differ in how many commands a
  transaction holds, so there is a cost of a command and one of a transaction;
- all other parts at the point where nothing is limited: at a high rate, fixed costs of a round do not weigh;
- the brokers' costs at other replication factors at the points with as many brokers where nothing is limited.

Of every other point the model is told only what was set up, who had which partitions, how many commands a transaction
held, and what its processes use without load.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.capacity_model import PARTS, Bound, Cluster, Sheet, callers_bound
from benchmarks.capacity_points import WORKERS, Point

FITTED: Final = 4
"""Partitions of the points that sheets are fitted at."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A point and what the model says of it, in commands per second; `fitted` where costs come from it."""

    point: Point
    predicted: Bound
    fitted: bool

    @property
    def error(self) -> float:
        """The prediction's distance from the measurement, as a part of the measurement."""
        return self.predicted.per_second / self.point.commands_per_s - 1


def is_fitted(point: Point) -> bool:
    """Tell whether a sheet comes from this point."""
    if point.brokers > 1:
        return point.cores is None
    return (point.partitions, point.workers) == (FITTED, 1)


def sheet(points: Sequence[Point], shape: str) -> Sheet | None:
    """Return the costs of a shape; None where what they come from was not measured."""
    fitted = [point for point in points if point.shape == shape and is_fitted(point)]
    free = [point for point in fitted if point.cores is None and not point.one_key]
    single = next((point for point in free if point.brokers == 1), None)
    if single is None:
        return None
    small = [point for point in fitted if point.cores is not None]
    costs, transactions = dict(single.cost_us), {}
    for part in WORKERS if small else ():
        costs[part], transactions[part] = _line([(point.batch[part], point.cost_us[part]) for point in small])
    del costs["kafka"]
    return Sheet(
        items=single.items,
        cost_us=costs,
        transaction_us=transactions,
        batch=single.batch,
        broker_us={point.brokers: point.cost_us["kafka"] for point in free},
        wire_bytes={point.brokers: point.wire_bytes for point in free},
        idle=_idle_of_one(single),
    )


def _line(measured: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return a and b of cost = a + b ÷ n through two points (n, cost); b is 0 where they do not tell it."""
    (few, dear), (many, cheap) = min(measured), max(measured)
    if many <= few or dear <= cheap:
        return sum(cost for _, cost in measured) / len(measured), 0.0
    transaction = (dear - cheap) / (1 / few - 1 / many)
    return max(0.0, cheap - transaction / many), transaction


def check(points: Sequence[Point], machine: float) -> list[Checked]:
    """Return the model's word on every point of a shape that was measured with small cores; `machine` is in cores."""
    checked = []
    for point in points:
        costs = sheet(points, point.shape)
        if costs is not None and costs.transaction_us:
            known = replace(costs, idle=_idle_of_one(point))
            predicted = callers_bound(known, as_cluster(point, machine))
            checked.append(Checked(point, predicted, is_fitted(point)))
    return checked


def as_cluster(point: Point, machine: float) -> Cluster:
    """Return what was set up for a point, in the model's words."""
    cores = {} if point.cores is None else dict.fromkeys(WORKERS, point.cores)
    return Cluster(
        partitions=point.partitions,
        workers={**dict.fromkeys(WORKERS, point.workers), "projector": 1},
        brokers=point.brokers,
        replication=point.brokers,
        cores={**cores, "kafka": machine, "postgres": machine},
        busiest=point.busiest,
        batch=point.batch,
        shares="one key" if point.one_key else "even",
        machine=machine,
    )


def _idle_of_one(point: Point) -> dict[str, float]:
    """What one process of each part uses without load."""
    count = {**dict.fromkeys(WORKERS, point.workers), "kafka": point.brokers}
    return {part: point.idle[part] / count.get(part, 1) for part in PARTS}
