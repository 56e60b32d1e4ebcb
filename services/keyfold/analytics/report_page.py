"""A report as one HTML page that needs nothing else: Plotly's script is in it, and it may load nothing from anywhere.

Everything that comes from the log (names, sentences, codes) is escaped, in tables as in drawings. The drawing library
is of the extra `analytics`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

from keyfold.analytics.findings import SEVERITIES
from keyfold.analytics.incidents import Incident
from keyfold.analytics.observations import KEY, PRINCIPAL
from keyfold.analytics.report import OTHERS, Report, Series, Totals
from keyfold.events.times import to_text

MAX_LINES: Final = 8
MAX_ROWS: Final = 100
POLICY: Final = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
COLOURS: Final = {"low": "#8a9099", "medium": "#d99a16", "high": "#d4541e", "critical": "#a3123a"}
_LINES: Final = ("#2f6fb0", "#3d9a6d", "#b0622f", "#7a52a8", "#2fa3a8", "#a8527c", "#7d8a2f", "#55606e", "#b9c0c8")
_CONFIG: Final = {"displaylogo": False, "responsive": True, "displayModeBar": False}
_STYLE: Final = """
:root { color-scheme: light; font: 15px/1.45 system-ui, sans-serif; color: #1d2530; background: #f5f6f8; }
body { max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .5rem; }
.meta { color: #5a6675; margin: .2rem 0 1.2rem; }
section { background: #fff; border: 1px solid #e1e5ea; border-radius: 8px; padding: 1rem; margin: 0 0 1rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; } .pair section { min-width: 0; }
.numbers { display: flex; gap: 2.5rem; } .numbers b { display: block; font-size: 1.4rem; font-weight: 600; }
.numbers span { color: #5a6675; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; }
th { text-align: left; color: #5a6675; font-weight: 600; }
th, td { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #eceff2; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td.id { font-family: ui-monospace, monospace; }
.badge { color: #fff; border-radius: 4px; padding: .05rem .4rem; font-size: .78rem; }
@media (max-width: 800px) { .pair { grid-template-columns: 1fr; } }
"""


def page(report: Report, *, deployment: str, made_at: str) -> str:
    """Return the page. `made_at` is when it was made, as text."""
    from plotly.offline import get_plotlyjs

    slots = report.slots
    times = f"{_time(slots[0])} to {_time(slots[-1] + report.slot_ms)}" if slots else "nothing was seen"
    meta = f"{escape(times)} (UTC) · deployment {escape(deployment[:16])}… · made {escape(made_at)}"
    parts = [
        f"<h1>Keyfold: use and incidents</h1><p class='meta'>{meta}</p>",
        _numbers(report),
        _section("Operations over time, by verb, with incidents", _timeline(report)),
        "<div class='pair'>",
        _section("By principal", _lines(report, report.principals, "principals", _plain_name)),
        _section("By key", _lines(report, report.keys, "keys", _short_key)),
        "</div>",
        _section("Denied, failed, not admitted", _bars(report)),
        _section("Incidents", _incidents(report)),
        _section("Principals", _totals(report.of(PRINCIPAL), "PRINCIPAL")),
        _section("Keys", _totals(report.of(KEY), "KEY")),
    ]
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name='viewport' content='width=device-width'><title>Keyfold: use and incidents</title>"
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head>\n<body>{''.join(parts)}</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>\n"


def _numbers(report: Report) -> str:
    worst = Counter(each.severity for each in report.incidents.values())
    told = ", ".join(f"{worst[severity]} {severity}" for severity in reversed(SEVERITIES) if worst[severity])
    pairs = [
        (f"{sum(counts.total() for counts in report.verbs.counts.values()):,}", "operations"),
        (f"{len(report.of(PRINCIPAL)):,}", "principals"),
        (f"{len(report.of(KEY)):,}", "keys"),
        (f"{sum(each.denied for _, each in report.of(PRINCIPAL)):,}", "denied commands"),
        (f"{len(report.incidents):,}", f"incidents{f' ({told})' if told else ''}"),
    ]
    cells = "".join(f"<div><b>{escape(number)}</b><span>{escape(what)}</span></div>" for number, what in pairs)
    return f"<section class='numbers'>{cells}</section>\n"


# Drawings


def _timeline(report: Report) -> str:
    import plotly.graph_objects as go

    figure = _areas(report, report.verbs, _plain_name)
    tops: Counter[int] = Counter()
    for counts in report.verbs.counts.values():
        tops.update(counts)
    height = 1.08 * max(tops.values(), default=1)
    for severity in SEVERITIES:
        found = [each for each in report.incidents.values() if each.severity == severity]
        if found:
            figure.add_trace(
                go.Scatter(
                    x=[_time(each.opened_ms) for each in found],
                    y=[height] * len(found),
                    mode="markers",
                    name=f"incident: {severity}",
                    marker={"symbol": "triangle-down", "size": 12, "color": COLOURS[severity]},
                    text=[_hover(each) for each in found],
                    hovertemplate="%{text}<extra></extra>",
                )
            )
    return _drawn(report, figure, "timeline", 340)


def _areas(report: Report, series: Series, label: Any) -> Any:
    import plotly.graph_objects as go

    figure, slots = go.Figure(), report.slots
    for number, (name, counts) in enumerate(series.largest(MAX_LINES)):
        figure.add_trace(
            go.Scatter(
                x=[_time(slot) for slot in slots],
                y=[counts[slot] for slot in slots],
                name=escape(label(name)),
                stackgroup="all",
                mode="lines",
                line={"width": 0.8, "color": _LINES[number % len(_LINES)], "shape": "hv"},
            )
        )
    return figure


def _lines(report: Report, series: Series, name: str, label: Any) -> str:
    return _drawn(report, _areas(report, series, label), name, 300)


def _bars(report: Report) -> str:
    import plotly.graph_objects as go

    figure, slots = go.Figure(), report.slots
    for number, (name, counts) in enumerate(report.refusals.largest(MAX_LINES)):
        times = [slot for slot in slots if counts[slot]]
        figure.add_trace(
            go.Bar(
                x=[_time(slot) for slot in times],
                y=[counts[slot] for slot in times],
                width=report.slot_ms,
                name=escape(name),
                marker={"color": _LINES[number % len(_LINES)]},
            )
        )
    figure.update_layout(barmode="stack")
    return _drawn(report, figure, "refusals", 240)


def _drawn(report: Report, figure: Any, name: str, height: int) -> str:
    """Return a drawing as HTML. Plotly writes `<`, `>` and `/` of its data as escapes, so nothing ends the script."""
    slots = report.slots
    span = [_time(slots[0]), _time(slots[-1] + report.slot_ms)] if slots else None
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 50, "r": 10, "t": 10, "b": 30},
        legend={"orientation": "h", "y": -0.18, "font": {"size": 11}, "traceorder": "normal"},
        font={"family": "system-ui, sans-serif", "size": 12},
        hoverlabel={"align": "left"},
        yaxis={"rangemode": "tozero"},
        xaxis={"type": "date", "range": span},
    )
    made = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=_CONFIG, default_height=height)
    return str(made)


# Tables


def _incidents(report: Report) -> str:
    ordered = sorted(report.incidents.values(), key=lambda each: (-each.opened_ms, each.id))
    rows = [
        (
            _cell(_time(each.opened_ms)),
            f"<td><span class='badge' style='background:{COLOURS[each.severity]}'>{escape(each.severity)}</span></td>",
            _cell(each.state + (f": {each.resolution}" if each.resolution else "")),
            _cell(each.sentence),
            _cell(", ".join(each.detectors)),
            _cell(each.id, "id"),
        )
        for each in ordered[:MAX_ROWS]
    ]
    return _table(("OPENED", "SEVERITY", "STATE", "WHAT", "DETECTORS", "INCIDENT"), rows, len(ordered))


def _totals(found: Sequence[tuple[str, Totals]], head: str) -> str:
    rows = [
        (
            _cell(name, "id"),
            *(_number(each) for each in (totals.operations, totals.denied, totals.failed, totals.rejected)),
            _number(totals.incidents),
            _cell(_time(totals.last_ms)),
        )
        for name, totals in found[:MAX_ROWS]
    ]
    return _table((head, "OPERATIONS", "DENIED", "FAILED", "NOT ADMITTED", "INCIDENTS", "LAST SEEN"), rows, len(found))


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], total: int) -> str:
    lines = [f"<tr>{''.join(row)}</tr>" for row in rows]
    if not lines:
        return "<p class='meta'>none</p>"
    numeric = {"OPERATIONS", "DENIED", "FAILED", "NOT ADMITTED", "INCIDENTS"}
    head = "".join(f"<th class='n'>{name}</th>" if name in numeric else f"<th>{name}</th>" for name in headers)
    more = f"<p class='meta'>and {total - len(lines):,} more</p>" if total > len(lines) else ""
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>{more}"


def _cell(text: str, kind: str = "") -> str:
    return f"<td class='{kind}'>{escape(text)}</td>" if kind else f"<td>{escape(text)}</td>"


def _number(number: int) -> str:
    return f"<td class='n'>{number:,}</td>"


def _hover(incident: Incident) -> str:
    text = incident.sentence if len(incident.sentence) <= 200 else incident.sentence[:199] + "…"
    return f"{escape(incident.severity)}: {escape(text)}"


def _plain_name(name: str) -> str:
    return name


def _short_key(name: str) -> str:
    return name if name == OTHERS else f"…{name[-8:]}"


def _time(time_ms: int) -> str:
    return to_text(time_ms)[:19].replace("T", " ")
