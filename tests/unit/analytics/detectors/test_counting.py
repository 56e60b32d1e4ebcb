"""usage-rate, slow-use, data-key-volume, denials and replays: honest weeks say nothing, and attacks are told."""

from collections.abc import Iterator

import pytest
from tests.unit.analytics.detectors.lives import (
    ALICE,
    DAY,
    HOUR,
    ITS_KEY,
    KEY_ID,
    MINUTE,
    SECOND,
    WEEK,
    look,
    office,
    seen,
    since,
)

from keyfold.analytics.detectors.baseline import Baselines, Limits
from keyfold.analytics.detectors.denials import Denials, Replays
from keyfold.analytics.detectors.settings import (
    DataKeyVolumeSettings,
    DenialsSettings,
    ReplaysSettings,
    SlowUseSettings,
    UsageRateSettings,
)
from keyfold.analytics.detectors.usage_rate import DataKeyVolume, SlowUse, UsageRate
from keyfold.analytics.observations import Observation, Result

ATTACK = 4 * WEEK + DAY + 11 * HOUR


def rate() -> UsageRate:
    return UsageRate(UsageRateSettings())


def burst(at_ms: int, commands: int, items: int, verb: str = "Decrypt") -> Iterator[Observation]:
    """One command every two seconds."""
    return (seen(at_ms + step * 2 * SECOND, verb, items) for step in range(commands))


def nightly(days: int, hour: int = 2) -> Iterator[Observation]:
    """A job that decrypts fifteen thousand items at about the same time of each night."""
    for day in range(days):
        begin = day * DAY + hour * HOUR + day * 7 % 50 * MINUTE
        yield from (seen(begin + step * 10 * SECOND, items=250) for step in range(60))


def test_weeks_of_the_same_rhythm_say_nothing() -> None:
    """Once the prior has faded, honest variation is no finding."""
    assert look(rate(), office(6)) == []


@pytest.mark.parametrize(("entity", "worst"), [(ALICE, "critical"), (ITS_KEY, "high")])
def test_mass_decryption_is_told_of_a_principal_and_of_a_key(entity: str, worst: str) -> None:
    """A burst is critical in the end, of a key a step milder (its principal is told of as well), within a minute of its
    beginning at least medium, and names the other side."""
    signals = look(rate(), [*office(4), *burst(4 * WEEK + DAY + 8 * HOUR, 200, 50)], entity)
    first = next(signal for signal in signals if signal.severity != "low")
    assert first.until_ms - signals[0].since_ms <= MINUTE
    assert signals[-1].severity == worst
    assert {signal.aspect for signal in signals} == {"decrypt"}
    assert (first.key_id, first.principal) == ((KEY_ID, None) if entity == ALICE else (None, "alice"))
    assert first.evidence


def test_the_sentence_says_how_many_in_which_time_and_how_many_are_usual() -> None:
    """A person understands it."""
    signals = look(rate(), [*office(4), *burst(ATTACK, 60, 50)])
    assert signals[0].sentence.startswith("decrypted ")
    assert " items in a minute, where about " in signals[0].sentence
    assert signals[0].sentence.endswith(" usual on a Tuesday at 11:00 UTC")


def test_an_aspect_is_told_once_an_hour_until_it_is_more_severe() -> None:
    """No severity is said twice in an hour."""
    severities = [signal.severity for signal in look(rate(), [*office(4), *burst(ATTACK, 900, 50)])]
    assert len(severities) == len(set(severities))


def test_what_a_job_does_each_night_is_usual_at_night_and_unusual_by_day() -> None:
    """The same job at noon, of one that is awake then with little, alarms; at night nothing does."""
    honest = sorted([*office(5), *nightly(35)], key=lambda each: each.ref)
    assert {signal.severity for signal in since(look(rate(), honest), 2 * WEEK)} <= {"low"}
    at_noon = [seen(5 * WEEK + 12 * HOUR + step * 10 * SECOND, items=250) for step in range(60)]
    assert any(signal.severity != "low" for signal in look(rate(), [*honest, *at_noon]))


def test_bursts_are_usual_of_who_has_them() -> None:
    """The spread is learned: what is critical of a steady principal alarms nobody of a bursty one."""
    bursty = [
        seen(hour * HOUR + (hour * 17 % 60) * MINUTE, items=3 if hour % 5 else 600 + hour * 37 % 900)
        for hour in range(24 * 28)
    ]
    late = 4 * WEEK + HOUR
    of_bursty = since(look(rate(), [*bursty, seen(late, items=1_300)]), 4 * WEEK)
    assert {signal.severity for signal in of_bursty} <= {"low"}
    steady = [seen(hour * HOUR, items=3) for hour in range(24 * 28)]
    assert since(look(rate(), [*steady, seen(late, items=1_300)]), 4 * WEEK)[0].severity == "critical"


