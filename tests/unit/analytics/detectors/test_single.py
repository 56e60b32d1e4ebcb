"""The detectors that do not hold a count against a baseline, and fan-out: honest lives, and attacked ones."""

from collections.abc import Iterator

import pytest
from tests.unit.analytics.detectors.lives import DAY, HOUR, ITS_KEY, MINUTE, SECOND, WEEK, look, office, seen, since

from keyfold.analytics.detectors.admin_sequence import AdminSequence
from keyfold.analytics.detectors.decrypt_ratio import DecryptRatio
from keyfold.analytics.detectors.dormant import Dormant
from keyfold.analytics.detectors.fan_out import FanOut
from keyfold.analytics.detectors.first_use import FirstUse
from keyfold.analytics.detectors.probing import Probing
from keyfold.analytics.detectors.settings import (
    AdminSequenceSettings,
    DecryptRatioSettings,
    DormantSettings,
    FanOutSettings,
    FirstUseSettings,
    ProbingSettings,
    UnusualHourSettings,
)
from keyfold.analytics.detectors.unusual_hour import UnusualHour
from keyfold.analytics.observations import Observation

LATER = 5 * WEEK + 10 * HOUR


def first_use() -> FirstUse:
    return FirstUse(FirstUseSettings())


def test_a_new_user_of_an_old_key_is_medium() -> None:
    """The key had one user for five weeks; the signal names the new one."""
    signals = look(first_use(), [*office(5), seen(LATER, principal="mallory")], ITS_KEY)
    assert [(each.severity, each.principal) for each in signals] == [("medium", "mallory")]
    assert signals[0].sentence.startswith("was used by mallory for the first time")


def test_a_new_user_that_encrypts_only_is_low() -> None:
    """Encryption gives nothing away."""
    signals = look(first_use(), [*office(5), seen(LATER, "Encrypt", principal="mallory")], ITS_KEY)
    assert [each.severity for each in signals] == ["low"]


def test_the_first_days_say_nothing() -> None:
    """Everything is new of a new key, and an administrator who creates or tags it is no user."""
    life = [seen(0, "CreateKey", principal="root", administrative=True)]
    life += [seen(day * DAY, principal=f"service-{day}") for day in range(5)]
    assert look(first_use(), life, ITS_KEY) == []


def test_where_new_things_are_usual_they_say_nothing() -> None:
    """A context with a value for each object tells nobody anything."""
    life = [
        seen(hour * HOUR, contexts=("service=mail", f"object={hour}"), items=1) for hour in range(24 * 30)
    ]  # fmt: skip
    assert look(first_use(), life) == []


def test_a_new_context_value_is_low_and_told_once() -> None:
    """It is known from then on."""
    usual = office(5, contexts=("tenant=alder",))
    strange = [seen(LATER + step * MINUTE, contexts=("tenant=birch",)) for step in range(5)]
    signals = look(first_use(), [*usual, *strange])
    assert [(each.severity, each.aspect) for each in signals] == [("low", "context")]


@pytest.mark.parametrize(("verb", "severity"), [("Sign", "low"), ("CreateGrant", "medium")])
def test_a_new_verb_is_low_and_one_of_power_medium(verb: str, severity: str) -> None:
    """Of a principal that did the same for weeks."""
    signals = look(first_use(), [*office(5), seen(LATER, verb)])
    assert [(each.severity, each.sentence.split(";")[0]) for each in signals] == [
        (severity, f"used the verb {verb} for the first time")
    ]


def test_scraping_is_told_fast_and_slow() -> None:
    """Thirty keys in five minutes, and twenty over a day, of one that uses two."""
    detector = FanOut(FanOutSettings())
    usual = [each for step, each in enumerate(office(5))]
    fast = [seen(LATER + step * 10 * SECOND, key_id=f"key-{step}") for step in range(30)]
    slow = [seen(LATER + step * HOUR, key_id=f"key-{step}") for step in range(20)]
    assert look(detector, usual) == []
    first = look(detector, [*usual, *fast])
    assert first[-1].severity in {"high", "critical"}
    assert "different keys in 10 minutes" in first[0].sentence
    later = look(detector, [*usual, *slow])
    assert any(each.severity != "low" and each.aspect == "24h" for each in later)


