"""Hold the root ceremony of some settings and print the deployment: `python -m tests.support.root_ceremony FILE`.

In a process of its own, because it must have the PKCS#11 library for itself.
"""

import asyncio
import sys
import time
from pathlib import Path

from keyfold.bus import BusSettings, KafkaBus
from keyfold.ceremony import initialise
from keyfold.config import export_softhsm2_conf, load_config


def main() -> None:
    """Begin the deployment."""
    config = load_config(Path(sys.argv[1]))
    export_softhsm2_conf(config)
    bus = KafkaBus(BusSettings.of(config, "root"))
    made = asyncio.run(initialise(config, bus, lambda: time.time_ns() // 1_000_000, lambda _line: None))
    sys.stdout.write(made.deployment + "\n")


if __name__ == "__main__":
    main()
