"""Rate limits and quotas: token buckets and windows in broker time, exact, and nothing charged for what is refused."""

from typing import Any

import pytest
from tests.support.desk import Desk
from tests.support.office import KEY, Office, office
from tests.support.people import PARTITIONS, START_MS, command, key_on

from keyfold.events import facts
from keyfold.events.streams import REGISTRY
from keyfold.events.times import DAY_MS, HOUR_MS

SAME_PARTITION = key_on(2, 500)


def limited(**arguments: Any) -> Office:
    """An office with one limit, `calls`."""
    made = office()
    made.register("carol", "readers")
    made.register("dave")
    known = {"limit": "calls", "kind": "rate", "amount": 10, "period_seconds": 10, "per": "key"} | arguments
    assert made.code("PutLimit", REGISTRY, arguments=known) is None
    return made


def test_a_token_bucket() -> None:
    """A burst is taken at once; afterwards commands come at the rate, to the millisecond."""
    made = limited(amount=10, period_seconds=10, burst=3)
    assert [made.code("Encrypt", by="carol") for _ in range(4)] == [None, None, None, "RateLimited"]
    made.now_ms += 999
    assert made.code("Encrypt", by="carol") == "RateLimited"
    made.now_ms += 1
    assert [made.code("Encrypt", by="carol") for _ in range(2)] == [None, "RateLimited"]
    made.now_ms += HOUR_MS
    assert [made.code("Encrypt", by="carol") for _ in range(4)] == [None, None, None, "RateLimited"]


def test_each_principal_has_a_bucket() -> None:
    """One principal's use is not another's; a bucket per key is not another key's."""
    made = limited(burst=1)
    made.ask("CreateKey", SAME_PARTITION)
    assert made.code("Encrypt", by="carol") is None
    assert made.code("Encrypt", by="carol") == "RateLimited"
    assert made.code("Encrypt", by="dave") is None
    assert made.code("Encrypt", SAME_PARTITION, by="carol") is None


def test_per_principal_each_partition_has_its_share() -> None:
    """Of a limit per principal each partition but the registry's has its part, rounded up, over all keys together."""
    made = limited(per="principal", amount=7, period_seconds=3600)
    made.ask("CreateKey", SAME_PARTITION)
    assert PARTITIONS == 4
    codes = [made.code("Encrypt", stream, by="carol") for stream in (KEY, SAME_PARTITION, KEY, SAME_PARTITION)]
    assert codes == [None, None, None, "RateLimited"]


def test_items_are_counted_where_the_limit_says_so() -> None:
    """A limit of items is charged by items and is no matter of control verbs."""
    made = limited(unit="items", amount=100, period_seconds=60)
    assert made.code("Encrypt", by="carol", items=60) is None
    assert made.code("Encrypt", by="carol", items=41) == "RateLimited"
    assert made.code("Encrypt", by="carol", items=40) is None
    assert made.code("DisableKey") is None


