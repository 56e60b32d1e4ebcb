"""A whole log is verified: an honest one holds; what was edited, inserted, moved or cut off is named by its leaf."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support.audited_log import AuditedLog, honest, numbered, outbound, told_anew
from tests.support.notary_log import NotaryKeys, NotaryLog, witness_key
from tests.support.people import DEPLOYMENT, PARTITIONS, signer

from keyfold.auditing.findings import Finding
from keyfold.auditing.partition import Window
from keyfold.auditing.reports import as_data, as_text, not_checked, totals
from keyfold.auditing.rooted import NotRooted
from keyfold.auditing.sources import KafkaSource
from keyfold.auditing.verifying import CheckpointUnusable, Report, Wanted, verify
from keyfold.bus import Inbound, MemoryBus, MemoryCluster
from keyfold.events import facts
from keyfold.events.statements import PATH_HEADER, SIGNATURE_HEADER

LOG = (14, 90)
WHERE = 3


def verified(log: AuditedLog | KafkaSource, **options: object) -> Report:
    return asyncio.run(verify(log, Wanted(**{"deployment": DEPLOYMENT, **options})))  # type: ignore[arg-type]


def first(report: Report) -> Finding:
    found = report.first
    assert found is not None
    return found


def test_an_honest_log_holds() -> None:
    """Nothing is found, and everything was looked at: each leaf, decision, signature and checkpoint."""
    log = honest(*LOG)
    report = verified(log)
    records = sum(map(len, log.kept.values()))
    assert (report.findings, report.count, report.first) == ([], 0, None)
    told = totals(report)
    assert told["leaves"] == told["full"] == records
    assert told["decisions"] == told["signatures"] > 100
    assert told["outcomes"] > 20
    assert told["checkpoints"] == sum(len({len(kept), len(kept) // 2}) for kept in log.kept.values())
    assert list(not_checked(report)) == []
    assert [part.covered for part in report.partitions] == [len(log.kept[p]) for p in range(PARTITIONS)]


def test_another_deployments_log_is_not_believed() -> None:
    """The pinned fingerprint decides, not what the log or the source says."""
    with pytest.raises(NotRooted):
        verified(honest(*LOG), deployment=signer("mallory").fingerprint)


def edited(records: list[Inbound], at: int) -> list[Inbound]:
    value = (records[at].value or b"").replace(b'"id":"', b'"id":"x', 1)
    return [*records[:at], replace(records[at], value=value), *records[at + 1 :]]


def removed(records: list[Inbound], at: int) -> list[Inbound]:
    return numbered([*records[:at], *records[at + 1 :]])


def repeated(records: list[Inbound], at: int) -> list[Inbound]:
    return numbered([*records[:at], records[at - 1], *records[at:]])


def swapped(records: list[Inbound], at: int) -> list[Inbound]:
    return numbered([*records[:at], records[at + 1], records[at], *records[at + 2 :]])


def invented(records: list[Inbound], at: int) -> list[Inbound]:
    stranger = replace(records[at], value=b"{}", headers=())
    return numbered([*records[:at], stranger, *records[at:]])


def another_signature(records: list[Inbound], at: int) -> list[Inbound]:
    headers = tuple((n, bytes(64) if n == SIGNATURE_HEADER else v) for n, v in records[at].headers)
    return [*records[:at], replace(records[at], headers=headers), *records[at + 1 :]]


def another_path(records: list[Inbound], at: int) -> list[Inbound]:
    headers = tuple((n, bytes(36) + b"x" * 32 if n == PATH_HEADER else v) for n, v in records[at].headers)
    return [*records[:at], replace(records[at], headers=headers), *records[at + 1 :]]


def emptied(records: list[Inbound], at: int) -> list[Inbound]:
    return [*records[:at], replace(records[at], value=None), *records[at + 1 :]]


TAMPERED: dict[str, tuple[Callable[[list[Inbound], int], list[Inbound]], str]] = {
    "edited": (edited, "UntrustedRecord"),
    "removed": (removed, "ChainGap"),
    "repeated": (repeated, "ChainRepeat"),
    "swapped": (swapped, "ChainGap"),
    "invented": (invented, "UntrustedRecord"),
    "another signature": (another_signature, "UntrustedRecord"),
    "another path": (another_path, "UntrustedRecord"),
    "emptied": (emptied, "UntrustedRecord"),
}


@pytest.mark.parametrize("how", TAMPERED)
@pytest.mark.parametrize("at", [4, 62])
def test_the_first_record_that_was_tampered_with_is_named(how: str, at: int) -> None:
    """Partition, leaf, offset and code of the first difference, and the trees that do not fit any more.

    That a record is missing shows at the next one of its author.
    """
    change, code = TAMPERED[how]
    log = honest(*LOG).copy()
    if how == "swapped":
        at = next(p for p in range(at, 200) if log.kept[1][p].headers[1] != log.kept[1][p + 1].headers[1]
                  and same_role(log.kept[1][p], log.kept[1][p + 1]))  # fmt: skip
    gone = log.kept[1][at]
    log.kept[1] = change(log.kept[1], at)
    if how == "removed":
        at = next(p for p in range(at, 200) if same_role(gone, log.kept[1][p]))
    report = verified(log)
    found = first(report)
    assert (found.partition, found.leaf, found.kafka_offset, found.code) == (1, at, at, code)
    codes = {each.code for each in report.findings}
    assert ("RootDiffers" in codes) == (how != "another path"), "paths are no part of the trees"
    assert {each.partition for each in report.findings} == {1}


def same_role(one: Inbound, other: Inbound) -> bool:
    return any(role in (one.headers[1][1]) and role in (other.headers[1][1]) for role in (b'"policy"', b'"hsm"'))


def test_a_log_that_was_cut_off_is_told_by_its_checkpoints() -> None:
    """The chains are whole up to the cut: only who keeps a tree head can tell."""
    log = honest(*LOG).copy()
    whole = len(log.kept[WHERE])
    log.kept[WHERE] = cut(log.kept[WHERE])
    report = verified(log)
    assert [each.code for each in report.findings] == ["Truncated"]
    end = len(log.kept[WHERE])
    assert str(first(report)) == (
        f"partition {WHERE}: Truncated: expected {whole} leaves, as a checkpoint says; "
        f"found the log ends at leaf {end} (offset {end - 1})"
    )
    log.notes = []
    assert verified(log).count == 0


def cut(records: list[Inbound]) -> list[Inbound]:
    """Cut off at the end of a statement."""
    end = max(p for p in range(len(records) - 3) if records[p].headers[1] != records[p + 1].headers[1]) + 1
    return records[:end]


def test_a_checkpoint_that_was_kept_tells_as_well() -> None:
    """What the notary publishes can be cut off with the log; a file somewhere else cannot."""
    log = honest(*LOG).copy()
    kept = log.publish(WHERE)
    log.notes, log.kept[WHERE] = [], cut(log.kept[WHERE])
    report = verified(log, checkpoints=[("my.checkpoint", kept)])
    assert [each.code for each in report.findings] == ["Truncated"]


def other_log() -> tuple[AuditedLog, AuditedLog, int]:
    """A log, and one in which whoever has all services' keys told one outcome differently, with its leaf."""
    log = honest(*LOG)
    other = log.copy()
    events = log.events(WHERE)
    at = next(p for p in range(20, len(events)) if isinstance(events[p], facts.KeyUsed))
    data = events[at].data.model_copy(update={"mac": "ab" * 32})
    other.kept[WHERE] = told_anew(log.kept[WHERE], at, events[at].model_copy(update={"data": data}))
    return log, other, at


