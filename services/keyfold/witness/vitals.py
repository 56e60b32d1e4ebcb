"""What is looked at to say how a witness is: it follows the checkpoints, and none contradicted what it cosigned."""

import time
from collections.abc import Callable, Iterator

from keyfold.telemetry.vitals import Check, stepping
from keyfold.witness import metrics
from keyfold.witness.service import Witness


def checks_of(witness: Witness) -> Callable[[], Iterator[Check]]:
    """Return the probe of one witness."""

    def checks() -> Iterator[Check]:
        metrics.FORKED.set(witness.is_contradicted)
        for partition, checkpoint in witness.seen.items():
            metrics.SIZE.labels(partition).set(checkpoint.size)
        connected = witness.stepped_s is not None
        yield Check("connected", connected, "" if connected else witness.trouble or "connecting")
        told = "a checkpoint contradicted what was cosigned; see the evidence" if witness.is_contradicted else ""
        yield Check("log", not witness.is_contradicted, told)
        yield stepping("main-loop", witness.stepped_s, time.monotonic())

    return checks
