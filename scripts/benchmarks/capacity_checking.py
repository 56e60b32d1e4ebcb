"""The model beside the measurements: cost sheets from some of the points, predictions of all others. Pure.

Fitted, for each shape, with `FITTED` partitions and one worker of each kind:

- what a command and a transaction cost every part, at two points where nothing is limited: few callers and many, so
  transactions hold few commands and many; the brokers' costs for each replication factor;
- how much of its core a small core gives, at the point with small cores: one number.

Of every other point the model is told only what was set up, who had which partitions, how many commands a transaction
held, and what its processes use without load.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.capacity_model import PARTS, Bound, Cluster, Cost, Sheet, batch_of, callers_bound
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
    if (point.partitions, point.workers, point.one_key) != (FITTED, 1, False):
        return False
    return point.cores is None or point.brokers == 1


def sheet(points: Sequence[Point], shape: str, machine: float) -> Sheet | None:
    """Return the costs of a shape; None where what they come from was not measured. `machine` is in cores."""
    fitted = [point for point in points if point.shape == shape and is_fitted(point)]
    free: dict[int, list[Point]] = {}
    for point in fitted:
        if point.cores is None:
            free.setdefault(point.brokers, []).append(point)
    if 1 not in free:
        return None
    found = Sheet(
        items=free[1][0].items,
        costs={part: _fit(free[1], part) for part in (*PARTS, "client") if part != "kafka"},
        brokers={brokers: _fit(some, "kafka") for brokers, some in free.items()},
        wire={brokers: _fit(some, "wire") for brokers, some in free.items()},
        idle=_idle_of_one(free[1][0]),
    )
    small = next((point for point in fitted if point.cores is not None), None)
    if small is None:
        return found
    told = callers_bound(replace(found, idle=_idle_of_one(small)), as_cluster(small, machine))
    return replace(found, efficiency=small.commands_per_s / told.per_second)


def check(points: Sequence[Point], machine: float) -> list[Checked]:
    """Return the model's word on every point of a shape that has a sheet; `machine` is in cores."""
    sheets = {shape: sheet(points, shape, machine) for shape in dict.fromkeys(point.shape for point in points)}
    checked = []
    for point in points:
        costs = sheets[point.shape]
        if costs is not None:
            predicted = callers_bound(replace(costs, idle=_idle_of_one(point)), as_cluster(point, machine))
            checked.append(Checked(point, predicted, is_fitted(point)))
    return checked


def _fit(points: Sequence[Point], part: str) -> Cost:
    """Return the line through the points with the smallest and the largest transactions; flat where they tell none."""
    measured = [
        (batch_of(part, point.batch), point.wire_bytes if part == "wire" else point.cost_us[part]) for point in points
    ]
    (few, dear), (many, cheap) = min(measured), max(measured)
    if many <= few or dear <= cheap:
        return Cost(sum(cost for _, cost in measured) / len(measured))
    transaction = (dear - cheap) / (1 / few - 1 / many)
    own = cheap - transaction / many
    # A line that would cost less than nothing is noise: all of it is the transactions' then.
    return Cost(own, transaction) if own >= 0 else Cost(0.0, (dear * few + cheap * many) / 2)


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