def test_who_has_all_services_keys_cannot_change_the_tree() -> None:
    """Every signature and chain is good, and still a root differs: the range is named."""
    log, other, at = other_log()
    report = verified(other)
    half, end = len(log.kept[WHERE]) // 2, len(log.kept[WHERE])
    expected = (half, end) if at >= half else (0, half)
    assert [each.code for each in report.findings] == ["RootDiffers"]
    assert report.partitions[WHERE].differs == expected
    assert f"from leaf {expected[0]} to {expected[1] - 1}" in first(report).found
    other.notes = []
    assert verified(other).count == 0


def test_published_hashes_tell_the_leaf_that_differs() -> None:
    """Where the tiles still make the signed root, the exact leaf is named, whatever time it is said to be of."""

    async def scene(timestamp_ms: int) -> Report:
        log = honest(*LOG).copy()
        cluster = MemoryCluster(PARTITIONS, clock_ms=lambda: 1_790_000_000_000)
        bus = MemoryBus(cluster)
        await log.written_to(bus)
        await NotaryLog(bus, keys=log.keys).publish()
        changed = cluster.log("keyfold.events", WHERE)
        entry = changed._entries[5]
        assert entry.record is not None
        changed._entries[5] = replace(entry, record=replace(entry.record, value=b"{}", timestamp_ms=timestamp_ms))
        return await verify(KafkaSource(bus, DEPLOYMENT, PARTITIONS), Wanted(DEPLOYMENT))

    for timestamp_ms in (1_790_000_000_000, 1 << 62):
        report = asyncio.run(scene(timestamp_ms))
        told = next(each for each in report.findings if each.code == "LeafDiffers")
        assert (told.partition, told.leaf) == (WHERE, 5)


