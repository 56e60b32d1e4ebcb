"""All counters of analytics, declared once, with help text. Whoever serves them reads the default registry."""

from typing import Final

from prometheus_client import Counter, Gauge

EVENTS: Final = Counter("keyfold_analytics_events", "Event records read, by what became of them.", ["outcome"])
OBSERVATIONS: Final = Counter("keyfold_analytics_observations", "Observations taken in, each once per entity.")
LATE: Final = Counter("keyfold_analytics_late", "Observations that came after their tick was closed.")
FINDINGS: Final = Counter("keyfold_analytics_findings", "Findings, by detector and severity.", ["detector", "severity"])
ALERTS: Final = Counter("keyfold_analytics_alerts", "Alerts published, by kind.", ["kind"])
ENTITIES: Final = Gauge("keyfold_analytics_entities", "Entities that are remembered, by partition.", ["partition"])
FORGOTTEN: Final = Counter("keyfold_analytics_forgotten", "Entities forgotten: not seen for long, or too many.")
WATERMARK: Final = Gauge(
    "keyfold_analytics_watermark_seconds", "Event time up to which all sources were read, POSIX s.", ["partition"]
)
SOURCE_OFFSET: Final = Gauge(
    "keyfold_analytics_source_offset", "Offset behind the last event record read, by partition.", ["partition"]
)
SOURCE_LAG: Final = Gauge("keyfold_analytics_source_lag", "Offsets between it and the partition's end.", ["partition"])
