"""What is due, and what rests."""

from typing import Any

from tests.unit.scheduler.issuers import issuer

from keyfold.client import SealingKeyPeriod
from keyfold.events.arguments import EpochEvidence
from keyfold.events.times import to_text
from keyfold.projections.rows import EpochTurn, StorageEpoch
from keyfold.scheduler.duties import Agenda, Duty, Times, epoch_duties, issuer_duties, sealing_duties

TIMES = Times(
    rotate_after_ms=1000,
    erase_after_ms=100,
    erase_awaited_after_ms=20,
    settle_ms=50,
    backoff_ms=10,
    max_backoff_ms=35,
)
DUTY = Duty("DestroyKey", "k")


def test_the_current_sealing_key_is_rotated_when_it_is_old_enough() -> None:
    """Not a millisecond earlier."""
    keys = [SealingKeyPeriod("a", 5000, None)]
    assert sealing_duties(keys, 5999, TIMES) == []
    assert sealing_duties(keys, 6000, TIMES) == [Duty("RotateSealingKey", "a")]


def test_a_retired_sealing_key_is_erased_when_nothing_valid_is_sealed_to_it() -> None:
    """Counted from its retirement; it is never rotated again."""
    keys = [SealingKeyPeriod("a", 0, 5000), SealingKeyPeriod("b", 5000, None)]
    assert sealing_duties(keys, 5099, TIMES) == []
    assert sealing_duties(keys, 5100, TIMES) == [Duty("EraseSealingKey", "a")]


def epoch(turned: dict[int, int], number: int = 2, ended: int = 0, begun_ms: int = 0) -> StorageEpoch:
    """An epoch of three partitions; some have turned, at these offsets."""
    turns = tuple(EpochTurn(partition, offset, to_text(begun_ms), 0) for partition, offset in turned.items())
    return StorageEpoch(number, ended, 3, to_text(begun_ms) if number > 1 else None, "alice", None, None, turns)


def test_a_sealing_key_from_before_the_epoch_is_rotated_at_once() -> None:
    """Once: the new one is not older. The first epoch began before all sealing keys."""
    begun = epoch({}, begun_ms=5001)
    assert sealing_duties([SealingKeyPeriod("a", 5000, None)], 5001, TIMES, begun) == [Duty("RotateSealingKey", "a")]
    keys = [SealingKeyPeriod("a", 5000, 5001), SealingKeyPeriod("b", 5001, None)]
    assert sealing_duties(keys, 5002, TIMES, begun) == []
    assert sealing_duties([SealingKeyPeriod("a", 0, None)], 1, TIMES, epoch({}, 1)) == []
    assert sealing_duties([SealingKeyPeriod("a", 0, None)], 1, TIMES, None) == []


def test_what_a_certificate_waits_for_is_erased_sooner_in_development_only() -> None:
    """Commands of a deployment that is not for development may still be sealed to the key."""
    keys = [SealingKeyPeriod("a", 0, 5000), SealingKeyPeriod("b", 5000, None)]
    begun = epoch({}, begun_ms=10)
    assert sealing_duties(keys, 5020, TIMES, begun) == []
    assert sealing_duties(keys, 5019, TIMES, begun, development=True) == []
    assert sealing_duties(keys, 5020, TIMES, begun, development=True) == [Duty("EraseSealingKey", "a")]
    later = [SealingKeyPeriod("a", 10, 5000), SealingKeyPeriod("b", 5000, None)]
    assert sealing_duties(later, 5020, TIMES, begun, development=True) == []
    assert sealing_duties(later, 5100, TIMES, begun, development=True) == [Duty("EraseSealingKey", "a")]


def test_an_epoch_ends_when_every_partition_has_turned() -> None:
    """The one before the current, by the place at which each says so; once it has ended, no more."""
    turned = {0: 7, 1: 4, 2: 9}
    evidence = tuple(EpochEvidence(partition=partition, offset=offset) for partition, offset in turned.items())
    assert epoch_duties(epoch(turned)) == [Duty("EndStorageEpoch", "1", evidence=evidence)]
    for missing in turned:
        assert epoch_duties(epoch({p: offset for p, offset in turned.items() if p != missing})) == []
    assert epoch_duties(epoch(turned, ended=1)) == []
    assert epoch_duties(epoch(turned, number=1)) == []
    assert epoch_duties(None) == []