def test_many_keys_are_usual_of_who_uses_many() -> None:
    """A monitor of forty keys is not told for them."""
    monitor = [seen(step * MINUTE, key_id=f"key-{step % 40}", items=1) for step in range(60 * 24 * 15)]
    assert since(look(FanOut(FanOutSettings()), monitor), WEEK) == []


def test_administration_of_many_keys_is_no_fan_out() -> None:
    """Tags on a hundred keys use none of them."""
    acts = [seen(LATER + step * SECOND, "TagResource", key_id=f"key-{step}", administrative=True) for step in range(99)]
    assert look(FanOut(FanOutSettings()), [*office(5), *acts]) == []
    beside = [seen(LATER + step * SECOND + 1) for step in range(99)]
    assert look(FanOut(FanOutSettings()), [*office(5), *sorted([*acts, *beside], key=lambda each: each.ref)]) == []


def test_an_administrator_is_no_user_of_a_key_that_is_used_meanwhile() -> None:
    """Another uses it in the same seconds."""
    life = [seen(LATER, "TagResource", principal="root", administrative=True), seen(LATER + 1)]
    assert look(first_use(), [*office(5), *life], ITS_KEY) == []


def test_a_key_wakes_by_use_and_not_by_administration() -> None:
    """Forty days of silence; the tag says nothing, the decryption does."""
    life = [seen(day * DAY) for day in range(5)]
    tag = seen(44 * DAY, "TagResource", administrative=True)
    signals = look(Dormant(DormantSettings()), [*life, tag, seen(45 * DAY)], ITS_KEY)
    assert [(each.severity, each.observed) for each in signals] == [("medium", 41.0)]
    assert signals[0].sentence == "woke (Decrypt) after 41 days of silence, where up to a day is usual"


def test_waking_is_worse_when_it_decrypts_later_in_the_hour_and_after_longer() -> None:
    """Reading a public key is low; what follows raises it; a hundred days are high."""
    life = [seen(0), seen(40 * DAY, "GetPublicKey"), seen(40 * DAY + 5 * MINUTE), seen(40 * DAY + 6 * MINUTE)]
    assert [each.severity for each in look(Dormant(DormantSettings()), life)] == ["low", "medium"]
    assert [each.severity for each in look(Dormant(DormantSettings()), [seen(0), seen(100 * DAY)])] == ["high"]


def test_a_monthly_job_is_told_once_at_most() -> None:
    """Its silence is usual from then on."""
    signals = look(Dormant(DormantSettings()), [seen(month * 31 * DAY) for month in range(8)])
    assert len(signals) == 1


def test_the_night_and_the_weekend_are_unusual_of_office_hours() -> None:
    """At three on a working day, and at ten on a Saturday; two decryptions make it medium."""
    detector = UnusualHour(UnusualHourSettings())
    assert look(detector, [*office(5), seen(5 * WEEK + 18 * HOUR)]) == []
    at_night = [seen(5 * WEEK + 3 * HOUR + step * MINUTE) for step in range(10)]
    assert [each.severity for each in look(detector, [*office(5), *at_night])] == ["low", "medium"]
    saturday = [seen(5 * WEEK + 5 * DAY + 10 * HOUR)]
    signals = look(detector, [*office(5), *saturday])
    assert [each.severity for each in signals] == ["low"]
    assert "on a Saturday at 10:00 UTC, as never near that hour in 40 days" in signals[0].sentence


def test_where_it_was_active_once_more_is_needed_and_hours_that_follow_are_one() -> None:
    """One night of work in five weeks makes nights rare, not usual: six decryptions alarm, in one hour or two."""
    detector = UnusualHour(UnusualHourSettings())
    life = sorted([*office(5), seen(2 * WEEK + 3 * HOUR)], key=lambda each: each.ref)
    few = [seen(5 * WEEK + 3 * HOUR + 50 * MINUTE + step * 5 * MINUTE) for step in range(5)]
    assert {each.severity for each in look(detector, [*life, *few])} == {"low"}
    signals = look(detector, [*life, *few, seen(5 * WEEK + 4 * HOUR + 30 * MINUTE)])
    assert signals[-1].severity == "medium"
    assert "as hardly ever near that hour" in signals[-1].sentence


