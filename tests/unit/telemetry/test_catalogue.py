"""Metrics, dashboard, rules and page name the same things: every metric has help, few labels, and is explained."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

import keyfold

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "observability"
ALLOWED_LABELS = {
    "topic", "partition", "check", "verb", "code", "stage", "percent", "limit", "type", "reason", "state", "schema",
    "outcome", "detector", "severity", "kind",
}  # fmt: skip
FOREIGN = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
NAME = re.compile(r"\b(?:keyfold|process)_[a-z_]+\b|\bup\b")
LABEL = re.compile(r"\bby \(([^)]*)\)|\{([^}]*)\}")
RESULT = {"job", "instance", "le"}


def declared() -> dict[str, Any]:
    """Every metric of the project, by the name under which it is declared (without `_total`)."""
    modules = [
        each.name for each in pkgutil.walk_packages(keyfold.__path__, "keyfold.") if each.name.endswith(".metrics")
    ]
    found = [value for name in modules for value in vars(importlib.import_module(name)).values()]
    return {each._name: each for each in found if isinstance(each, MetricWrapperBase) and not each._labelvalues}


def exposed() -> dict[str, set[str]]:
    """The names that are scraped, with their labels."""
    found: dict[str, set[str]] = {}
    for name, metric in declared().items():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric._type, ("",))
        found |= {name + ending: set(metric._labelnames) for ending in endings}
    return found


def panels() -> Iterator[dict[str, Any]]:
    dashboard = json.loads((DOCS / "grafana.json").read_text("utf-8"))
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def rules() -> list[tuple[str, str]]:
    """Name and expression of each rule, from the file as it is written (one document, no anchors)."""
    text = (DOCS / "alerts.yml").read_text("utf-8")
    found = re.findall(r"- alert: (\w+)\n\s+expr: (>-\n(?:\s{10}.*\n)+|.*\n)", text)
    return [(name, expression.removeprefix(">-")) for name, expression in found]


def expressions() -> list[tuple[str, str]]:
    shown = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return shown + rules()


def test_metrics_are_named_and_labelled_as_prometheus_wants() -> None:
    """One prefix, a unit where there is one, help that is a sentence, and labels that are few and bounded."""
    metrics = declared()
    assert len(metrics) > 60
    for name, metric in metrics.items():
        assert name.startswith("keyfold_"), name
        assert re.fullmatch(r"[a-z_]+", name), name
        assert metric._documentation.endswith("."), name
        assert set(metric._labelnames) <= ALLOWED_LABELS, name
        assert metric._type != "histogram" or name.endswith(("_seconds", "_commands", "_tickets", "_records")), name


@pytest.mark.parametrize(("where", "expression"), expressions(), ids=lambda value: str(value)[:40])
def test_what_dashboard_and_rules_ask_for_exists(where: str, expression: str) -> None:
    """Every metric, and every label of it that is asked for or shown."""
    known = exposed()
    asked = set(NAME.findall(expression))
    assert asked, where
    assert asked <= known.keys() | FOREIGN
    labels = set().union(*(known.get(name, set()) for name in asked)) | RESULT
    for by, selected in LABEL.findall(expression):
        names = re.findall(r"[a-z_]+", by) + re.findall(r"([a-z_]+)\s*(?:=~|!=|=)", selected)
        assert set(names) <= labels, where


def test_every_rule_is_whole() -> None:
    """Each says how bad it is, what is wrong, and what to do; names are used once."""
    text = (DOCS / "alerts.yml").read_text("utf-8")
    names = re.findall(r"- alert: (\w+)", text)
    assert [name for name, _ in rules()] == names
    assert len(set(names)) == len(names) > 20
    for part in (r"labels: \{severity: (?:critical|warning)\}", 'summary: "', 'action: "'):
        assert len(re.findall(part, text)) == len(names), part


def test_the_dashboard_can_be_imported() -> None:
    """Ids are given once, panels do not lie on each other, and each says what it shows."""
    found = list(panels())
    assert len({panel["id"] for panel in found}) == len(found) > 20
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found]
    assert len(set(places)) == len(places)
    assert all(panel["description"] and panel["datasource"]["uid"] == "${datasource}" for panel in found)


def test_every_metric_is_explained_on_the_page() -> None:
    """docs/observability.md lists each metric with its labels, and no other."""
    text = (ROOT / "docs" / "observability.md").read_text("utf-8")
    table = text.split("<!-- metrics:begin -->", 1)[1].split("<!-- metrics:end -->", 1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    said = {row[0].strip("`"): set(re.findall(r"`([a-z]+)`", row[1])) for row in rows}
    names = {
        name + ("_total" if each._type == "counter" else ""): set(each._labelnames) for name, each in declared().items()
    }
    assert said == names