def test_another_cause_or_version_is_another_duty() -> None:
    """A compromise is not held up by a rotation that failed for its budget."""
    agenda = Agenda(TIMES)
    agenda.failed(Duty("RotateKey", "k", cause="usage-budget"), 0, retriable=False)
    agenda.failed(Duty("DeleteImportedKeyMaterial", "k", version=1), 0, retriable=False)
    due = [Duty("RotateKey", "k", cause="compromise"), Duty("DeleteImportedKeyMaterial", "k", version=2)]
    assert agenda.ready(due, 1) == due


def due(now_ms: int, **changes: Any) -> bool:
    """Tell whether the keys of an issuer, put at 5,000 for 400 s unless told otherwise, are to be read."""
    duties = issuer_duties([issuer(**changes)], now_ms)
    assert duties in ([], [Duty("PutIssuerKeys", "corp", "corp.json")])
    return bool(duties)


def test_an_issuers_keys_are_read_again_when_a_quarter_of_their_life_is_over() -> None:
    """Not a millisecond earlier, and from then on until they are put."""
    assert not due(104_999)
    assert due(105_000)
    assert due(405_000)


def test_an_issuers_keys_are_read_at_once_when_there_are_none() -> None:
    """It was put just now."""
    assert due(1, put_ms=None)


def test_an_issuers_keys_are_read_at_once_when_its_settings_changed() -> None:
    """They may name another source; what is put then counts for them."""
    assert due(5_001, updated_ms=5_001)
    assert not due(5_002, updated_ms=5_001, put_ms=5_001)


def test_an_issuers_keys_that_an_administrator_puts_are_not_read() -> None:
    """There is nowhere to read them."""
    assert not due(10**9, jwks_source=None)
    assert not due(10**9, jwks_source=None, put_ms=None)


def test_another_source_is_another_duty() -> None:
    """What failed at the old one does not hold up the new one."""
    agenda = Agenda(TIMES)
    agenda.failed(Duty("PutIssuerKeys", "corp", "old.json"), 0, retriable=False)
    new = Duty("PutIssuerKeys", "corp", "new.json")
    assert agenda.ready([new], 1) == [new]


def test_a_duty_that_was_done_rests_until_the_projections_show_it() -> None:
    """And is done again only if it is still there."""
    agenda = Agenda(TIMES)
    assert agenda.ready([DUTY, DUTY], 0) == [DUTY]
    agenda.done(DUTY, 0)
    assert agenda.ready([DUTY], 49) == []
    assert agenda.ready([DUTY], 50) == [DUTY]


def test_failures_rest_longer_each_time() -> None:
    """Up to the longest pause; success forgets them."""
    agenda, now, pauses = Agenda(TIMES), 0, []
    for _ in range(4):
        agenda.failed(DUTY, now, retriable=True)
        pause = next(t for t in range(100) if agenda.ready([DUTY], now + t))
        pauses.append(pause)
        now += pause
    assert pauses == [10, 20, 35, 35]
    agenda.done(DUTY, now)
    agenda.failed(DUTY, now, retriable=True)
    assert agenda.ready([DUTY], now + 10) == [DUTY]


def test_a_lasting_refusal_rests_for_the_longest_time() -> None:
    """Trying soon again would not help."""
    agenda = Agenda(TIMES)
    agenda.failed(DUTY, 0, retriable=False)
    assert agenda.ready([DUTY], 34) == []
    assert agenda.ready([DUTY], 35) == [DUTY]


def test_what_is_no_duty_any_more_is_forgotten() -> None:
    """Memory does not grow with the keys that ever were destroyed."""
    agenda = Agenda(TIMES)
    agenda.done(DUTY, 0)
    agenda.ready([], 49)
    assert len(agenda._resting) == 1
    agenda.ready([], 50)
    assert agenda._resting == {}
