"""The tables of docs/capacity.md: what a command costs, the model beside the measurements, what clusters would do."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from benchmarks.capacity_checking import Checked, check, sheet
from benchmarks.capacity_model import (
    PARTS,
    SHARING,
    Bound,
    Cluster,
    Cost,
    Sheet,
    callers_bound,
    capacities,
    sustained_bound,
)
from benchmarks.capacity_points import WORKERS, Point

BEGIN: Final = "<!-- capacity:begin -->"
END: Final = "<!-- capacity:end -->"
BATCH: Final = 30.0
"""Commands of a transaction in what is said of clusters: about sixty wait at each partition."""
BROKER_CORES: Final = 4.0
POSTGRES_CORES: Final = 4.0
NETWORK_BYTES_S: Final = 1.25e9
"""Ten gigabits a second, at each broker."""
PROCESSES: Final = (1, 2, 4, 8, 16, 32)
PARTITIONS: Final = (12, 64)
BROKERS: Final = (3, 5)
_REPLICATION: Final = 3
_CEILINGS: Final = (
    ("one key, by its policy processor", "policy", BROKERS[0]),
    ("one key, by its worker", "hsm", BROKERS[0]),
    ("the notary", "notary", BROKERS[0]),
    ("Postgres", "postgres", BROKERS[0]),
    *((f"{brokers} brokers", "kafka", brokers) for brokers in BROKERS),
    *((f"the network of {brokers} brokers", "network", brokers) for brokers in BROKERS),
)
_COLUMNS: Final = ("core of each", "most partitions", "in a transaction", "at the quota")
_NAMES: Final = {"kafka": "brokers", "hsm": "HSM worker", "policy": "policy processor", "client": "clients (SDK)"}


def report(points: Sequence[Point], machine: float) -> str:
    """Return all tables; of clusters only where replicas were measured. `machine` is the cores there were."""
    checked, sheets = check(points, machine), _sheets(points, machine)
    replicated = {name: found for name, found in sheets.items() if _REPLICATION in found.brokers}
    parts = [_costs(sheets), _checked(checked), _errors(checked)]
    if replicated:
        parts += [_ceilings(replicated), _clusters(replicated)]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def between_marks(page: str, text: str) -> str:
    """Return a page with a text between its marks. Raises `ValueError` if it has none."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"put the lines {BEGIN} and {END} where the tables are to be")
    return f"{before}{mark}\n{text}{end}{after}"


def line(point: Point) -> str:
    """Return one line on a point, as it is measured."""
    cores = "free" if point.cores is None else f"{point.cores:.0%} of a core"
    costs = ", ".join(f"{part} {cost:,.0f}" for part, cost in sorted(point.cost_us.items()))
    busy = ", ".join(f"{service} {part:.0%}" for service, part in sorted(point.throttled.items()))
    batch = ", ".join(f"{service} {number:.1f}" for service, number in sorted(point.batch.items()))
    return (
        f"{_setting(point)}, workers {cores}: {point.commands_per_s * point.items:,.0f} op/s, "
        f"p50 {point.p50_ms:,.0f} ms, p99 {point.p99_ms:,.0f} ms, {point.failed} failed, {point.used:.2f} cores used, "
        f"late {point.late_s:.1f} s; transactions of: {batch}; µs a command: {costs}; at the quota: {busy or '-'}"
    )


def _setting(point: Point) -> str:
    keys = ", one key" if point.one_key else ""
    return f"{point.shape}{keys}: {point.brokers} broker(s), P = {point.partitions}, W = {point.workers}"


def _costs(sheets: Mapping[str, Sheet]) -> Iterator[str]:
    yield "### What a command costs"
    yield ""
    yield (
        "Microseconds of processor time for one command in transactions of n commands; then, for n = "
        f"{BATCH:.0f}, of one command, and in brackets of one operation. Idle: thousandths of a core, one process."
    )
    yield ""
    yield "| part | " + " | ".join(f"{name} | n = {BATCH:.0f}" for name in sheets) + " | idle |"
    yield "|---|" + "---:|" * (2 * len(sheets) + 1)
    first = next(iter(sheets.values()))
    for part in (*(part for part in PARTS if part != "kafka"), "client"):
        cells = " | ".join(_cost(found.costs[part], found.items) for found in sheets.values())
        yield f"| {_NAMES.get(part, part)} | {cells} | {_idle(first, part)} |"
    for replication in sorted({each for found in sheets.values() for each in found.brokers}):
        cells = " | ".join(_cost(found.brokers.get(replication), found.items) for found in sheets.values())
        yield f"| brokers, replication {replication} | {cells} | {_idle(first, 'kafka')} |"
    for replication in sorted({each for found in sheets.values() for each in found.wire}):
        cells = " | ".join(_cost(found.wire.get(replication), found.items) for found in sheets.values())
        yield f"| bytes over the wire, replication {replication} | {cells} | |"
    cells = " | ".join(f"{found.efficiency:.0%} | " for found in sheets.values())
    yield f"| what a small core gives of its part | {cells} | |"


