"""Topics and offsets on Kafka: creates what the table says, names what differs, alters what no record suffers from."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Final, TypeVar

from aiokafka import TopicPartition
from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from keyfold.bus import offsets, teardown
from keyfold.bus.alter_configs import AlterConfigs
from keyfold.bus.errors import BusError, BusUnavailable, NotAuthorized, TopicMismatch, is_refusal, unavailable
from keyfold.bus.settings import BusSettings
from keyfold.bus.topic_changes import Alterations, depends_on_records
from keyfold.bus.topic_plan import Plan, plan
from keyfold.events.topics import TOPICS, Topic

_T = TypeVar("_T")
_CREATE_PAUSE_S: Final = 0.25


class KafkaAdmin:
    """See `keyfold.bus.ports.Admin`."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._client: Any = None

    async def start(self) -> None:
        """Connect."""
        self._client = AIOKafkaAdminClient(**self._settings.connection())
        try:
            await self._within(self._client.start(), "connect")
        except BaseException:
            await self.stop()
            raise

    async def create_topics(
        self,
        partitions: int,
        *,
        replication_factor: int,
        min_insync_replicas: int,
        topics: Iterable[Topic] = TOPICS,
        reply_names: Iterable[str] = (),
    ) -> list[str]:
        """Create what is missing; two that do this at once do not disturb each other.

        Tried again until the start deadline where the cluster is only not ready: brokers that have just started, or
        were away, are fenced for a moment and count as missing replicas.
        """
        plans = plan(partitions, topics, reply_names, min_insync_replicas)
        deadline = asyncio.get_running_loop().time() + self._settings.start_timeout_s
        present = await self._present(deadline)
        missing = {
            row.name: NewTopic(row.name, row.partitions, replication_factor, topic_configs=dict(row.configs))
            for row in plans
            if row.name not in present
        }
        created: list[str] = []
        while missing:
            created += await self._create(missing, last_try=asyncio.get_running_loop().time() >= deadline)
            await asyncio.sleep(_CREATE_PAUSE_S if missing else 0)
        await self._until_known({row.name: row.partitions for row in plans})
        return created

    async def verify_topics(
        self,
        partitions: int,
        *,
        min_insync_replicas: int | None = None,
        topics: Iterable[Topic] = TOPICS,
        reply_names: Iterable[str] = (),
    ) -> None:
        """Compare partitions and settings; raise TopicMismatch with all differences at once."""
        plans = plan(partitions, topics, reply_names, min_insync_replicas)
        counts = await self._partition_counts()
        configs = await self._configs([row for row in plans if row.name in counts])
        differences = [
            sentence for row in plans for sentence in row.differences(counts.get(row.name), configs.get(row.name, {}))
        ]
        if differences:
            raise TopicMismatch(tuple(differences))

    async def alter_topics(
        self,
        partitions: int,
        *,
        min_insync_replicas: int | None = None,
        topics: Iterable[Topic] = TOPICS,
        reply_names: Iterable[str] = (),
    ) -> list[str]:
        """Alter what may be altered; see the port."""
        counts = await self._partition_counts()
        rows = [row for row in plan(partitions, topics, reply_names, min_insync_replicas) if row.name in counts]
        configs = await self._configs(rows)
        wanted = Alterations()
        for row in rows:
            empty = depends_on_records(row, configs[row.name]) and await self._is_empty(row.name)
            wanted.add(row, counts[row.name], configs[row.name], empty=empty)
        settings = wanted.settings()
        if settings:
            await self._alter(settings)
            await self._until_altered([row for row in rows if row.name in settings], settings)
        return wanted.sentences

    async def delete_records(self, topic: str, partition: int, before_offset: int) -> int:
        """Delete below an offset. Idempotent: what is gone stays gone, and a lower offset changes nothing."""
        place = TopicPartition(topic, partition)
        first = (await self.start_offsets(topic))[partition]
        end = (await self.end_offsets(topic, committed=False))[partition]
        target = min(before_offset, end)
        if target <= first:
            return first
        answer = await self._within(
            self._connected().delete_records({place: RecordsToDelete(target)}, timeout_ms=self._timeout_ms),
            f"delete records of {topic}-{partition}",
        )
        return int(answer[place])

    async def start_offsets(self, topic: str) -> Mapping[int, int]:
        """Return the start of each partition."""
        return await self._offsets(topic, offsets.EARLIEST, committed=False)

    async def end_offsets(self, topic: str, *, committed: bool = True) -> Mapping[int, int]:
        """Return the end of each partition."""
        return await self._offsets(topic, offsets.LATEST, committed=committed)

    async def lag(self, topic: str, positions: Mapping[int, int], *, committed: bool = True) -> Mapping[int, int]:
        """Return how far each position is behind."""
        ends = await self.end_offsets(topic, committed=committed)
        return {partition: max(0, ends[partition] - position) for partition, position in positions.items()}

    async def stop(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await teardown.close_client(client._client, self._settings.stop_timeout_s)

    @property
    def _timeout_ms(self) -> int:
        return int(self._settings.query_timeout_s * 1000)

    def _connected(self) -> Any:
        if self._client is None:
            raise BusError("the admin client is not started")
        return self._client

    async def _within(self, call: Awaitable[_T], what: str) -> _T:
        try:
            async with asyncio.timeout(self._settings.query_timeout_s):
                return await call
        except (TimeoutError, kafka.KafkaError) as error:
            raise unavailable(f"could not {what}", error) from error

    async def _present(self, deadline: float) -> set[str]:
        """Return the topics there are; a broker that has just come back names no brokers for a moment."""
        while True:
            try:
                return set(await self._within(self._connected().list_topics(), "list topics"))
            except BusUnavailable:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
            await asyncio.sleep(_CREATE_PAUSE_S)

    async def _create(self, missing: dict[str, NewTopic], *, last_try: bool) -> list[str]:
        """Ask once; take what exists now out of `missing` and return what was created by this call."""
        answer = await self._within(
            self._connected().create_topics(list(missing.values()), timeout_ms=self._timeout_ms), "create topics"
        )
        created = []
        for name, code, *detail in answer.topic_errors:
            error = kafka.for_code(code)
            if code in {0, kafka.TopicAlreadyExistsError.errno}:
                del missing[name]
                created += [name] if code == 0 else []
            elif last_try or not (error.retriable or error is kafka.InvalidReplicationFactorError):
                raise BusError(f"topic {name} could not be created: {error.__name__} {detail}")
        return created

    async def _partition_counts(self) -> dict[str, int]:
        described = await self._within(self._connected().describe_topics(), "describe topics")
        return {row["topic"]: len(row["partitions"]) for row in described if not row["error_code"]}

    async def _configs(self, plans: list[Plan]) -> dict[str, dict[str, str]]:
        if not plans:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, row.name) for row in plans]
        answers = await self._within(self._connected().describe_configs(resources), "describe topic settings")
        found: dict[str, dict[str, str]] = {}
        for answer in answers:
            for code, message, _, name, entries in answer.resources:
                if code:
                    raise BusError(f"the settings of {name} cannot be read: {message}")
                found[name] = {entry[0]: entry[1] for entry in entries}
        return found

    async def _is_empty(self, topic: str) -> bool:
        return await self.start_offsets(topic) == await self.end_offsets(topic, committed=False)

    async def _alter(self, settings: Mapping[str, Mapping[str, str]]) -> None:
        """Each topic is altered as a whole or not; what was done of several is found done by the next attempt."""
        answer = await self._within(self._connected()._send_request(AlterConfigs(settings)), "alter topic settings")
        for code, message, _, name in answer.responses:
            if code:
                error, what = kafka.for_code(code)(), f"the settings of {name} cannot be altered"
                raise NotAuthorized(what, error) if is_refusal(error) else BusError(f"{what}: {message or error!r}")

    async def _until_altered(self, rows: list[Plan], settings: Mapping[str, Mapping[str, str]]) -> None:
        """Wait until a broker tells what was set: it applies a moment later what the controller has taken."""
        deadline = asyncio.get_running_loop().time() + self._settings.query_timeout_s
        while any(settings[name].items() - told.items() for name, told in (await self._configs(rows)).items()):
            if asyncio.get_running_loop().time() >= deadline:
                raise BusUnavailable("altered topic settings are not applied by the brokers in time")
            await asyncio.sleep(_CREATE_PAUSE_S)

    async def _until_known(self, counts: Mapping[str, int]) -> None:
        """Wait until the brokers' metadata shows new topics with a leader, so that the next client finds them."""
        client = self._connected()
        for name, partitions in counts.items():
            await offsets.ask_offsets(
                client._client,
                name,
                range(partitions),
                offsets.LATEST,
                committed=False,
                timeout_s=self._settings.start_timeout_s,
            )

    async def _offsets(self, topic: str, which: int, *, committed: bool) -> dict[int, int]:
        client = self._connected()._client
        known = await self._within(client._wait_on_metadata(topic), f"find {topic}")
        return await offsets.ask_offsets(
            client, topic, sorted(known), which, committed=committed, timeout_s=self._settings.query_timeout_s
        )