def test_no_hour_is_unusual_before_there_is_history() -> None:
    """Two weeks are none, nor is a handful of hours."""
    detector = UnusualHour(UnusualHourSettings())
    assert look(detector, [*office(2), seen(2 * WEEK + 3 * HOUR)]) == []
    assert look(detector, [*(seen(day * DAY + 9 * HOUR) for day in range(30)), seen(30 * DAY + 3 * HOUR)]) == []


def writer(hours: int, from_hour: int = 0, every: int = 10) -> Iterator[Observation]:
    """Encrypts sixty times an hour, and decrypts once in ten."""
    for step in range(hours * 60):
        verb = "Decrypt" if step % every == 0 else "Encrypt"
        yield seen(from_hour * HOUR + step * MINUTE, verb, 20)


def test_a_writer_that_reads_is_told_by_its_ratio() -> None:
    """As many commands as ever, but all of them decrypt; and a batch of items is one command."""
    detector = DecryptRatio(DecryptRatioSettings())
    assert look(detector, [*writer(120), seen(120 * HOUR, items=10_000)]) == []
    signals = look(detector, [*writer(120), *writer(2, 120, every=1)])
    assert [each.severity for each in signals][:2] == ["low", "medium"]
    assert "times as many for each as usual" in signals[-1].sentence


def test_six_hours_tell_what_an_hour_is_too_short_for() -> None:
    """A few commands an hour, most of which decrypt now: no hour has enough of them."""
    detector = DecryptRatio(DecryptRatioSettings())
    few = [seen(step * 20 * MINUTE, "Decrypt" if step % 10 == 0 else "Encrypt") for step in range(3 * 24 * 30)]
    turned = [seen(30 * DAY + step * 20 * MINUTE, "Decrypt" if step % 10 else "Encrypt") for step in range(3 * 6)]
    assert look(detector, few) == []
    signals = look(detector, [*few, *turned])
    assert {each.severity for each in signals} == {"low", "medium"}
    assert all("in 6 hours" in each.sentence for each in signals)


def denied(at_ms: int, key: str, code: str = "AccessDenied") -> Observation:
    return seen(at_ms, "Decrypt", 1, "denied", code=code, key_id=key)


@pytest.mark.parametrize(
    ("number", "severities"), [(2, []), (4, ["low"]), (6, ["low", "medium"]), (20, ["low", "medium", "high"])]
)
def test_keys_that_were_never_used_and_are_denied_are_probing(number: int, severities: list[str]) -> None:
    """By how many of them within an hour."""
    tried = [denied(LATER + step * MINUTE, f"key-{step}") for step in range(number)]
    signals = look(Probing(ProbingSettings()), [*office(5), *tried])
    assert [each.severity for each in signals] == severities
    if signals:
        assert signals[-1].sentence.endswith(" within an hour that it never used")
        assert signals[-1].evidence


def test_denials_on_ones_own_keys_or_over_days_are_no_probing() -> None:
    """A roll-out is misconfigured: hundreds of denials, on keys that it used for weeks. And a typing error a day."""
    own = [seen(step * HOUR, key_id=f"key-{step % 9}") for step in range(24 * 35)]
    refused = [denied(5 * WEEK + step * SECOND, f"key-{step % 9}") for step in range(300)]
    assert look(Probing(ProbingSettings()), [*own, *refused]) == []
    slowly = [denied(LATER + step * DAY, f"other-{step}") for step in range(30)]
    assert look(Probing(ProbingSettings()), [*office(5), *slowly]) == []