def test_what_lasts_becomes_usual() -> None:
    """Five times as much from some day on is told at first, and is usual after three weeks."""
    signals = look(
        rate(), [*office(4, items=40), *(replaced for replaced in office(9, items=200) if _is_later(replaced))]
    )
    assert since(signals, 4 * WEEK)
    assert since(signals, 7 * WEEK) == []


def _is_later(observation: Observation) -> bool:
    return observation.ref.offset >= 4 * WEEK


def test_encryption_alone_is_never_more_than_low() -> None:
    """It gives nothing away."""
    signals = look(rate(), [*office(4, "Encrypt"), *burst(ATTACK, 900, 100, "Encrypt")])
    assert {signal.severity for signal in signals} == {"low"}


def test_what_is_denied_or_merely_completed_is_no_operation() -> None:
    """Only authorized decisions count, each once."""
    done = [seen(ATTACK + step, "Decrypt", 5_000, "completed") for step in range(20)]
    assert look(rate(), [*office(4), *done]) == []


def test_a_little_all_day_long_is_slow_use() -> None:
    """Two items a minute by somebody with office hours, day and night; the rate of it is nothing."""
    slowly = sorted(
        [*office(6), *(seen(5 * WEEK + minute * MINUTE + 30 * SECOND, items=1) for minute in range(1, 24 * 60))],
        key=lambda each: each.ref,
    )
    assert look(SlowUse(SlowUseSettings()), office(6)) == []
    signals = look(SlowUse(SlowUseSettings()), slowly)
    assert since(signals, 5 * WEEK + 4 * HOUR)
    assert any(signal.severity in {"medium", "high", "critical"} for signal in signals)
    assert "ten-minute spans in a day" in signals[-1].sentence


def test_a_minute_of_decryption_is_one_span_of_slow_use() -> None:
    """However many commands and items it has: how long it goes on counts."""
    detector = SlowUse(SlowUseSettings())
    memory = detector.begin()
    look(detector, burst(0, 25, 100), memory=memory)
    assert memory.kinds["slow"].windows[0].total == 1
    look(detector, burst(10 * MINUTE, 25, 100), memory=memory)
    assert memory.kinds["slow"].windows[0].total == 2


def test_a_slow_theft_does_not_make_itself_usual() -> None:
    """A day of five times as much is medium long before it is over, however irregular the days before were."""
    before = [
        seen(day * DAY + hour * HOUR, items=20 + (day * 37 + hour * 11) % 60) for day in range(42) for hour in range(24)
    ]
    stolen = [seen(6 * WEEK + step * 5 * MINUTE + SECOND, items=18) for step in range(12 * 24)]
    usual = [seen(6 * WEEK + hour * HOUR, items=50) for hour in range(24)]
    signals = since(look(rate(), sorted([*before, *usual, *stolen], key=lambda each: each.ref)), 6 * WEEK)
    alarms = [each for each in signals if each.severity != "low" and each.sentence.startswith("decrypted")]
    assert any("in a day" in each.sentence for each in alarms)


def test_a_day_is_told_again_only_of_much_more() -> None:
    """A burst is no news for as long as it is among the last day's."""
    after = (seen(ATTACK + hour * HOUR, items=4) for hour in range(2, 30))
    signals = look(rate(), [*office(4), *burst(ATTACK, 300, 50), *after])
    assert since(signals, ATTACK + 2 * HOUR) == []


def test_a_day_that_becomes_worse_is_told_again() -> None:
    """Low at first, and medium of little more; bursts of minutes beside it do not hide the day."""
    rules = Limits(UsageRateSettings().baseline, (MINUTE, DAY), noise=1.0)
    made = Baselines.begin(rules, 0)
    for hour in range(24 * 60):
        made.judge(hour, (10, 1_000 + hour % 7), 40)
    hour = 24 * 60
    made.judge(hour, (10, 1_000), 40)
    low, medium, *_ = made.each[1]._limits
    assert made.judge(hour, (10, int(low) + 1), 40) == (0, 1)
    assert made.judge(hour, (10, int(low) + 2), 40)[0] == -1
    assert made.judge(hour, (10, int(medium) + 1), 40) == (1, 1)
    assert medium < 1.5 * low


def test_after_a_usual_day_what_was_told_is_forgotten() -> None:
    """However near to it the usual count is."""
    rules = Limits(UsageRateSettings().baseline, (MINUTE, DAY), noise=1.0)
    made = Baselines.begin(rules, 0)
    for hour in range(24 * 60):
        made.judge(hour, (10, 1_000), 40)
    hour = 24 * 60
    made.judge(hour, (10, 1_000), 40)
    low = int(made.each[1]._limits[0])
    assert made.judge(hour, (10, low + 1), 40) == (0, 1)
    for later in range(1, 26):
        assert made.judge(hour + later, (10, 1_000), 40)[0] == -1
    low = int(made.each[1]._limits[0])
    assert made.judge(hour + 25, (10, low + 1), 40) == (0, 1)