def test_a_log_on_a_bus_holds() -> None:
    """Records, checkpoints and cosignatures are read from their topics; markers and offsets do not matter."""

    async def scene() -> Report:
        log = honest(*LOG)
        bus = MemoryBus(MemoryCluster(PARTITIONS, clock_ms=lambda: 1_790_000_000_000))
        await log.written_to(bus)
        notary = NotaryLog(bus, keys=log.keys)
        await notary.publish(most=30)
        await notary.publish()
        for notes in notary.notes:
            await notary.cosign(notes[-1], "witness")
        wanted = Wanted(DEPLOYMENT, witnesses=[witness_key("witness")])
        return await verify(KafkaSource(bus, DEPLOYMENT, PARTITIONS), wanted)

    report = asyncio.run(scene())
    assert report.findings == []
    sizes = {partition: len(kept) for partition, kept in honest(*LOG).kept.items()}
    assert (report.heads.cosignatures, list(report.heads.cosigned.values())) == (PARTITIONS, [sizes])
    assert list(not_checked(report)) == []


# Less than everything


def test_what_an_own_checkpoint_covers_is_only_hashed() -> None:
    """Signatures are looked at behind it, and the state is there all the same."""
    log = honest(*LOG)
    since = [(f"{p}.checkpoint", log.copy().publish(p, len(log.kept[p]) - 20)) for p in range(PARTITIONS)
             if len(log.kept[p]) > 20]  # fmt: skip
    report = verified(log, since=since)
    whole = totals(verified(log))
    told = totals(report)
    assert report.count == 0
    assert told["leaves"] == whole["leaves"]
    assert told["full"] == sum(min(20, len(kept)) for kept in log.kept.values())
    assert 0 < told["signatures"] < whole["signatures"]
    assert told["outcomes"] == whole["outcomes"]


def test_what_an_own_checkpoint_covers_is_still_compared() -> None:
    """An edit below it is found by the tree."""
    log = honest(*LOG).copy()
    since = [("my.checkpoint", log.publish(1, 60))]
    log.kept[1] = another_signature(log.kept[1], 30)
    codes = [each.code for each in verified(log, since=since).findings]
    assert "RootDiffers" in codes