@pytest.mark.parametrize(
    "code",
    ["KeyDisabled", "InvalidState", "PrincipalSuspended", "SealingKeyRetired", "ApprovalRequired", "QuotaExceeded"],
)
def test_what_is_refused_of_ones_own_is_no_probing(code: str) -> None:
    """States, approvals and limits refuse whoever may; and who administers keys uses none of them."""
    refused = [denied(LATER + step * SECOND, f"new-{step}", code) for step in range(30)]
    assert look(Probing(ProbingSettings()), [*office(5), *refused]) == []
    acts = [
        seen(
            LATER + step * SECOND,
            "DisableKey",
            1,
            "denied",
            code="AccessDenied",
            key_id=f"k-{step}",
            administrative=True,
        )
        for step in range(30)
    ]
    assert look(Probing(ProbingSettings()), [*office(5), *acts]) == []


def test_a_key_that_is_used_at_last_was_no_probe() -> None:
    """A roll-out is refused on four new keys, is put right, and is refused on one more."""
    tried = [denied(LATER + step * SECOND, f"key-{step}") for step in range(4)]
    right = [seen(LATER + MINUTE + step * SECOND, key_id=f"key-{step}") for step in range(4)]
    signals = look(Probing(ProbingSettings()), [*office(5), *tried, *right, denied(LATER + 9 * MINUTE, "key-9")])
    assert {each.severity for each in signals} == {"low"}


def test_of_who_uses_more_keys_than_are_known_nothing_is_probing() -> None:
    """What was forgotten is not called never used; and late denials are of another hour."""
    detector = Probing(ProbingSettings(remembered=50))
    many = [seen(step * MINUTE, key_id=f"key-{step}") for step in range(60)]
    tried = [denied(DAY + step * SECOND, f"key-{step}") for step in range(60)]
    assert look(detector, [*many, *tried]) == []


def policy(at_ms: int, name: str = "payments", verb: str = "PutPolicy") -> Observation:
    return seen(at_ms, verb, key_id=None, administrative=True, target=name)


def test_a_policy_changed_used_and_changed_back_is_high() -> None:
    """By one principal, within an hour."""
    detector = AdminSequence(AdminSequenceSettings())
    signals = look(detector, [policy(0), seen(MINUTE, items=30), policy(12 * MINUTE)])
    assert [(each.severity, each.observed, each.aspect) for each in signals] == [("high", 30, "policy/payments")]
    assert signals[0].sentence == (
        "changed the policy payments, used keys 30 times, and changed it again after 12 minutes"
    )
    assert [ref.time_ms - signals[0].since_ms for ref in signals[0].evidence] == [0, 12 * MINUTE]


def test_all_within_ten_seconds_is_told_as_well() -> None:
    """The order within a tick is that of events."""
    detector = AdminSequence(AdminSequenceSettings())
    assert len(look(detector, [policy(0), seen(SECOND), policy(2 * SECOND, verb="DeletePolicy")])) == 1


@pytest.mark.parametrize(
    "life",
    [
        [policy(0), policy(MINUTE)],
        [policy(0), seen(MINUTE), policy(2 * MINUTE, "other")],
        [policy(0), seen(MINUTE), policy(2 * HOUR)],
        [seen(0), policy(MINUTE), policy(2 * MINUTE)],
    ],
    ids=["no use", "another policy", "too late", "use before"],
)
def test_other_orders_are_administration(life: list[Observation]) -> None:
    """A correction, another policy, and one of another day are none."""
    assert look(AdminSequence(AdminSequenceSettings()), life) == []


@pytest.mark.parametrize(
    ("verb", "few", "many"), [("ScheduleKeyDeletion", 2, 8), ("SuspendPrincipal", 2, 8), ("CreateGrant", 10, 40)]
)
def test_many_acts_of_harm_are_told(verb: str, few: int, many: int) -> None:
    """A few are administration."""
    acts = [seen(step * MINUTE, verb, key_id=f"key-{step}", administrative=True) for step in range(many)]
    detector = AdminSequence(AdminSequenceSettings())
    assert look(detector, acts[:few]) == []
    assert look(detector, acts)[-1].severity in {"high", "critical"}
