"""Which checkpoints an archive believes: those that the pinned deployment's notary signed with all its keys."""

from dataclasses import replace

import pytest
from tests.support.notary_log import NotaryKeys
from tests.support.people import DEPLOYMENT
from tests.unit.auditing.archived import Log

from keyfold.auditing.archive_checkpoints import believed, joined
from keyfold.events.checkpoints import Checkpoint, origin_of
from keyfold.events.notes import Note, NoteInvalid, NoteSignature, parse_note


@pytest.fixture
def log() -> Log:
    """An honest log."""
    return Log()


def test_a_checkpoint_by_both_keys_is_believed(log: Log) -> None:
    """It names the partition, size and root; lines of others are carried along."""
    note = parse_note(log.note(2)).with_signatures([NoteSignature("witness", b"1234", b"a signature")])
    head = believed(note.to_bytes(), log.trust)
    assert (head.partition, head.size, head.note) == (2, len(log.kept[2]), note)


@pytest.mark.parametrize("missing", [0, 1])
def test_one_signature_of_two_is_not_enough(log: Log, missing: int) -> None:
    """Neither the classical nor the post-quantum one alone: an archive is kept for long."""
    note = parse_note(log.note(2))
    lines = tuple(line for at, line in enumerate(note.signatures) if at != missing)
    with pytest.raises(NoteInvalid, match="all keys"):
        believed(Note(note.text, lines).to_bytes(), log.trust)


def test_two_notaries_do_not_make_one(log: Log) -> None:
    """A line of each of two certified notaries is no checkpoint of either."""
    other = NotaryKeys("other")
    trust = log.trust.with_event(other.certificate())
    note = parse_note(log.note(2))
    checkpoint = believed(note.to_bytes(), trust)
    second = other.note(Checkpoint(origin_of(DEPLOYMENT, 2), checkpoint.size, checkpoint.root))
    mixed = Note(note.text, (note.signatures[0], second.signatures[1]))
    with pytest.raises(NoteInvalid, match="all keys"):
        believed(mixed.to_bytes(), trust)
    assert believed(second.to_bytes(), trust).size == checkpoint.size


def test_strangers_are_not_believed(log: Log) -> None:
    """Keys that root did not certify, another text under good lines, another deployment, or no notary at all."""
    note, stranger = parse_note(log.note(2)), NotaryKeys("stranger")
    origin = origin_of(DEPLOYMENT, 2)
    for refused in (
        stranger.note(Checkpoint(origin, 7, bytes(32))),
        replace(note, text=note.text.replace(f"\n{len(log.kept[2])}\n", "\n1\n")),
        log.notary.note(Checkpoint(origin_of("0" * 64, 2), 7, bytes(32))),
        log.notary.note(Checkpoint(f"{origin}/more", 7, bytes(32))),
    ):
        with pytest.raises(NoteInvalid):
            believed(refused.to_bytes(), log.trust)
    unset = replace(log.trust, certificates={})
    with pytest.raises(NoteInvalid, match="no notary"):
        believed(note.to_bytes(), unset)


def test_lines_of_further_keys_are_joined() -> None:
    """A key's line is kept as it was; those of others are added once."""
    first, again, other = (NoteSignature(name, b"1234", text) for name, text in [("a", b"1"), ("a", b"2"), ("b", b"3")])
    assert joined(Note("x\n", (first,)), Note("x\n", (again, other, other))).signatures == (first, other)
