"""Signed tree heads in a verification: who must have signed and cosigned them, and what a wrong line is worth."""

import asyncio
from dataclasses import replace

import pytest
from tests.support.audited_log import honest
from tests.support.notary_log import NotaryKeys, NotaryLog, witness_key
from tests.support.people import DEPLOYMENT, PARTITIONS
from tests.unit.auditing.test_verifying import LOG, WHERE, other_log, verified

from keyfold.auditing.reports import not_checked
from keyfold.auditing.sources import KafkaSource
from keyfold.auditing.verifying import Report, Wanted, verify
from keyfold.bus import MemoryBus, MemoryCluster, Outbound
from keyfold.events import topics
from keyfold.events.notes import NoteSignature, parse_note


def test_a_checkpoint_by_strangers_is_a_finding() -> None:
    """Whoever can write to the topic cannot make a tree head."""
    log = honest(*LOG).copy()
    log.keys = NotaryKeys("mallory")
    log.publish(1)
    report = verified(log)
    assert [(each.code, each.partition) for each in report.findings] == [("CheckpointInvalid", 1)]


@pytest.mark.parametrize("line", [0, 1])
def test_both_signatures_of_the_log_are_needed(line: int) -> None:
    """Root certified an ML-DSA-44 key: without its signature, or without that by Ed25519, it is no checkpoint."""
    log = honest(*LOG).copy()
    lines = log.notes[0].decode().splitlines(keepends=True)
    log.notes[0] = "".join([*lines[:-2], lines[-2:][line]]).encode()
    assert [each.code for each in verified(log).findings] == ["CheckpointInvalid"]


def test_two_stories_of_one_size_are_told() -> None:
    """A notary that signs two roots of one size has told two stories, whichever of them is this log."""
    log, other, _ = other_log()
    split = log.copy()
    split.notes = [log.copy().publish(WHERE), other.publish(WHERE)]
    assert [each.code for each in verified(split).findings] == ["CheckpointsDiffer"]
    split.notes.reverse()
    assert {each.code for each in verified(split).findings} == {"CheckpointsDiffer", "RootDiffers"}


def test_a_witness_that_cosigned_nothing_is_told() -> None:
    """Who asks for a witness wants to know that it saw this log: each partition in which there is something."""
    log = honest(*LOG).copy()
    log.kept[2], log.notes = [], [note for note in log.notes if b"/events/2\n" not in note]
    asked = {"witnesses": [witness_key("witness")]}
    found = verified(log, **asked).findings
    assert [(each.code, each.partition) for each in found] == [("NotCosigned", p) for p in (0, 1, 3)]
    assert [each.partition for each in verified(log, **asked, only=3).findings] == [0, 3]
    log.publish(0, witness="witness")
    log.publish(1, 20, witness="witness")
    report = verified(log, **asked)
    assert [(each.code, each.partition) for each in report.findings] == [("NotCosigned", 3)]
    assert report.heads.cosignatures == 2


def test_leaves_that_a_witness_has_not_cosigned_are_told() -> None:
    """Of each witness and partition: what lies behind its largest cosigned tree it says nothing about."""
    log = honest(*LOG).copy()
    for partition in range(PARTITIONS):
        log.publish(partition, None if partition != 1 else 20, witness="witness")
    report = verified(log, witnesses=[witness_key("witness")])
    assert report.count == 0
    assert list(not_checked(report)) == [f"partition 1: {len(log.kept[1]) - 20} leaves that witness has not cosigned"]


def test_a_wrong_cosignature_is_a_finding() -> None:
    """A line that claims to be the witness's is verified; the checkpoint under it is the log's all the same."""
    log = honest(*LOG).copy()
    log.notes = [with_wrong_line(log.publish(1))]
    report = verified(log, witnesses=[witness_key("witness")])
    assert [each.code for each in report.findings] == ["CosignatureInvalid"] + ["NotCosigned"] * PARTITIONS
    assert report.partitions[1].covered == len(log.kept[1])


@pytest.mark.parametrize("place", [0, 1])
def test_a_wrong_line_does_not_hide_the_right_one(place: int) -> None:
    """Whoever writes cosignatures can put a line under a witness's name before the witness does."""
    log = honest(*LOG).copy()
    log.notes = [log.publish(partition, witness="witness") for partition in range(PARTITIONS)]
    note = parse_note(with_wrong_line(log.notes[1]))
    *lines, right, wrong = note.signatures
    log.notes[1] = replace(note, signatures=(*lines, *((wrong, right) if place else (right, wrong)))).to_bytes()
    report = verified(log, witnesses=[witness_key("witness")])
    assert [(each.code, each.partition) for each in report.findings] == [("CosignatureInvalid", 1)]
    assert report.heads.cosignatures == PARTITIONS
    assert list(not_checked(report)) == []


def test_many_wrong_lines_do_not_make_a_checkpoint_too_large() -> None:
    """A note has a size at most: lines that do not go into one stay in a note of their own."""

    async def scene() -> Report:
        bus = MemoryBus(MemoryCluster(PARTITIONS, clock_ms=lambda: 1_790_000_000_000))
        await honest(*LOG).written_to(bus)
        notary = NotaryLog(bus, keys=honest(*LOG).keys)
        await notary.publish()
        note, sender = parse_note(notary.notes[1][-1]), bus.sender()
        await sender.start()
        for number in range(3):
            lines = [NoteSignature("junk", bytes(4), bytes([number]) * 60_000) for number in (number, number + 3)]
            document = note.with_signatures(lines).to_bytes()
            await (await sender.send(Outbound(topics.COSIGNATURES, 0, b"junk", document)))
        await sender.stop()
        return await verify(KafkaSource(bus, DEPLOYMENT, PARTITIONS), Wanted(DEPLOYMENT))

    report = asyncio.run(scene())
    assert (report.findings, list(not_checked(report))) == ([], [])


def with_wrong_line(note: bytes) -> bytes:
    """The same note with a line of the witness that is of another tree."""
    other = parse_note(honest(*LOG).copy().publish(1, 21, witness="witness")).signatures[-1]
    return parse_note(note).with_signatures([other]).to_bytes()