def test_data_keys_are_told_by_data_key_volume_only() -> None:
    """Each verb is of one detector."""
    life = [*office(4, "GenerateDataKey"), *burst(ATTACK, 200, 50, "GenerateDataKeyWithoutPlaintext")]
    signals = look(DataKeyVolume(DataKeyVolumeSettings()), life)
    assert signals[-1].severity == "critical"
    assert "generated" in signals[-1].sentence
    assert look(rate(), life) == []


def test_denials_are_told_by_their_number() -> None:
    """A handful is nothing, thirty in ten minutes are."""
    few = [*office(2), *(seen(2 * WEEK + step * MINUTE, "Sign", 1, "denied", code="AccessDenied") for step in range(5))]
    many = [seen(2 * WEEK + HOUR + step * 15 * SECOND, "Sign", 1, "denied", code="AccessDenied") for step in range(30)]
    assert look(Denials(DenialsSettings()), few) == []
    signals = look(Denials(DenialsSettings()), [*few, *many])
    assert signals[-1].severity in {"medium", "high"}
    assert signals[-1].aspect == "denied"
    assert signals[-1].evidence[0].event_id in {each.ref.event_id for each in many}


def test_denials_on_a_key_name_nobody_who_may_use_it() -> None:
    """Somebody else was denied: who uses the key in the same seconds has nothing to do with it."""
    life = [*office(4)]
    for step in range(60):
        life.append(seen(ATTACK + step * SECOND, "Sign", 1, "denied", code="AccessDenied", principal="mallory"))
        life.append(seen(ATTACK + step * SECOND + 1))
    signals = look(Denials(DenialsSettings()), life, ITS_KEY)
    assert signals
    assert {each.principal for each in signals} == {None}


@pytest.mark.parametrize("entity", [ALICE, ITS_KEY])
def test_failed_items_of_decryption_are_told(entity: str) -> None:
    """They stand in completed commands, with how many failed."""
    forged = [
        seen(ATTACK + step * SECOND, "Decrypt", 50, "completed", code="InvalidCiphertext", failures=50)
        for step in range(20)
    ]
    signals = look(Denials(DenialsSettings()), [*office(4), *forged], entity)
    assert signals[-1].severity == "critical"
    assert signals[-1].sentence.startswith("failed to decrypt ")


def test_what_the_service_could_not_do_is_nobodys_fault() -> None:
    """While a token is away, everything fails."""
    storm = [seen(ATTACK + step * SECOND, "Decrypt", 9, "failed", code="TokenUnavailable") for step in range(300)]
    assert look(Denials(DenialsSettings()), [*office(4), *storm]) == []


@pytest.mark.parametrize("entity", [ALICE, ITS_KEY])
@pytest.mark.parametrize("result", ["denied", "failed"])
@pytest.mark.parametrize("code", ["KeyDisabled", "PrincipalSuspended", "SigningKeyRevoked", "KeyDestroyed"])
def test_what_a_state_forbids_is_no_probing(entity: str, result: Result, code: str) -> None:
    """Who goes on as always with a key that was disabled did nothing; else one act would lead to the next."""
    storm = [seen(ATTACK + step * SECOND, "Decrypt", 9, result, code=code) for step in range(300)]
    assert look(Denials(DenialsSettings()), [*office(4), *storm], entity) == []


def test_probing_does_not_hide_behind_what_a_state_forbids() -> None:
    """Each counts for itself, whatever comes beside it."""
    life = [*office(4)]
    for step in range(300):
        life.append(seen(ATTACK + step * SECOND, "Decrypt", 9, "completed", code="KeyDisabled", failures=0))
        life.append(seen(ATTACK + step * SECOND + 1, "Decrypt", 9, "denied", code="AccessDenied"))
    signals = look(Denials(DenialsSettings()), life)
    assert signals[-1].severity == "critical"
    assert signals[-1].aspect == "denied"


def test_replayed_and_expired_commands_are_told() -> None:
    """Two are an accident; twenty are somebody who recorded them."""
    codes = ("Expired", "IdempotencyConflict")
    sent = [
        seen(ATTACK + step * 20 * SECOND, "Decrypt", 1, "rejected", code=codes[step % 2], key_id=None)
        for step in range(20)
    ]
    assert look(Replays(ReplaysSettings()), [*office(4), *sent[:2]]) == []
    signals = look(Replays(ReplaysSettings()), [*office(4), *sent])
    assert signals[-1].severity in {"medium", "high"}
    assert signals[-1].sentence.startswith("sent ")
    assert signals[-1].evidence
