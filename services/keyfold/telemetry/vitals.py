"""Liveness and readiness of one process, as values: what was looked at, and what that means.

A look runs on the event loop, so it may read whatever the service holds; the report that it leaves is immutable, and
any thread may ask it. That the event loop itself has stopped is told by the report's age.

Alive means that starting the process again would not help: the event loop turns, and each main loop that is at work
made a step within its bound. Ready means that the process does what it is for, now. What is not there (a broker, a
token) makes a process not ready and leaves it alive: a restart does not bring it back.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from keyfold.logging import get_logger

LOOP_SECONDS: Final = 30.0
"""An event loop that made no turn for so long is taken for stuck. Longer than any call of a software token."""

STEP_SECONDS: Final = 120.0
"""A main loop that made no step for so long is taken for stuck. Each of its waits has a shorter deadline."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `vital` ones decide about liveness too; `reason` names no secret."""

    name: str
    ok: bool
    reason: str = ""
    vital: bool = False


Probe = Callable[[], Iterable[Check]]


@dataclass(frozen=True, slots=True)
class Report:
    """What one look found; `taken_s` is when, by the monotonic clock."""

    checks: tuple[Check, ...]
    taken_s: float

    def loop(self, now_s: float) -> Check:
        """Tell whether the event loop has turned since."""
        age_s = now_s - self.taken_s
        ok = age_s <= LOOP_SECONDS
        return Check("event-loop", ok, "" if ok else f"made no turn for {age_s:.0f} s", vital=True)


class Vitals:
    """The probes of a process, and the last report. `clock_s` is monotonic."""

    def __init__(self, service: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.service, self._clock_s = service, clock_s
        self._probes: list[Probe] = []
        self._report = Report((Check("start", False, "the process is starting"),), clock_s())

    def add(self, probe: Probe) -> None:
        """Look at this too from now on. A probe is quick, and waits for nothing."""
        self._probes.append(probe)

    def look(self) -> None:
        """Ask all probes and keep what they say. A probe that fails is a check that is not ok, and never vital."""
        if self._probes:
            checks = tuple(check for probe in self._probes for check in _asked(probe))
            self._report = Report(checks, self._clock_s())
        else:
            self._report = Report(self._report.checks, self._clock_s())

    def alive(self) -> tuple[bool, list[Check]]:
        """Tell whether the process is alive, and what was looked at for that. From any thread."""
        vital = [check for check in self._checks() if check.vital]
        return all(check.ok for check in vital), vital

    def ready(self) -> tuple[bool, list[Check]]:
        """Tell whether the process is ready, and what was looked at. From any thread."""
        checks = self._checks()
        return all(check.ok for check in checks), checks

    def _checks(self) -> list[Check]:
        report = self._report
        return [report.loop(self._clock_s()), *report.checks]


def document(service: str, verdict: str, checks: Iterable[Check]) -> dict[str, Any]:
    """Return the answer to a probe as a JSON object."""
    told = [{"name": each.name, "ok": each.ok, **({"reason": each.reason} if each.reason else {})} for each in checks]
    return {"service": service, "status": verdict, "checks": told}


def stepping(name: str, stepped_s: float | None, now_s: float, bound_s: float = STEP_SECONDS) -> Check:
    """The vital check of one main loop; None for one that is not at work, about which there is nothing to say."""
    idle_s = 0.0 if stepped_s is None else now_s - stepped_s
    ok = idle_s <= bound_s
    return Check(name, ok, "" if ok else f"made no step for {idle_s:.0f} s", vital=True)


def _asked(probe: Probe) -> list[Check]:
    try:
        return list(probe())
    except Exception as error:  # noqa: BLE001 - who looks must not break what is looked at
        _log.warning("probe-failed", error=type(error).__name__)
        return [Check("probe", False, f"{type(error).__name__} while looking")]
