"""The model beside the measurements: cost sheets from some of the points, predictions of all others. Pure.

A sheet is fitted at one point of its shape: one broker, the partitions of `FITTED`, one worker of each kind with a
small core. The brokers' costs at other replication factors are those of the free points with as many brokers. Nothing
else is fitted: of every other point the model is told only what was set up, who had which partitions, and what its
processes use without load.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.capacity_model import PARTS, Bound, Cluster, Sheet, callers_bound
from benchmarks.capacity_points import Point

FITTED: Final = 4
"""Partitions of the points that sheets are fitted at."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A point and what the model says of it, in commands per second; `fitted` where the sheet comes from it."""

    point: Point
    predicted: Bound
    fitted: bool

    @property
    def error(self) -> float:
        """The prediction's distance from the measurement, as a part of the measurement."""
        return self.predicted.per_second / self.point.commands_per_s - 1


def is_fitted(point: Point) -> bool:
    """Tell whether a sheet comes from this point."""
    small = point.cores is not None and not point.one_key
    return small and (point.brokers, point.partitions, point.workers) == (1, FITTED, 1)


def sheet(points: Sequence[Point], shape: str) -> Sheet | None:
    """Return the costs of a shape; None where the point that they come from was not measured."""
    of_shape = [point for point in points if point.shape == shape]
    found = next(filter(is_fitted, of_shape), None) or next((each for each in of_shape if _is_free(each)), None)
    if found is None:
        return None
    clusters = [point for point in of_shape if point.brokers > 1 and _is_free(point)]
    measured = {point.brokers: point for point in (*clusters, found)}
    return Sheet(
        items=found.items,
        cost_us={part: cost for part, cost in found.cost_us.items() if part != "kafka"},
        broker_us={replication: point.cost_us["kafka"] for replication, point in measured.items()},
        wire_bytes={replication: point.wire_bytes for replication, point in measured.items()},
        idle=_idle_of_one(found),
    )


def check(points: Sequence[Point], machine: float) -> list[Checked]:
    """Return the model's word on every point of a shape that has a fitted sheet; `machine` is in cores."""
    checked = []
    for point in points:
        fitted = any(is_fitted(each) and each.shape == point.shape for each in points)
        costs = sheet(points, point.shape) if fitted else None
        if costs is not None:
            known = replace(costs, idle=_idle_of_one(point))
            predicted = callers_bound(known, as_cluster(point, machine))
            checked.append(Checked(point, predicted, is_fitted(point)))
    return checked


def as_cluster(point: Point, machine: float) -> Cluster:
    """Return what was set up for a point, in the model's words."""
    cores = {} if point.cores is None else dict.fromkeys(("policy", "hsm"), point.cores)
    return Cluster(
        partitions=point.partitions,
        workers={"policy": point.workers, "hsm": point.workers, "projector": 1},
        brokers=point.brokers,
        replication=point.brokers,
        cores={**cores, "kafka": machine, "postgres": machine},
        busiest=point.busiest,
        shares="one key" if point.one_key else "even",
        machine=machine,
    )


def _is_free(point: Point) -> bool:
    return point.cores is None and not point.one_key


def _idle_of_one(point: Point) -> dict[str, float]:
    """What one process of each part uses without load."""
    count = {"policy": point.workers, "hsm": point.workers, "kafka": point.brokers}
    return {part: point.idle[part] / count.get(part, 1) for part in PARTS}
