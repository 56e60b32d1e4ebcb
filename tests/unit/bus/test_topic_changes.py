"""What may be altered of topics that exist, and what is refused with its reason."""

import pytest

from keyfold.bus import TopicMismatch
from keyfold.bus.topic_changes import Alterations, depends_on_records
from keyfold.bus.topic_plan import CONTRACT, Plan, plan
from keyfold.events import topics

PLANS = {row.name: row for row in plan(4, min_insync=2)}
CLOCK = "message.timestamp.type"


def compared(row: Plan, *, empty: bool = False, partitions: int | None = None, **present: str) -> Alterations:
    """A topic that is as planned, but for settings whose dots are written as underscores."""
    made = Alterations()
    configs = {**row.configs, **{key.replace("_", "."): value for key, value in present.items()}}
    made.add(row, row.partitions if partitions is None else partitions, configs, empty=empty)
    return made


@pytest.mark.parametrize("row", PLANS.values(), ids=PLANS.keys())
def test_what_is_as_planned_is_left_alone(row: Plan) -> None:
    """Nothing is set, and nothing is told."""
    made = compared(row)
    assert (made.settings(), made.sentences) == ({}, [])


@pytest.mark.parametrize(
    ("name", "present", "wanted"),
    [
        (topics.EVENTS, {"retention_ms": "604800000"}, {"retention.ms": "-1"}),
        (topics.EVENTS, {"retention_bytes": "1000"}, {"retention.bytes": "-1"}),
        (topics.REPLIES, {"retention_ms": "1000"}, {"retention.ms": "3600000"}),
        (topics.KEYSTORE, {"max_message_bytes": "1048588"}, {"max.message.bytes": "2097152"}),
        (topics.DIRECTORY, {"message_timestamp_type": "LogAppendTime"}, {CLOCK: "CreateTime"}),
        (topics.COMMANDS, {"compression_type": "producer"}, {"compression.type": "uncompressed"}),
    ],
)
def test_what_loses_nothing_is_altered(name: str, present: dict[str, str], wanted: dict[str, str]) -> None:
    """Longer, larger, and a clock that nobody judges by; the sentence says what was and what is."""
    made = compared(PLANS[name], **present)
    assert made.settings() == {name: wanted}
    ((key, now),), ((_, before),) = wanted.items(), present.items()
    assert made.sentences == [f"{name} has {key}={now} now, not {before}"]


@pytest.mark.parametrize(
    ("name", "present", "reason"),
    [
        (topics.REPLIES, {"retention_ms": "-1"}, "would delete records"),
        (topics.REPLIES, {"retention_ms": "7200000"}, "would delete records"),
        (topics.COMMANDS, {"max_message_bytes": "4194304"}, "records that are larger may be there"),
        (topics.EVENTS, {"cleanup_policy": "compact"}, "records may be missing already"),
        (topics.HSM_STATE, {"cleanup_policy": "delete"}, "records may be missing already"),
        (topics.EVENTS, {"min_insync_replicas": "1"}, "depends on the replicas"),
        (topics.ALERTS, {"message_timestamp_type": "CreateTime"}, "times that their writers chose"),
        (topics.EVENTS, {"retention_ms": "for ever"}, "would delete records"),
    ],
)
def test_what_could_cost_records_or_trust_is_refused(name: str, present: dict[str, str], reason: str) -> None:
    """The sentence names topic, setting, what is, what should be, and why nobody but an operator may alter it."""
    row = PLANS[name]
    with pytest.raises(TopicMismatch, match=reason) as caught:
        compared(row, **present).settings()
    ((key, value),) = present.items()
    setting = key.replace("_", ".")
    assert f"{name} has {setting}={value}, not {row.configs[setting]}: " in str(caught.value)


def test_the_clock_is_altered_while_nobody_has_written() -> None:
    """The topic of alerts is older than analytics: there it has the writers' clock, and no records."""
    alerts = PLANS[topics.ALERTS]
    assert depends_on_records(alerts, {CLOCK: "CreateTime"})
    assert not depends_on_records(alerts, {CLOCK: "LogAppendTime"})
    assert not depends_on_records(PLANS[topics.DIRECTORY], {CLOCK: "LogAppendTime"})
    altered = compared(alerts, empty=True, message_timestamp_type="CreateTime").settings()
    assert altered == {topics.ALERTS: {CLOCK: "LogAppendTime"}}


def test_one_refusal_keeps_all_from_being_altered() -> None:
    """All that may not be altered is told at once."""
    made = compared(PLANS[topics.EVENTS], partitions=3, retention_ms="1000", max_message_bytes="4194304")
    with pytest.raises(TopicMismatch) as caught:
        made.settings()
    assert len(caught.value.differences) == 2
    assert caught.value.differences[0].startswith("keyfold.events has 3 partitions, not 4: ")


def test_every_setting_of_the_contract_has_a_rule() -> None:
    """A setting that is compared and has no rule would break `topics apply`."""
    strange = dict.fromkeys(CONTRACT, "strange")
    for row in PLANS.values():
        made = Alterations()
        made.add(row, row.partitions, {**row.configs, **strange}, empty=True)
        with pytest.raises(TopicMismatch):
            made.settings()
