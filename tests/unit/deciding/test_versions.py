"""One version of a key: disabled, enabled, compromised, destroyed; never the current one, and never at once."""

import pytest
from tests.support.office import WEEK, Office, office

from keyfold.events import facts
from keyfold.events.times import DAY_MS, to_text


def rotated(**options: object) -> Office:
    made = office(**options)
    made.ask("RotateKey")
    return made


@pytest.mark.parametrize("verb", ["DisableKeyVersion", "EnableKeyVersion", "DestroyKeyVersion"])
def test_the_current_version_is_no_old_one(verb: str) -> None:
    """It is replaced by rotation, or the whole key is disabled."""
    assert rotated().code(verb, arguments={"version": 2}) in {"InvalidState", "KeyVersionUnusable"}
    assert rotated().code(verb, arguments={"version": 3}) == "NotFound"


def test_disabling_and_enabling() -> None:
    """Each once, in turn."""
    made = rotated()
    old = {"arguments": {"version": 1}}
    assert made.code("EnableKeyVersion", **old) == "KeyVersionUnusable"
    assert [made.code("DisableKeyVersion", **old) for _ in range(2)] == [None, "KeyVersionUnusable"]
    assert [made.code("EnableKeyVersion", **old) for _ in range(2)] == [None, "KeyVersionUnusable"]


def test_a_version_is_destroyed_after_a_rest() -> None:
    """Seven days disabled, to the millisecond; then it is gone for good."""
    made = rotated()
    old = {"arguments": {"version": 1, "reason": "unused"}}
    assert made.code("DestroyKeyVersion", **old) == "InvalidState"
    made.ask("DisableKeyVersion", **old)
    made.now_ms += WEEK * 1000 - 1
    assert made.code("DestroyKeyVersion", **old) == "InvalidState"
    made.now_ms += 1
    event = made.ask("DestroyKeyVersion", **old)
    assert isinstance(event, facts.KeyVersionDestroyed)
    assert (event.data.version, event.data.reason) == (1, "unused")
    for verb in ("DestroyKeyVersion", "DisableKeyVersion", "EnableKeyVersion"):
        assert made.code(verb, **old) == "KeyVersionUnusable"
    assert made.code("Encrypt") is None


def test_enabling_starts_the_rest_anew() -> None:
    """Who enables a version in between has cancelled."""
    made = rotated()
    old = {"arguments": {"version": 1}}
    made.ask("DisableKeyVersion", **old)
    made.now_ms += WEEK * 1000
    made.ask("EnableKeyVersion", **old)
    assert made.code("DestroyKeyVersion", **old) == "InvalidState"
    made.ask("DisableKeyVersion", **old)
    assert made.code("DestroyKeyVersion", **old) == "InvalidState"


def test_in_development_nobody_waits() -> None:
    """But the version must be out of use."""
    made = rotated(development=True)
    assert made.code("DestroyKeyVersion", arguments={"version": 1}) == "InvalidState"
    made.ask("DisableKeyVersion", arguments={"version": 1})
    assert made.code("DestroyKeyVersion", arguments={"version": 1}) is None


def test_a_compromised_version_rests_too() -> None:
    """The marking counts as being out of use."""
    made = office()
    made.ask("MarkKeyCompromised", arguments={"occurred_at": to_text(made.now_ms - DAY_MS)})
    made.ask("RotateKey", arguments={"cause": "compromise"})
    made.now_ms += WEEK * 1000 - 1
    assert made.code("DestroyKeyVersion", arguments={"version": 1}) == "InvalidState"
    made.now_ms += 1
    assert made.code("DestroyKeyVersion", arguments={"version": 1}) is None


def test_marking_says_which_and_since_when() -> None:
    """All versions, or those that are named; when it occurred, when it was said, and why."""
    made = rotated()
    since = to_text(made.now_ms - DAY_MS)
    event = made.ask("MarkKeyCompromised", arguments={"versions": [1], "occurred_at": since, "reason": "stolen"})
    assert isinstance(event, facts.KeyCompromised)
    assert event.data.versions == [1]
    first, second = made.key().versions
    assert (first.compromised, first.occurred_at, first.compromise_reason) == (True, since, "stolen")
    assert not second.compromised
    assert made.code("Encrypt") is None
    made.ask("MarkKeyCompromised", arguments={"occurred_at": since})
    assert made.code("Encrypt") == "KeyCompromised"


