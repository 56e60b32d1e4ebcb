"""Observations and findings on their way between the stages: many in one record, as compact JSON. Pure, strict.

A record of another version, or one that is not what these functions write, is refused whole: `Unreadable`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, get_args

from keyfold.analytics.acts import Act, Kind, Suppression
from keyfold.analytics.findings import SEVERITIES, Finding, Signal
from keyfold.analytics.observations import RESULTS, Observation, Ref
from keyfold.events.errors import RecordError

VERSION: Final = 1
MAX_BYTES: Final = 768 * 1024
_KINDS: Final = frozenset(get_args(Kind))
_REF, _FIELDS = 4, 14


class Unreadable(RecordError):
    """An internal record is not one of ours, or of a version that is not known here."""

    code = "Unreadable"


@dataclass(frozen=True, slots=True)
class Packed:
    """Observations for one partition of entities, and the watermarks of the sources that they were read from."""

    observations: Sequence[Observation] = ()
    marks: Mapping[int, int] = field(default_factory=dict)


@lru_cache(maxsize=65_536)
def partition_of_entity(entity: str, partitions: int) -> int:
    """Return the partition that keeps an entity: all its observations come there."""
    return int.from_bytes(sha256(entity.encode()).digest()[:8], "big") % partitions


def targets(seen: Observation, partitions: int) -> frozenset[int]:
    """Return the partitions that an observation is sent to: those of its entities."""
    return frozenset(partition_of_entity(entity, partitions) for entity in seen.entities())


def pack(observations: Iterable[str], marks: Mapping[int, int]) -> Iterator[bytes]:
    """Yield records of observations that `write` wrote, each small enough; one at least, the last with the watermarks.

    So whoever has read a watermark has read all that came before it.
    """
    rows: list[str] = []
    size = 0
    for row in observations:
        if size + len(row) > MAX_BYTES and rows:
            yield _packed(rows, {})
            rows, size = [], 0
        rows.append(row)
        size += len(row) + 1
    yield _packed(rows, marks)


def write(seen: Observation) -> str:
    """Write one observation."""
    ref = seen.ref
    return json.dumps(
        [
            ref.time_ms, ref.partition, ref.offset, ref.event_id,
            seen.result, seen.verb, seen.principal, seen.key_id, seen.items, seen.failures, seen.code,
            seen.contexts, seen.administrative, seen.target,
        ],
        separators=(",", ":"),
    )  # fmt: skip


def unpack(content: bytes | None) -> Packed:
    """Read a record of `pack`. Raises `Unreadable`."""
    document = _document(content)
    try:
        marks = {int(source): int(mark) for source, mark in document["w"]}
        return Packed([_observation(row) for row in document["o"]], marks)
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"no packed observations: {type(error).__name__}") from None


def pack_findings(findings: Iterable[Finding]) -> Iterator[bytes]:
    """Yield one record for each finding: they are few, and each may have much evidence."""
    for each in findings:
        signal = asdict(each.signal)
        yield _dumped({"v": VERSION, "finding": [each.detector, each.entity, each.window_ms, signal]})


def pack_act(act: Act) -> bytes:
    """Return the record of what an operator did."""
    return _dumped({"v": VERSION, "act": asdict(act)})


def unpack_found(content: bytes | None) -> Finding | Act:
    """Read a record of `pack_findings` or `pack_act`. Raises `Unreadable`."""
    document = _document(content)
    try:
        return _finding(document["finding"]) if "finding" in document else _act(document["act"])
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"no packed finding or act: {type(error).__name__}") from None


def read_ref(row: Sequence[Any]) -> Ref:
    """Read a place. Raises `ValueError`, `TypeError`."""
    time_ms, partition, offset, event_id = row
    return Ref(int(time_ms), int(partition), int(offset), str(event_id))


def _packed(rows: Sequence[str], marks: Mapping[int, int]) -> bytes:
    head = json.dumps(sorted(marks.items()), separators=(",", ":"))
    return f'{{"v":{VERSION},"w":{head},"o":[{",".join(rows)}]}}'.encode()


def _dumped(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _document(content: bytes | None) -> dict[str, Any]:
    if content is None:
        raise Unreadable("the record is not one of analytics' own")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable("the record is no JSON") from None
    if not isinstance(document, dict) or document.get("v") != VERSION:
        raise Unreadable("the record is of a version that is not known here")
    return document


def _observation(row: Sequence[Any]) -> Observation:
    if len(row) != _FIELDS or row[_REF] not in RESULTS:
        raise ValueError("fields")
    _, _, _, _, result, verb, principal, key_id, items, failures, code, contexts, administrative, target = row
    return Observation(
        read_ref(row[:_REF]), result, str(verb), principal, key_id, int(items), int(failures), code,
        tuple(contexts), bool(administrative), target,
    )  # fmt: skip


def _finding(row: Sequence[Any]) -> Finding:
    detector, entity, window_ms, signal = row
    if signal["severity"] not in SEVERITIES:
        raise ValueError("severity")
    evidence = tuple(read_ref(ref) for ref in signal["evidence"])
    return Finding(str(detector), str(entity), int(window_ms), Signal(**{**signal, "evidence": evidence}))


def _act(document: Mapping[str, Any]) -> Act:
    if document["kind"] not in _KINDS:
        raise ValueError("kind")
    suppression = document["suppression"]
    return Act(**{**document, "suppression": None if suppression is None else Suppression(**suppression)})
