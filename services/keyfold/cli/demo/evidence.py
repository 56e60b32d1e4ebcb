"""What the demonstration shows for its claims: the log and the audit trail side by side, and the brokers' own files.

Nothing here takes the services' word: events are verified by their authors' signatures, the audit rows must be those
very bytes, and the broker's log files are read from disk.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyfold.bus import Bus
from keyfold.cli.demo.files import Document
from keyfold.cli.demo.needles import Found, Needles, Scan, pieces, scan, spellings
from keyfold.cli.exits import Differs
from keyfold.cli.log_reading import verified_log
from keyfold.events import topics
from keyfold.projections.ports import Queries
from keyfold.projections.rows import AuditRow

_WAIT_S: Final = 15.0
_PAUSE_S: Final = 0.05
_SCAN_ALL_BELOW: Final = 512 * 1024 * 1024

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Proof:
    """What the scan of the broker's files saw. `controls` names topics in which the known text was found."""

    pieces: int
    documents: int
    files: int
    bytes: int
    controls: tuple[str, ...]


async def end_of_log(bus: Bus) -> dict[int, int]:
    """Return where each partition of events ends now."""
    admin = bus.admin()
    await admin.start()
    try:
        return dict(await admin.end_offsets(topics.EVENTS))
    finally:
        await admin.stop()


async def events_since(bus: Bus, deployment: str, start: dict[int, int], principals: frozenset[str]) -> list[AuditRow]:
    """Return what these principals caused since `start`, verified from the log, by time."""
    async with verified_log(bus, deployment) as log:
        rows = await log.read()
    return [row for row in rows if row.kafka_offset >= start.get(row.partition, 0) and row.principal in principals]


async def audit_of(queries: Queries, rows: Sequence[AuditRow]) -> list[AuditRow]:
    """Return the audit rows of the same places, once the projector has folded them; each must hold the same bytes.

    Raises `Differs`.
    """
    wanted: dict[Place, AuditRow] = {(row.partition, row.position): row for row in rows}
    found: dict[Place, AuditRow] = {}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WAIT_S
    while wanted.keys() - found.keys() and loop.time() < deadline:
        for partition in {row.partition for row in rows}:
            places = [row.position for row in rows if row.partition == partition]
            for row in await queries.audit_log(partition, min(places), max(places) - min(places) + 1):
                found[row.partition, row.position] = row
        await asyncio.sleep(_PAUSE_S)
    if missing := wanted.keys() - found.keys():
        raise Differs(f"{len(missing)} events of the log are not in the audit trail after {_WAIT_S:.0f} s")
    for place, row in wanted.items():
        if found[place].value != row.value or found[place].kafka_offset != row.kafka_offset:
            raise Differs(f"partition {place[0]} position {place[1]}: the audit row is not the event of the log")
    return [found[place] for place in wanted]


def no_plaintext(
    logs: Path, documents: Sequence[Document], *, public: bytes, known: bytes, must_have: Sequence[str], since_s: float
) -> Proof:
    """Look for the documents in the broker's files. Raises `Differs` where one is found, or where the search is blind.

    Three controls show that the search sees: it finds each piece in the document it came from, and `known`, which is
    public, in the files of every topic in `must_have`. Files are all that the broker has, or, where that is much,
    those changed since `since_s`.
    """
    by_document = {document: pieces(document.path.read_bytes(), but_not_in=public) for document in documents}
    everything = [piece for found in by_document.values() for piece in found]
    _require_sight(by_document)
    files = [path for path in sorted(logs.rglob("*")) if path.is_file()]
    if sum(path.stat().st_size for path in files) > _SCAN_ALL_BELOW:
        files = [path for path in files if path.stat().st_mtime >= since_s - 1]
    needles = Needles([known, *(spelling for piece in everything for spelling in spellings(piece))])
    seen: Scan = scan(files, needles)
    leaks = [found for found in seen.found if found.needle != known]
    if leaks:
        raise Differs(f"PLAINTEXT in {leaks[0].path}: {_origin(leaks[0], by_document)}")
    controls = tuple(sorted({_topic(found.path) for found in seen.found}))
    if blind := set(must_have) - set(controls):
        raise Differs(f"the search is blind: what must be in {', '.join(sorted(blind))} was not found there")
    covered = sum(1 for found in by_document.values() if found)
    return Proof(len(everything), covered, seen.files, seen.bytes, controls)


def _require_sight(by_document: dict[Document, list[bytes]]) -> None:
    for document, found in by_document.items():
        if found and not Needles(found).within(document.path.read_bytes()).issuperset(found):
            raise Differs(f"the search is blind: it does not find {document.name} in itself")
    if not any(by_document.values()):
        raise Differs("no file has a line distinctive enough to look for; name other files")


def _origin(found: Found, by_document: dict[Document, list[bytes]]) -> str:
    for document, its in by_document.items():
        if any(found.needle in spellings(piece) for piece in its):
            return f"a piece of {document.name}"
    return "a piece of a document"


def _topic(path: Path) -> str:
    """A partition's directory is `<topic>-<number>`."""
    return path.parent.name.rpartition("-")[0]
