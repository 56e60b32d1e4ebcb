"""A worker of analytics as a process: `python -m tests.support.analytics_process BROKERS DIRECTORY INSTANCE N`.

Its one detector finds every tick. It reads slowly, so that there is time to kill it.
"""

import asyncio
import sys
from pathlib import Path

from tests.support.analytics_worker import worker
from tests.unit.analytics.seen import Counting


async def main(bootstrap_servers: str, directory: str, instance: str, partitions: str) -> None:
    """Run until killed."""
    async with worker(
        bootstrap_servers,
        Path(directory),
        partitions=int(partitions),
        instance=instance,
        detectors=[Counting()],
        lateness_s=2.0,
        session_s=6.0,
        batch_events=100,
    ) as running:
        await running.task


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
