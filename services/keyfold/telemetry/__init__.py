"""What a process tells about itself while it runs: metrics, liveness, readiness and traces.

It knows no service: each hands in what it looks at. Nothing here decides anything, and a process serves the same with
all of it off, as it is by default.
"""

from keyfold.telemetry.lag import LagWatch
from keyfold.telemetry.rising import Rising
from keyfold.telemetry.serving import Served, served, serving
from keyfold.telemetry.vitals import Check, Vitals, stepping

__all__ = ["Check", "LagWatch", "Rising", "Served", "Vitals", "served", "serving", "stepping"]
