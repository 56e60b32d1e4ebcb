"""A whole deployment of its own for tests that break things: started, killed in part, watched until it is quiet.

It wraps `Stack` (which blocks) for asyncio, and runs the root ceremony in a process of its own, because that must have
the PKCS#11 library for itself.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.log_checker import Acknowledged, check_log
from tests.support.log_snapshot import TicketRecorder, read_logs
from tests.support.log_story import Story
from tests.support.projection_checker import check_projection, check_states

from keyfold.bus import Bus, BusSettings, KafkaBus
from keyfold.client import Keyfold
from keyfold.config import Config
from keyfold.embedded import Stack
from keyfold.events import topics
from keyfold.events.errors import KeyfoldError
from keyfold.projections.store import PostgresQueries, PostgresSchemas

KEEP = "KEYFOLD_FAULTS_KEEP"
_QUIET_S = 6.0


class WholeSystem:
    """A deployment in one directory. Nothing starts again by itself what was killed."""

    def __init__(self, directory: Path) -> None:
        self.stack = Stack(directory, development=True)

    @property
    def config(self) -> Config:
        """The settings on disk."""
        return self.stack.config

    @property
    def deployment(self) -> str:
        """The root identity's fingerprint."""
        return self.config.deployment or ""

    def begin(self) -> None:
        """Start everything, with the root ceremony in between. Blocks."""
        config = self.stack.start_infrastructure()
        program = [sys.executable, "-m", "keyfold.cli.main", "--data", str(config.data_directory), "init"]
        done = subprocess.run(
            [*program, "--existing", "--development"], capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise AssertionError(f"the root ceremony failed: {done.stderr}")
        self.stack.start_services()

    def bus(self) -> Bus:
        """A bus of this deployment."""
        return KafkaBus(BusSettings(bootstrap_servers=self.config.bootstrap_servers, client_id="faults"))

    def client(self, identity: Path | str, **settings: Any) -> Keyfold:
        """A client to be entered; `identity` is a name in the identities directory, or a file."""
        path = identity if isinstance(identity, Path) else self.config.identities_directory / f"{identity}.json"
        return Keyfold.connect(bus=self.bus(), identity=path, deployment=self.deployment, **settings)

    async def kill(self, name: str) -> None:
        """kill -9, as it is said."""
        assert await asyncio.to_thread(self.stack.kill, name) is not None, f"{name} did not run"

    async def start(self, name: str) -> None:
        """Start a part again, and return when it serves."""
        await asyncio.to_thread(self.stack.start, name)

    async def quiet(self, timeout_s: float = 90.0) -> None:
        """Wait until nothing has been written for a while and everything is folded."""
        admin, queries = self.bus().admin(), PostgresQueries(self.config.postgres_dsn)
        await admin.start()
        deadline, since = time.monotonic() + timeout_s, time.monotonic()
        before: dict[str, dict[int, int]] = {}
        try:
            while True:
                names = (topics.COMMANDS, topics.AUTHORIZED, topics.EVENTS, topics.KEYSTORE, topics.REPLIES)
                ends = {name: dict(await admin.end_offsets(name, committed=False)) for name in names}
                stable = await admin.end_offsets(topics.EVENTS, committed=True)
                folded = {row.partition: row.next for row in await queries.progress()}
                late = {p: end - folded.get(p, 0) for p, end in stable.items() if folded.get(p, 0) < end}
                if late or ends != before:
                    before, since = ends, time.monotonic()
                if time.monotonic() - since >= _QUIET_S:
                    return
                assert time.monotonic() < deadline, f"it does not become quiet: not folded {late}"
                await asyncio.sleep(0.5)
        finally:
            await admin.stop()
            await queries.close()

    async def check(self, acknowledged: Acknowledged, recorder: TicketRecorder) -> Story:
        """Read everything and apply all rules."""
        config, bus = self.config, self.bus()
        logs = await read_logs(bus, config.partitions, recorder)
        story = check_log(self.deployment, config.partitions, logs, acknowledged)
        queries, schemas = PostgresQueries(config.postgres_reader_dsn), PostgresSchemas(config.postgres_dsn)
        store = schemas.partition_store((await schemas.status()).live)
        try:
            await check_projection(story, queries, store.load)
        finally:
            await store.close()
            await schemas.close()
            await queries.close()
        await check_states(story, bus)
        return story


@asynccontextmanager
async def whole_system(directory: Path) -> AsyncIterator[WholeSystem]:
    """Begin a deployment and remove it afterwards, whatever happened; KEYFOLD_FAULTS_KEEP=1 keeps its directory."""
    system = WholeSystem(directory)
    try:
        await asyncio.to_thread(system.begin)
        yield system
    finally:
        try:
            await asyncio.to_thread(system.stack.stop if os.environ.get(KEEP) else system.stack.reset)
        except KeyfoldError as error:
            sys.stderr.write(f"{error}\n")
