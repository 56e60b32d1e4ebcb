"""Topics for a restore: made without the brokers' clock, compaction and retention, and given their settings later.

For clusters that hold nothing of Keyfold's yet. What the topics are filled with is not known here.
"""

import asyncio
from dataclasses import replace
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient

from keyfold.bus import teardown
from keyfold.bus.admin import KafkaAdmin
from keyfold.bus.alter_configs import AlterConfigs
from keyfold.bus.errors import BusError, NotAuthorized, TopicMismatch, is_refusal, unavailable
from keyfold.bus.settings import BusSettings
from keyfold.bus.topic_plan import plan
from keyfold.events.topics import TOPICS

_LOOK_S: Final = 0.2


class Refilling:
    """The topics of one deployment before and after they are filled."""

    def __init__(self, settings: BusSettings, partitions: int, *, replication_factor: int) -> None:
        self._settings, self._partitions, self._factor = settings, partitions, replication_factor
        self._in_sync = 2 if replication_factor > 2 else 1

    async def make(self) -> None:
        """Make all topics of the table. Raises `BusError` where one is there, and then makes none."""
        admin = KafkaAdmin(self._settings)
        await admin.start()
        try:
            names = {row.name for row in TOPICS}
            if present := sorted(names & await self._asked(lambda client: client.list_topics())):
                raise BusError(f"the cluster is not empty: it has {', '.join(present)}; delete them, or take another")
            rows = [replace(row, cleanup="none", retention_ms=-1, append_time=False) for row in TOPICS]
            await admin.create_topics(
                self._partitions, replication_factor=self._factor, min_insync_replicas=self._in_sync, topics=rows
            )
        finally:
            await admin.stop()

    async def settle(self) -> None:
        """Give the topics the settings of the table, and compare. Raises `TopicMismatch`, `NotAuthorized`."""
        rows = plan(self._partitions, TOPICS, (), self._in_sync)
        answer = await self._asked(lambda client: client._send_request(AlterConfigs({r.name: r.configs for r in rows})))
        for code, message, _, name in answer.responses:
            if code:
                error, what = kafka.for_code(code)(), f"the settings of {name} cannot be altered"
                raise NotAuthorized(what, error) if is_refusal(error) else BusError(f"{what}: {message or error!r}")
        admin = KafkaAdmin(self._settings)
        await admin.start()
        try:
            await self._verified(admin)
        finally:
            await admin.stop()

    async def _verified(self, admin: KafkaAdmin) -> None:
        """A broker applies a moment later what the controller has taken."""
        deadline = asyncio.get_running_loop().time() + self._settings.query_timeout_s
        while True:
            try:
                return await admin.verify_topics(self._partitions, min_insync_replicas=self._in_sync)
            except TopicMismatch:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(_LOOK_S)

    async def _asked(self, question: Any) -> Any:
        client: Any = AIOKafkaAdminClient(**self._settings.connection())
        try:
            async with asyncio.timeout(self._settings.start_timeout_s):
                await client.start()
                answer = await question(client)
            return set(answer) if isinstance(answer, list) else answer
        except (TimeoutError, kafka.KafkaError) as error:
            raise unavailable("the topics cannot be made ready", error) from error
        finally:
            await teardown.close_client(client._client, self._settings.stop_timeout_s)