def test_a_quota_begins_anew_with_its_window() -> None:
    """A quota is a fixed window, counted from 1970; what is over it waits for the next."""
    made = limited(kind="quota", unit="items", amount=1000, period_seconds=86_400)
    assert [made.code("Encrypt", by="carol", items=400) for _ in range(3)] == [None, None, "QuotaExceeded"]
    assert made.code("Encrypt", by="carol", items=200) is None
    made.now_ms = (START_MS // DAY_MS + 1) * DAY_MS - 1
    assert made.code("Encrypt", by="carol") == "QuotaExceeded"
    made.now_ms += 1
    assert made.code("Encrypt", by="carol", items=1000) is None
    assert made.code("Encrypt", by="carol") == "QuotaExceeded"


@pytest.mark.parametrize(
    ("scope", "by", "verb", "applies"),
    [
        ({"principal": "carol"}, "carol", "Encrypt", True),
        ({"principal": "carol"}, "dave", "Encrypt", False),
        ({"group": "readers"}, "carol", "Encrypt", True),
        ({"group": "readers"}, "dave", "Encrypt", False),
        ({"verbs": ["Decrypt"]}, "carol", "Encrypt", False),
        ({"verbs": ["Decrypt"]}, "carol", "Decrypt", True),
        ({"key_id": KEY.removeprefix("key/")}, "carol", "Encrypt", True),
        ({"key_id": SAME_PARTITION.removeprefix("key/")}, "carol", "Encrypt", False),
    ],
)
def test_whom_a_limit_is_for(scope: dict[str, Any], by: str, verb: str, applies: bool) -> None:
    """A limit holds for the principal, group, key and verbs that it names."""
    made = limited(amount=1, period_seconds=3600, **scope)
    assert made.code(verb, by=by) is None
    assert made.code(verb, by=by) == ("RateLimited" if applies else None)


def test_what_is_refused_is_not_charged() -> None:
    """Denials and refusals of state leave the levels as they are."""
    made = limited(amount=1, period_seconds=3600)
    assert made.code("Encrypt", by="carol", alias="alias/none") == "AliasMoved"
    assert made.code("Encrypt", by="carol", items=1001) == "BatchTooLarge"
    assert made.code("Encrypt", by="carol") is None
    assert made.code("Encrypt", by="carol") == "RateLimited"


def test_a_dry_run_is_charged_to_rates_only() -> None:
    """Dry runs cost the log as much as others do, so a rate counts them; a quota of use does not."""
    made = limited(amount=1, period_seconds=3600)
    assert isinstance(made.ask("Encrypt", by="carol", dry_run=True), facts.DryRunSucceeded)
    assert made.code("Encrypt", by="carol", dry_run=True) == "RateLimited"
    made = limited(kind="quota", amount=1, period_seconds=3600)
    assert isinstance(made.ask("Encrypt", by="carol", dry_run=True), facts.DryRunSucceeded)
    assert made.code("Encrypt", by="carol") is None
    assert made.code("Encrypt", by="carol") == "QuotaExceeded"
    assert made.code("Encrypt", by="carol", dry_run=True) == "QuotaExceeded"


def test_limits_are_asked_before_the_state() -> None:
    """What costs work, as the question whether policies stay repairable, is asked within the limits only."""
    made = limited(amount=1, period_seconds=3600)
    assert made.code("Encrypt", by="carol") is None
    made.ask("DisableKey")
    assert made.code("Encrypt", by="carol") == "RateLimited"
    assert made.code("Encrypt", by="dave") == "KeyDisabled"


def test_levels_are_in_the_decision_and_survive_a_restart() -> None:
    """The decision says the level after it, so a restart that folds events knows it."""
    made = limited(amount=2, period_seconds=3600)
    event = made.ask("Encrypt", by="carol")
    assert event.data.decision.charges == {f"bucket/rate/calls/carol/{made.key().key_id}": 1000}
    again = Desk(2, made.registry, now_ms=made.now_ms, offset=made.offset)
    again.state.entities.update(made.state.entities)
    again.decide(*(command("Encrypt", KEY, 900 + n, principal="carol") for n in range(2)))
    assert [getattr(event.data, "code", None) for event in again.events] == [None, "RateLimited"]


def test_the_registry_has_limits_too() -> None:
    """Registry commands are on one partition, so the whole amount is theirs."""
    made = limited(per="principal", amount=2, period_seconds=3600, verbs=["CreateAlias"])
    key_id = made.key().key_id
    codes = [made.code("CreateAlias", REGISTRY, arguments={"alias": f"alias/{n}", "key_id": key_id}) for n in range(3)]
    assert codes == [None, None, "RateLimited"]


def test_putting_and_deleting() -> None:
    """A limit that was changed or deleted holds so for all that comes after."""
    made = limited(amount=1, period_seconds=3600)
    made.ask("Encrypt", by="carol")
    assert made.code("Encrypt", by="carol") == "RateLimited"
    known = {"limit": "calls", "kind": "quota", "amount": 5, "period_seconds": 3600, "per": "key"}
    assert made.code("PutLimit", REGISTRY, arguments=known) is None
    assert made.code("Encrypt", by="carol") is None
    assert made.code("DeleteLimit", REGISTRY, arguments={"limit": "calls"}) is None
    assert made.code("DeleteLimit", REGISTRY, arguments={"limit": "calls"}) == "NotFound"
    assert [made.code("Encrypt", by="carol") for _ in range(9)] == [None] * 9


@pytest.mark.parametrize(
    "arguments",
    [{"kind": "quota", "burst": 5}, {"verbs": ["Encypt"]}, {"verbs": ["Encrypt", "DeleteLimit"]}],
)
def test_what_is_no_limit(arguments: dict[str, Any]) -> None:
    """Unknown verbs and a burst of a quota are refused."""
    known = {"limit": "x", "kind": "rate", "amount": 10, "period_seconds": 10} | arguments
    assert office().code("PutLimit", REGISTRY, arguments=known) == "InvalidCommand"


def test_at_most_a_hundred_limits() -> None:
    """Every command asks all limits, so there are at most a hundred; changing one is always possible."""
    made = office()
    known = {"kind": "rate", "amount": 10, "period_seconds": 10}
    for number in range(100):
        assert made.code("PutLimit", REGISTRY, arguments={"limit": f"l{number}", **known}) is None
    assert made.code("PutLimit", REGISTRY, arguments={"limit": "over", **known}) == "InvalidState"
    assert made.code("PutLimit", REGISTRY, arguments={"limit": "l7", **known}) is None


def test_nobody_is_locked_out_by_a_limit() -> None:
    """Limits and policies can be put right however little is left."""
    made = limited(per="principal", amount=1, period_seconds=3600)
    text = "permit (principal, action, resource);"
    for _ in range(3):
        assert made.code("PutPolicy", REGISTRY, arguments={"policy": "p", "text": text}) is None
    assert made.code("DeleteLimit", REGISTRY, arguments={"limit": "calls"}) is None