def test_marking_what_cannot_be() -> None:
    """Not ahead of time, not a version that never was."""
    made = office()
    ahead = {"occurred_at": to_text(made.now_ms + 1)}
    assert made.code("MarkKeyCompromised", arguments=ahead) == "InvalidCommand"
    assert made.code("MarkKeyCompromised", arguments={"occurred_at": to_text(0), "versions": [2]}) == "NotFound"


@pytest.mark.parametrize("status", ["Disabled", "PendingDeletion", "Destroyed"])
def test_marking_changes_no_other_state(status: str) -> None:
    """A key that is out of use is marked and stays as it is (SP 800-57: destroyed compromised)."""
    made = office(status)
    assert made.code("MarkKeyCompromised", arguments={"occurred_at": to_text(made.now_ms)}) is None
    assert (made.key().status, made.key().current.compromised) == (status, True)


def test_rotation_names_its_cause() -> None:
    """Compromise and period are causes that must hold."""
    made = Office()
    made.ask("CreateKey", arguments={"rotation_period_seconds": 90 * 86_400})
    for cause in ("compromise", "period", "usage-budget"):
        assert made.code("RotateKey", arguments={"cause": cause}) == "InvalidState"
    made.now_ms += 90 * DAY_MS
    event = made.ask("RotateKey", arguments={"cause": "period"})
    assert isinstance(event, facts.KeyRotated)
    assert event.data.cause == "period"
    assert made.code("RotateKey", arguments={"cause": "period"}) == "InvalidState"


def test_periods_and_who_sets_them() -> None:
    """90 to 2560 days, counted from when rotation was enabled; any in development; none for imported material."""
    made = office()
    for days, code in ((89, "InvalidCommand"), (90, None), (2560, None)):
        assert made.code("EnableKeyRotation", arguments={"rotation_period_seconds": days * 86_400}) == code
    made.ask("EnableKeyRotation", arguments={"rotation_period_seconds": 90 * 86_400})
    made.now_ms += 89 * DAY_MS
    made.ask("EnableKeyRotation", arguments={"rotation_period_seconds": 90 * 86_400})
    made.now_ms += DAY_MS
    assert made.code("RotateKey", arguments={"cause": "period"}) == "InvalidState"
    made.ask("DisableKeyRotation")
    made.now_ms += 90 * DAY_MS
    assert made.code("RotateKey", arguments={"cause": "period"}) == "InvalidState"
    quick = office(development=True)
    assert quick.code("EnableKeyRotation", arguments={"rotation_period_seconds": 1}) is None
    outside = Office()
    wanted = {"origin": "EXTERNAL", "rotation_period_seconds": 90 * 86_400}
    assert outside.code("CreateKey", arguments=wanted) == "InvalidCommand"


def test_said_again_the_first_word_stands() -> None:
    """A second marking moves the occurrence back only, and starts no rest anew."""
    made = office()
    first, earlier = to_text(made.now_ms - DAY_MS), to_text(made.now_ms - 2 * DAY_MS)
    said = made.now_ms
    for occurred_at in (first, to_text(made.now_ms), earlier):
        made.ask("MarkKeyCompromised", arguments={"occurred_at": occurred_at, "reason": "x" * 1000})
        made.now_ms += 5
    version = made.key().current
    assert (version.occurred_at, version.compromised_at) == (earlier, to_text(said))
    assert len(version.compromise_reason) == 100


@pytest.mark.parametrize(("letter", "versions"), [("x", 5999), ("\U0001d4b3", 3999)])
def test_a_key_does_not_grow_without_end(letter: str, versions: int) -> None:
    """What makes it larger is refused in time, so that what cannot be refused still fits; it can always be stopped."""
    made = office()
    key = made.key()
    many = tuple(
        key.versions[0].model_copy(update={"version": n, "reason": letter * 100}) for n in range(1, versions + 1)
    )
    made.state.entities["key/" + key.key_id] = key.model_copy(update={"versions": many, "current_version": versions})
    assert len(made.key().model_dump_json().encode()) > 2 * 1024 * 1024
    assert made.code("TagResource", arguments={"tags": {"a": "b"}}) == "InvalidState"
    assert made.code("MarkKeyCompromised", arguments={"occurred_at": to_text(made.now_ms)}) is None
    assert made.code("DisableKey") is None
