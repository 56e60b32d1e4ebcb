"""One request of a simulated caller, and the observations that it becomes: a decision, and mostly an outcome."""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Final, NamedTuple
from zlib import crc32

from keyfold.analytics.observations import Observation, Ref, Result
from keyfold.events.streams import partition_of

PARTITIONS: Final = 4
_MEASURED: Final = frozenset({"PutPolicy", "DeletePolicy", "RegisterPrincipal", "SuspendPrincipal", "PutLimit"})
"""Verbs whose stream is the registry."""


class Request(NamedTuple):
    """What somebody asks for. `result` is how it ends; `failures` of the items fail in the worker even so."""

    time_ms: int
    principal: str
    key_id: str | None
    verb: str
    items: int = 1
    result: Result = "completed"
    code: str | None = None
    failures: int = 0
    contexts: tuple[str, ...] = ()
    administrative: bool = False
    target: str | None = None


def observations(requests: Iterable[Request], since_ms: int = 0) -> Iterator[Observation]:
    """Return the observations of requests that come in time order, in the order of event time.

    An outcome follows its decision after some 30 to 500 ms, depending on the request alone. Offsets of a partition
    count up in this order. What lies before `since_ms` is counted, and not returned.
    """
    offsets = [count() for _ in range(PARTITIONS)]
    partitions: dict[str, int] = {}
    for time_ms, result, request in _facts(requests):
        stream = _stream(request)
        partition = partitions.get(stream)
        if partition is None:
            partition = partitions[stream] = partition_of(stream, PARTITIONS)
        offset = next(offsets[partition])
        if time_ms >= since_ms:
            yield _observed(Ref(time_ms, partition, offset, _event_id(time_ms, partition, offset)), result, request)


def _facts(requests: Iterable[Request]) -> Iterator[tuple[int, Result, Request]]:
    """Return decisions and outcomes in the order of their times."""
    outcomes: list[tuple[int, int, Request]] = []
    for number, request in enumerate(requests):
        while outcomes and outcomes[0][0] <= request.time_ms:
            time_ms, _, earlier = heappop(outcomes)
            yield time_ms, earlier.result, earlier
        if request.result in {"denied", "rejected"}:
            yield request.time_ms, request.result, request
            continue
        yield request.time_ms, "authorized", request
        latency = 30 + crc32(request.time_ms.to_bytes(8, "big")) % 97 + request.items // 4
        heappush(outcomes, (request.time_ms + latency, number, request))
    while outcomes:
        time_ms, _, earlier = heappop(outcomes)
        yield time_ms, earlier.result, earlier


def _event_id(time_ms: int, partition: int, offset: int) -> str:
    """Return an id that looks like a UUID of version 7, of the place alone."""
    return f"{time_ms >> 16:08x}-{time_ms & 0xFFFF:04x}-7000-8{partition:03x}-{offset:012x}"


def _stream(request: Request) -> str:
    if request.verb in _MEASURED:
        return "registry"
    return f"key/{request.key_id}" if request.key_id is not None else f"principal/{request.principal}"


def _observed(ref: Ref, result: Result, request: Request) -> Observation:
    decision = result == "authorized"
    refused = result in {"denied", "rejected"}
    rejected = result == "rejected"
    return Observation(
        ref=ref,
        result=result,
        verb=request.verb,
        principal=request.principal,
        key_id=None if rejected else request.key_id,
        items=1 if refused else request.items,
        failures=0 if decision else request.failures,
        code=None if decision else request.code,
        contexts=request.contexts if decision or result == "denied" else (),
        administrative=request.administrative and (decision or result == "denied"),
        target=request.target or request.key_id,
    )