def _checked(checked: Sequence[Checked]) -> Iterator[str]:
    yield "### The model beside the measurements"
    yield ""
    yield f"| load | brokers | P | W | {' | '.join(_COLUMNS)} | op/s | model | error | slowest |"
    yield "|---|" + "---:|" * (len(_COLUMNS) + 6) + "---|"
    for each in checked:
        point, items = each.point, each.point.items
        cores = "free" if point.cores is None else f"{point.cores:.0%}"
        most = ", ".join(str(point.busiest[service]) for service in WORKERS)
        quota = ", ".join(f"{point.throttled[service]:.0%}" for service in WORKERS if point.throttled)
        batch = ", ".join(f"{point.batch[service]:.0f}" for service in WORKERS)
        name = f"{point.shape}, one key" if point.one_key else point.shape
        name = f"{name}, {point.callers} callers"
        error = "fitted" if each.fitted else f"{each.error:+.0%}"
        yield (
            f"| {name} | {point.brokers} | {point.partitions} | {point.workers} | "
            f"{cores} | {most} | {batch} | {quota or '–'} | "
            f"{point.commands_per_s * items:,.0f} | {each.predicted.per_second * items:,.0f} | {error} | "
            f"{_NAMES.get(each.predicted.part, each.predicted.part)} |"
        )


def _errors(checked: Sequence[Checked]) -> Iterator[str]:
    errors = sorted(abs(each.error) for each in checked if not each.fitted)
    if errors:
        median, worst = statistics.median(errors), errors[-1]
        yield f"Predictions: {len(errors)}. Median of the errors' sizes {median:.0%}, greatest {worst:.0%}."


def _ceilings(sheets: Mapping[str, Sheet]) -> Iterator[str]:
    yield "### What does not grow with workers"
    yield ""
    yield (
        f"Operations per second that each could do alone, by the model, with n = {BATCH:.0f}. {BROKER_CORES:.0f} cores "
        f"for each broker and {POSTGRES_CORES:.0f} for Postgres, replication {_REPLICATION}, ten gigabits a second at "
        "each broker."
    )
    yield ""
    yield "| | " + " | ".join(sheets) + " |"
    yield "|---|" + "---:|" * len(sheets)
    for words, part, brokers in _CEILINGS:
        planned = replace(as_planned(PARTITIONS[0], 1, brokers), shares="one key")
        cells = (f"{capacities(found, planned)[part] * found.items:,.0f}" for found in sheets.values())
        yield f"| {words} | {' | '.join(cells)} |"


def _clusters(sheets: Mapping[str, Sheet]) -> Iterator[str]:
    yield "### What a cluster would do"
    yield ""
    yield (
        "Operations per second; in brackets what is slowest. M policy processors, M workers and M projectors with a "
        "core each, brokers, Postgres and network as above."
    )
    for name, found in sheets.items():
        yield ""
        yield f"**{name}**"
        yield ""
        columns = [f"{words}, B = {brokers}" for brokers in BROKERS for words in ("callers", "sustained")]
        yield "| P | M | " + " | ".join(columns) + " |"
        yield "|---:|---:|" + "---|" * len(columns)
        for partitions in PARTITIONS:
            for processes in PROCESSES:
                cells = [_bounds(found, as_planned(partitions, processes, brokers)) for brokers in BROKERS]
                yield f"| {partitions} | {processes} | {' | '.join(cells)} |"


def as_planned(partitions: int, processes: int, brokers: int) -> Cluster:
    """Return a cluster of the last table: as many projectors as policy processors and workers."""
    return Cluster(
        partitions=partitions,
        workers=dict.fromkeys(SHARING, processes),
        batch=dict.fromkeys(WORKERS, BATCH),
        brokers=brokers,
        replication=_REPLICATION,
        cores={"kafka": BROKER_CORES, "postgres": POSTGRES_CORES},
        network_bytes_s=NETWORK_BYTES_S,
    )


def _bounds(found: Sheet, cluster: Cluster) -> str:
    return " | ".join(
        _bound(each, found.items) for each in (callers_bound(found, cluster), sustained_bound(found, cluster))
    )


def _bound(bound: Bound, items: int) -> str:
    return f"{bound.per_second * items:,.0f} ({_NAMES.get(bound.part, bound.part)})"


def _cost(cost: Cost | None, items: int) -> str:
    """Two cells: the formula, and what it says for transactions of the usual size."""
    if cost is None:
        return "– | –"
    each = cost.each(BATCH)
    formula = f"{cost.own:,.0f} + {cost.transaction:,.0f} ÷ n"
    return f"{formula} | {each:,.0f}" + (f" ({each / items:,.1f})" if items > 1 else "")


def _idle(found: Sheet, part: str) -> str:
    return f"{found.idle[part] * 1e3:.0f}" if part in found.idle else "–"


def _sheets(points: Sequence[Point], machine: float) -> dict[str, Sheet]:
    found = {name: sheet(points, name, machine) for name in dict.fromkeys(point.shape for point in points)}
    return {name: each for name, each in found.items() if each is not None}
