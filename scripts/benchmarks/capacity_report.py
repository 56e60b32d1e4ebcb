"""The tables of docs/capacity.md: what a command costs, the model beside the measurements, what clusters would do."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from benchmarks.capacity_checking import Checked, check, sheet
from benchmarks.capacity_model import PARTS, SHARING, Bound, Cluster, Sheet, callers_bound, capacities, sustained_bound
from benchmarks.capacity_points import WORKERS, Point

BEGIN: Final = "<!-- capacity:begin -->"
END: Final = "<!-- capacity:end -->"
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
    """Return all tables; `machine` is how many cores were there."""
    checked = check(points, machine)
    parts = [_costs(points), _checked(checked), _errors(checked), _ceilings(points), _clusters(points)]
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


def _costs(points: Sequence[Point]) -> Iterator[str]:
    shapes = [(name, found) for name in _shapes(points) if (found := sheet(points, name)) is not None]
    yield "### What a command costs"
    yield ""
    yield "Microseconds of processor time for one command; in brackets for one operation. Idle: thousandths of a core."
    yield ""
    yield "| part | " + " | ".join(name for name, _ in shapes) + " | idle |"
    yield "|---|" + "---:|" * (len(shapes) + 1)
    for part in (*(part for part in PARTS if part != "kafka"), "client"):
        cells = " | ".join(_cost(found.cost_us[part], found.items) for _, found in shapes)
        idle = f"{shapes[0][1].idle[part] * 1e3:.0f}" if part in PARTS else "–"
        yield f"| {_NAMES.get(part, part)} | {cells} | {idle} |"
    for part in WORKERS:
        cells = " | ".join(_transaction(found, part) for _, found in shapes)
        yield f"| a transaction of the {_NAMES[part]} | {cells} | |"
    for replication in sorted({each for _, found in shapes for each in found.broker_us}):
        cells = " | ".join(_at(found.broker_us.get(replication), found.items) for _, found in shapes)
        yield f"| brokers, replication {replication} | {cells} | {shapes[0][1].idle['kafka'] * 1e3:.0f} |"
    for replication in sorted({each for _, found in shapes for each in found.wire_bytes}):
        sizes = (found.wire_bytes.get(replication) for _, found in shapes)
        cells = " | ".join("–" if size is None else f"{size / 1e3:,.1f} kB" for size in sizes)
        yield f"| bytes over the wire, replication {replication} | {cells} | |"


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


def _ceilings(points: Sequence[Point]) -> Iterator[str]:
    yield "### What does not grow with workers"
    yield ""
    yield (
        f"Operations per second that each could do alone, by the model. {BROKER_CORES:.0f} cores for each broker and "
        f"{POSTGRES_CORES:.0f} for Postgres, replication {_REPLICATION}, ten gigabits a second at each broker."
    )
    yield ""
    shapes = _known(points)
    yield "| | " + " | ".join(name for name, _ in shapes) + " |"
    yield "|---|" + "---:|" * len(shapes)
    for words, part, brokers in _CEILINGS:
        planned = replace(as_planned(PARTITIONS[0], 1, brokers), shares="one key")
        cells = (f"{capacities(found, planned)[part] * found.items:,.0f}" for _, found in shapes)
        yield f"| {words} | {' | '.join(cells)} |"


def _clusters(points: Sequence[Point]) -> Iterator[str]:
    yield "### What a cluster would do"
    yield ""
    yield (
        "Operations per second; in brackets what is slowest. M policy processors, M workers and M projectors with a "
        "core each, brokers, Postgres and network as above."
    )
    for name, found in _known(points):
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


def _cost(cost_us: float, items: int) -> str:
    return f"{cost_us:,.0f}" if items == 1 else f"{cost_us:,.0f} ({cost_us / items:,.1f})"


def _transaction(found: Sheet, part: str) -> str:
    return f"{found.transaction_us[part]:,.0f}" if part in found.transaction_us else "in each command"


def _at(cost_us: float | None, items: int) -> str:
    return "–" if cost_us is None else _cost(cost_us, items)


def _known(points: Sequence[Point]) -> list[tuple[str, Sheet]]:
    """Return the shapes of which enough is known to say what clusters would do."""
    sheets = [(name, sheet(points, name)) for name in _shapes(points)]
    return [(n, found) for n, found in sheets if found and found.transaction_us and _REPLICATION in found.broker_us]


def _shapes(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.shape for point in points))
