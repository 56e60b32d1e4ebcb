"""The state of a running deployment, measured: parts, brokers, projections, lag of each service, sealing key, trust.

Every probe answers with a finding, never with an exception, so that one dead part does not hide the others. `status`
and `doctor` print what is found here.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keyfold.bus import Bus
from keyfold.cli.session import Session, now_ms
from keyfold.config import Config
from keyfold.events import topics
from keyfold.events.errors import KeyfoldError
from keyfold.events.times import to_milliseconds, to_text
from keyfold.log import RegistryFollower
from keyfold.log.state_topic import HEAD_KEY
from keyfold.projections.ports import Queries, lag

DEADLINE_S: Final = 20.0
_HEAD_WINDOW: Final = 10
_COUNTED: Final = 50
# Which position the head of a service's state topic holds, and of which topic it is.
_STATE: Final = {
    "policy": (topics.POLICY_STATE, topics.COMMANDS, ("commands",)),
    "hsm": (topics.HSM_STATE, topics.AUTHORIZED, ("positions", topics.AUTHORIZED)),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one probe found: facts, or the error that it met."""

    facts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def __bool__(self) -> bool:
        return self.error is None


async def probe(work: Callable[[], Awaitable[dict[str, Any]]]) -> Finding:
    """Run one probe within a deadline."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            return Finding(await work())
    except TimeoutError:
        return Finding(error=f"no answer within {DEADLINE_S:.0f} s")
    except KeyfoldError as error:
        return Finding(error=f"{error.code}: {error}")


async def brokers(config: Config, bus: Bus) -> dict[str, Any]:
    """Whether the cluster answers and its topics are those of the table."""
    admin = bus.admin()
    await admin.start()
    try:
        await admin.verify_topics(config.partitions)
        ends = await admin.end_offsets(topics.EVENTS)
    finally:
        await admin.stop()
    return {"bootstrap_servers": config.bootstrap_servers, "events": sum(ends.values())}


async def projected(queries: Queries, bus: Bus) -> dict[str, Any]:
    """How far the projections are, and what they say about the deployment."""
    progress = await queries.progress()
    admin = bus.admin()
    await admin.start()
    try:
        behind = lag(progress, await admin.end_offsets(topics.EVENTS))
    finally:
        await admin.stop()
    deployment = await queries.deployment()
    schema = await queries.status()
    last = max((row.last_time for row in progress if row.last_time), default=None)
    return {
        "live": schema.live,
        "phase": schema.phase,
        "lag": sum(behind.values()),
        "halted": {row.partition: row.halted for row in progress if row.halted},
        "reports": len(await queries.reports(limit=1000)),
        "registry_revision": deployment.revision if deployment else None,
        "last_event": last,
        "ahead_of_clock_ms": max(0, to_milliseconds(last) - now_ms()) if last else 0,
    }


async def service_lag(service: str, bus: Bus) -> dict[str, Any]:
    """How many records a service is behind, from the positions in the signed heads of its private state."""
    state_topic, input_topic, path = _STATE[service]
    admin = bus.admin()
    await admin.start()
    try:
        ends = await admin.end_offsets(input_topic, committed=service != "policy")
        starts = await admin.start_offsets(input_topic)
    finally:
        await admin.stop()
    heads = await asyncio.gather(*(_position(bus, state_topic, p, path) for p in ends))
    positions = {p: starts[p] if head is None else head for p, head in zip(ends, heads, strict=True)}
    counts = await asyncio.gather(*(_records(bus, input_topic, p, positions[p], ends[p]) for p in ends))
    return {"lag": sum(counts), "partitions": dict(zip(ends, counts, strict=True))}


async def notary(bus: Bus) -> dict[str, Any]:
    """How many records have no checkpoint yet, when the last one was signed, and which partitions are not signed."""
    found = await _last_head(bus, topics.NOTARY_STATE, 0)
    partitions = (found or {}).get("partitions", {})
    admin = bus.admin()
    await admin.start()
    try:
        ends = await admin.end_offsets(topics.EVENTS)
    finally:
        await admin.stop()
    told = {p: partitions.get(str(p), {}) for p in ends}
    counts = await asyncio.gather(*(_records(bus, topics.EVENTS, p, told[p].get("next", 0), ends[p]) for p in ends))
    return {
        "lag": sum(counts),
        "partitions": dict(zip(ends, counts, strict=True)),
        "signed": sum(each.get("size", 0) for each in told.values()),
        "signed_at": to_text(found["time_ms"]) if found else None,
        "untrusted": sum(each.get("untrusted", 0) for each in told.values()),
        "stopped": {p: each["trouble"] for p, each in told.items() if each.get("trouble")},
    }


async def _records(bus: Bus, topic: str, partition: int, position: int, end: int) -> int:
    """Count what lies between: a few offsets may be transactions' markers only; of many, they are a small part."""
    if not 0 < end - position <= _COUNTED:
        return max(0, end - position)
    reader = bus.reader(topic, partition, committed=topic != topics.COMMANDS)
    try:
        await reader.start(position)
        count = 0
        async for batch in reader.read_to_end():
            count += len(batch)
    finally:
        await reader.stop()
    return count


async def _position(bus: Bus, topic: str, partition: int, path: tuple[str, ...]) -> int | None:
    head = await _last_head(bus, topic, partition)
    return None if head is None else _at(head, path)


async def _last_head(bus: Bus, topic: str, partition: int) -> dict[str, Any] | None:
    """Find the last head of a state partition, which is the last record of its last transaction."""
    reader = bus.reader(topic, partition, committed=True)
    admin = bus.admin()
    await admin.start()
    try:
        end = (await admin.end_offsets(topic))[partition]
        start = (await admin.start_offsets(topic))[partition]
        await reader.start(max(start, end - _HEAD_WINDOW))
        found: bytes | None = None
        async for batch in reader.read_to_end():
            found = next((record.value for record in reversed(batch) if record.key == HEAD_KEY), found)
    finally:
        await reader.stop()
        await admin.stop()
    return dict(json.loads(found)["head"]) if found else None


def _at(document: Mapping[str, Any], path: tuple[str, ...]) -> int | None:
    value: Any = document
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) else None


async def sealing_key(queries: Queries) -> dict[str, Any]:
    """The sealing key in use, and how old it is."""
    current = [key for key in await queries.sealing_keys() if key.retired_at is None and key.erased_at is None]
    if not current:
        return {"sealing_key": None, "age_s": None}
    return {"sealing_key": current[-1].sealing_key, "age_s": _age_s(current[-1].published_at)}


async def certificates(session: Session, config: Config) -> dict[str, Any]:
    """When each service's licence ends, from the log itself."""
    follower = RegistryFollower(session.bus(config), config.deployment or "")
    try:
        await follower.start()
        ends: dict[str, int] = {}
        for licences in follower.trust.certificates.values():
            for licence in licences:
                ends[licence.service] = max(ends.get(licence.service, 0), licence.not_after_ms)
    finally:
        await follower.stop()
    return {"days_left": {service: (end - now_ms()) // 86_400_000 for service, end in sorted(ends.items())}}


def _age_s(since: str) -> int:
    return max(0, (now_ms() - to_milliseconds(since)) // 1000)
