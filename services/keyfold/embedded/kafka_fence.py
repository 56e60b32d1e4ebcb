"""Before a killed broker starts again: its controller runs alone for a moment and notes that the old broker is gone.

A node that is broker and controller starts from metadata in which its killed predecessor still leads everything. Its
transaction coordinator begins at once to complete the transactions that were decided, cannot reach itself yet, and then
learns that no partition has a leader, since the old broker is fenced only now. It takes partitions without a leader
for deleted ones and calls the transaction complete without its commit markers: committed records stay invisible, and a
restored service does the same work twice. With the old broker fenced before the new one reads the metadata, the
coordinator starts only when every partition has a leader again.

A broker that was stopped in order needs none of this. Nothing but the controller's own log is written.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from keyfold.config import write_private
from keyfold.embedded.parts import Part
from keyfold.embedded.processes import Process

NAME: Final = "kafka-fence"
_LOG_SETTINGS: Final = Path(__file__).with_name("kafka-fence-log4j2.properties")
_ACTIVE: Final = "Performing controller activation"
_FENCED: Final = "Fencing broker"
# The old broker's session counts from the controller's start: it only has to be longer than nothing.
_SESSION_MS: Final = "200"
# A broker that never came to serve has nobody to be fenced.
_NOBODY_S: Final = 3.0


def was_killed(data: Path) -> bool:
    """Tell whether the broker that ran last on this storage did not stop in order."""
    return (data / "__cluster_metadata-0").exists() and not (data / ".kafka_cleanshutdown").exists()


def fencing_part(launcher: str, classpath: tuple[str, ...], settings: Path, log: Path) -> Part:
    """Describe the controller alone; it is ready when the old broker is fenced, and has nothing else to do then."""
    log.unlink(missing_ok=True)
    alone = settings.with_name("controller.properties")
    write_private(alone, controller_properties(settings.read_text()))
    java = (launcher, "-Xmx128m", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={_LOG_SETTINGS}")
    return Part(NAME, (*java, *classpath, "kafka.Kafka", str(alone)), ready=_has_fenced(log))


def controller_properties(settings: str) -> str:
    """Return a node's settings as its controller alone takes them."""
    lines = dict(line.split("=", 1) for line in settings.splitlines() if "=" in line)
    lines["process.roles"] = "controller"
    lines["listeners"] = next(place for place in lines["listeners"].split(",") if place.startswith("CONTROLLER:"))
    lines["broker.session.timeout.ms"] = _SESSION_MS
    lines.pop("advertised.listeners", None)
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def _has_fenced(log: Path) -> Callable[[Process], bool]:
    active_since: list[float] = []

    def ready(_process: Process) -> bool:
        said = log.read_text(errors="replace")
        if _ACTIVE in said and not active_since:
            active_since.append(time.monotonic())
        waited = bool(active_since) and time.monotonic() - active_since[0] > _NOBODY_S
        return _FENCED in said or waited

    return ready
