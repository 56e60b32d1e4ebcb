"""What a predecessor's transaction left open, ended before anything is restored (decision 17).

A coordinator may leave a transaction's end out of a partition that has no leader at that moment. Every record of a
round names its round, and the state's head says how many records each place got. So: records of a round that the
committed state has reached are committed. A later round is committed if its head and all its records are in the log,
since its writer may have been told so; else it was never reported as committed, and is aborted.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from keyfold.bus import Admin, Bus, Inbound, Writer
from keyfold.events import strictjson, topics
from keyfold.events.chains import single_header
from keyfold.events.errors import InvalidCommand, RecordError
from keyfold.events.signatures import HEAD, pae
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.trust import Trust
from keyfold.log import Unsettled
from keyfold.log.state_topic import HEAD_KEY
from keyfold.logging import get_logger
from keyfold.notary.publishing import ROUND_HEADER

WAIT_SECONDS: Final = 7.0
"""A transaction of somebody else on the same topics is over by then: longer than the transaction timeout."""

_LOOK_SECONDS: Final = 0.1
_BACK: Final = 200
_STATE: Final = (topics.NOTARY_STATE, 0)
Place = tuple[str, int]
_log = get_logger()


async def settle(bus: Bus, trust: Trust, writer: Writer, partitions: int) -> None:
    """End what is open of the notary's. To be called when the writer has started. Raises `Unsettled`, retriable."""
    places = [_STATE, (topics.CHECKPOINTS, 0), *((topics.TILES, partition) for partition in range(partitions))]
    admin = bus.admin()
    await admin.start()
    try:
        ends = await _ends(admin, places, committed=False)
        if await _reached(admin, ends, WAIT_SECONDS):
            return
        stable = await _ends(admin, places, committed=True)
        chosen = await _verdicts(bus, trust, {place: stable[place] for place in places if stable[place] < ends[place]})
        for commit in (True, False):
            ended = [place for place, verdict in chosen.items() if verdict is commit]
            if ended:
                _log.error("transaction-left-open", role="notary", places=ended, committed=commit)
                await writer.end_open(ended, commit=commit)
        if not await _reached(admin, ends, WAIT_SECONDS):
            raise Unsettled("the notary's topics did not come to rest; trying again")
    finally:
        await admin.stop()


async def _verdicts(bus: Bus, trust: Trust, open_from: dict[Place, int]) -> dict[Place, bool]:
    """Return for each place with open records whether they are committed."""
    reached = max((_round(head) for head in await _heads(bus, trust, None, committed=True)), default=0)
    heads = await _heads(bus, trust, open_from.get(_STATE), committed=False) if _STATE in open_from else []
    for head in heads:
        if _round(head) > reached and await _is_whole(bus, head, open_from):
            reached = _round(head)
    chosen = {}
    for place, start in open_from.items():
        sides = {number <= reached for number in await _rounds(bus, trust, place, start)}
        if len(sides) > 1:
            raise Unsettled(f"{place} has records open on both sides of the last state; see the operations guide")
        chosen[place] = sides == {True}
    return chosen


async def _is_whole(bus: Bus, head: dict[str, Any], open_from: dict[Place, int]) -> bool:
    """Tell whether every record that a round wrote is in the log, open or committed."""
    for name, count in head["records"].items():
        topic, _, partition = name.rpartition("/")
        place = (topic, int(partition))
        # Before what is open, and beside what is committed, an aborted attempt may have the same number.
        if place in open_from:
            found = await _read(bus, place, open_from[place], committed=False)
        else:
            found = await _read(bus, place, max(0, await _end(bus, place) - _BACK), committed=True)
        if Counter(_numbers(found))[_round(head)] != count:
            return False
    return True


async def _rounds(bus: Bus, trust: Trust, place: Place, start: int) -> set[int]:
    if place == _STATE:
        return {_round(head) for head in await _heads(bus, trust, start, committed=False)}
    return set(_numbers(await _read(bus, place, start, committed=False)))


async def _heads(bus: Bus, trust: Trust, start: int | None, *, committed: bool) -> list[dict[str, Any]]:
    """Return the contents of the state's heads that a notary signed."""
    found = []
    for record in await _read(bus, _STATE, start, committed=committed):
        if record.key != HEAD_KEY or record.value is None:
            continue
        signer = (single_header(record.headers, SIGNER_HEADER) or b"").decode("ascii", "replace")
        signature = single_header(record.headers, SIGNATURE_HEADER) or b""
        try:
            trust.verify_head("notary", signer, signature, pae(HEAD, record.value))
            head: dict[str, Any] = strictjson.loads(record.value)["head"]
            found.append({"round": int(head["round"]), "records": dict(head["records"])})
        except (RecordError, InvalidCommand, KeyError, TypeError, ValueError):
            continue
    return found


async def _read(bus: Bus, place: Place, start: int | None, *, committed: bool) -> Sequence[Inbound]:
    reader = bus.reader(*place, committed=committed)
    found: list[Inbound] = []
    try:
        await reader.start(start)
        async for batch in reader.read_to_end():
            found += batch
    finally:
        await reader.stop()
    return found


async def _end(bus: Bus, place: Place) -> int:
    admin = bus.admin()
    await admin.start()
    try:
        return (await admin.end_offsets(place[0], committed=False))[place[1]]
    finally:
        await admin.stop()


async def _ends(admin: Admin, places: Sequence[Place], *, committed: bool) -> dict[Place, int]:
    names = dict.fromkeys(topic for topic, _ in places)
    ends = {name: await admin.end_offsets(name, committed=committed) for name in names}
    return {(topic, partition): ends[topic][partition] for topic, partition in places}


async def _reached(admin: Admin, ends: dict[Place, int], patience_s: float) -> bool:
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        stable = await _ends(admin, list(ends), committed=True)
        if all(stable[place] >= end for place, end in ends.items()):
            return True
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(_LOOK_SECONDS)


def _round(head: dict[str, Any]) -> int:
    number: int = head["round"]
    return number


def _numbers(records: Sequence[Inbound]) -> Iterator[int]:
    """Yield the round of each record. Who names none is not the notary, and has no say."""
    for record in records:
        number = single_header(record.headers, ROUND_HEADER)
        if number:
            yield int.from_bytes(number, "big")
