"""The one table of topics."""

from keyfold.events import topics
from keyfold.events.topics import TOPICS, Topic

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
PROOFS = (topics.CHECKPOINTS, topics.TILES)


def test_names_are_unique() -> None:
    """Every topic is listed once, in the project's name space."""
    assert len(BY_NAME) == len(TOPICS) == 19
    assert all(name.startswith("keyfold.") for name in BY_NAME)


def test_sizes_rise_along_the_way() -> None:
    """What was admitted fits downstream: command, then ticket and event, then reply."""
    command, reply = BY_NAME[topics.COMMANDS].max_message_bytes, BY_NAME[topics.REPLIES].max_message_bytes
    for name in (topics.AUTHORIZED, topics.EVENTS, topics.KEYSTORE, topics.DIRECTORY):
        assert command < BY_NAME[name].max_message_bytes < reply


def test_the_truth_is_never_removed() -> None:
    """Events, keystore and what proves them are neither compacted nor deleted by time."""
    proofs = (topics.CHECKPOINTS, topics.TILES, topics.COSIGNATURES)
    for name in (topics.EVENTS, topics.KEYSTORE, topics.AUTHORIZED, *proofs):
        assert (BY_NAME[name].cleanup, BY_NAME[name].retention_ms) == ("none", -1)


def test_signed_topics_have_the_brokers_clock() -> None:
    """Certificates are held against the broker's time, so services cannot choose the time of what they sign."""
    for topic in TOPICS:
        if (topic.transactional and topic.name not in PROOFS) or topic.name == topics.COMMANDS:
            assert topic.append_time, topic.name


def test_proofs_need_no_clock() -> None:
    """Checkpoints have their time in what is signed, and hashes have none; both are written in one transaction."""
    for name in PROOFS:
        assert (BY_NAME[name].transactional, BY_NAME[name].append_time) == (True, False)
        assert BY_NAME[name].writers == {"notary"}


def test_tiles_are_partitioned_as_events_are() -> None:
    """Each partition of events has its tree's hashes under the same number; signed heads are all in one place."""
    assert BY_NAME[topics.TILES].partitions is BY_NAME[topics.EVENTS].partitions is None
    for name in (topics.CHECKPOINTS, topics.COSIGNATURES, topics.NOTARY_STATE):
        assert BY_NAME[name].partitions == 1


def test_a_run_of_hashes_fits() -> None:
    """8,192 hashes with the offsets of their leaves are far below the largest record."""
    assert BY_NAME[topics.TILES].max_message_bytes > 8192 * (32 + 8) * 2


def test_producers_write_commands_only() -> None:
    """No topic but commands is written by producers, and nobody else writes commands."""
    assert [topic.name for topic in TOPICS if "producer" in topic.writers] == [topics.COMMANDS]
    assert BY_NAME[topics.COMMANDS].writers == {"producer"}


def test_replies_are_outside_transactions() -> None:
    """Replies leave after the commit."""
    assert not BY_NAME[topics.REPLIES].transactional
    assert topics.REPLIES_PREFIX == topics.REPLIES + "."
