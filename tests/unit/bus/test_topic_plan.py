"""From the table of topics to settings of a cluster, and the sentences about what differs."""

import pytest

from keyfold.bus.errors import BusError, TopicMismatch
from keyfold.bus.topic_plan import plan
from keyfold.events import topics

PLANS = {row.name: row for row in plan(12, min_insync=2)}


def test_every_topic_of_the_table_is_planned() -> None:
    """With the deployment's N where the table leaves it open."""
    assert set(PLANS) == {row.name for row in topics.TOPICS}
    assert PLANS[topics.COMMANDS].partitions == 12
    assert PLANS[topics.CHECKPOINTS].partitions == 1
    assert PLANS[topics.TILES].partitions == 12
    assert all(row.configs["min.insync.replicas"] == "2" for row in PLANS.values())


@pytest.mark.parametrize(
    "name",
    [topics.AUTHORIZED, topics.EVENTS, topics.KEYSTORE, topics.CHECKPOINTS, topics.TILES, topics.COSIGNATURES],
)
def test_the_truth_is_kept_for_ever_and_never_compacted(name: str) -> None:
    """Cleanup "none" is deletion without any limit, so that DeleteRecords still works."""
    configs = PLANS[name].configs
    assert (configs["cleanup.policy"], configs["retention.ms"], configs["retention.bytes"]) == ("delete", "-1", "-1")


def test_state_is_compacted_and_the_clock_is_the_brokers() -> None:
    """Compacted topics have no retention; commands carry append time."""
    assert PLANS[topics.HSM_STATE].configs["cleanup.policy"] == "compact"
    assert PLANS[topics.NOTARY_STATE].configs["cleanup.policy"] == "compact"
    assert "retention.ms" not in PLANS[topics.HSM_STATE].configs
    assert PLANS[topics.COMMANDS].configs["message.timestamp.type"] == "LogAppendTime"
    assert PLANS[topics.DIRECTORY].configs["message.timestamp.type"] == "CreateTime"


def test_short_retention_closes_segments_early() -> None:
    """Only closed segments are deleted: replies of an hour must not stay for a week."""
    configs = PLANS[topics.REPLIES].configs
    assert int(configs["segment.ms"]) <= int(configs["retention.ms"]) == topics.HOUR_MS


def test_reply_topics_are_like_the_common_one() -> None:
    """One per client name, with the settings of `keyfold.replies`."""
    (row,) = plan(4, topics=(), reply_names=["orders-1"])
    assert row.name == "keyfold.replies.orders-1"
    assert row.configs == plan(4)[[t.name for t in topics.TOPICS].index(topics.REPLIES)].configs


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "ä", "a" * 101, "a b"])
def test_reply_names_are_checked(name: str) -> None:
    """A name that Kafka or the address syntax would refuse is refused here."""
    with pytest.raises(BusError):
        plan(4, reply_names=[name])


def test_differences_are_sentences() -> None:
    """Each names topic, setting, what is and what should be; settings outside the contract are ignored."""
    row = PLANS[topics.EVENTS]
    assert row.differences(12, {**row.configs, "segment.ms": "1"}) == []
    assert row.differences(None, {}) == ["keyfold.events does not exist"]
    assert row.differences(4, {**row.configs, "retention.ms": "1000"}) == [
        "keyfold.events has 4 partitions, not 12",
        "keyfold.events has retention.ms=1000, not -1",
    ]
    assert "retention.ms=1000" in str(TopicMismatch(("keyfold.events has retention.ms=1000, not -1",)))