def test_a_checkpoint_of_somebody_else_is_nothing_to_go_on_from() -> None:
    """What is trusted unseen must be signed by this log's notary."""
    log = honest(*LOG).copy()
    log.keys = NotaryKeys("mallory")
    with pytest.raises(CheckpointUnusable):
        verified(honest(*LOG), since=[("my.checkpoint", log.publish(1, 60))])


def test_a_range_of_leaves_is_looked_at_in_full() -> None:
    """The rest is hashed and folded, and told as not checked."""
    report = verified(honest(*LOG), window=Window(first=30, end=50))
    assert report.count == 0
    assert {part.full for part in report.partitions if part.leaves >= 50} == {20}
    assert any("outside of what was asked for" in line for line in not_checked(report))


def test_a_range_of_times_is_looked_at_in_full() -> None:
    """Broker times, from the first instant on and below the second."""
    log = honest(*LOG)
    times = sorted(record.timestamp_ms for kept in log.kept.values() for record in kept)
    window = Window(since_ms=times[60], until_ms=times[200])
    report = verified(log, window=window)
    expected = sum(times[60] <= time < times[200] for time in times)
    assert (report.count, totals(report)["full"]) == (0, expected)


def test_one_partition_can_be_asked_for() -> None:
    """Partition 0 is always read: it says whom to believe."""
    report = verified(honest(*LOG), only=WHERE)
    assert [part.partition for part in report.partitions] == [0, WHERE]
    assert list(not_checked(report)) == ["partitions 1, 2: they were not asked for"]


def test_the_tail_that_no_checkpoint_covers_is_told() -> None:
    """It may still be exchanged by who has the services' keys."""
    log = honest(*LOG).copy()
    log.notes = [log.publish(WHERE, 10)]
    told = list(not_checked(verified(log)))
    behind = len(log.kept[WHERE]) - 10
    assert f"partition {WHERE}: {behind} leaves behind the last checkpoint could still be exchanged" in told


# The report


def test_the_report_names_the_first_difference_in_words_and_as_data() -> None:
    """Where, by which rule, what was expected and what is there; for each partition, and first of all."""
    log = honest(*LOG).copy()
    log.kept[1] = edited(log.kept[1], 37)
    report = verified(log)
    data, text = as_data(report), as_text(report)
    assert data["holds"] is False
    assert data["first"]["leaf"] == data["partitions"][1]["first"]["leaf"] == 37
    assert data["partitions"][0]["first"] is None
    assert text.startswith("FIRST  partition 1 leaf 37 (offset 37): UntrustedRecord: expected an authentic record;")
    assert "contents from leaf" in text


def test_random_edits_of_one_byte_are_all_found() -> None:
    """Any byte of key, value or signed header, anywhere."""
    source = random.Random(1)  # noqa: S311 - choices of a test
    for _ in range(25):
        log = honest(*LOG).copy()
        partition = source.choice([p for p in range(PARTITIONS) if log.kept[p]])
        at = source.randrange(len(log.kept[partition]))
        log.kept[partition][at] = damaged(log.kept[partition][at], source)
        if (partition, at) != (0, 0):  # without genesis there is nothing to begin with
            told = first(verified(log))
            assert (told.partition, told.leaf) == (partition, at)


def damaged(record: Inbound, source: random.Random) -> Inbound:
    part = source.randrange(3)
    if part == 0:
        return replace(record, value=flipped(record.value or b"", source))
    if part == 1:
        return replace(record, key=flipped(record.key or b"", source))
    index = source.randrange(4)
    headers = [(n, flipped(v, source) if i == index else v) for i, (n, v) in enumerate(record.headers)]
    return replace(record, headers=tuple(headers))


def flipped(data: bytes, source: random.Random) -> bytes:
    at = source.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << source.randrange(7))]) + data[at + 1 :]


def test_outbound_records_are_the_same() -> None:
    """The support writes what it holds."""
    record = honest(*LOG).kept[1][0]
    assert outbound(record).headers == record.headers
