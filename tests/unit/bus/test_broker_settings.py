"""What brokers must be set to: the bounds, and a sentence for each setting that is out of them."""

from keyfold.bus.broker_settings import differences

SOUND = {
    "auto.create.topics.enable": "false",
    "transaction.max.timeout.ms": "30000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}


def test_what_the_contract_says_is_sound() -> None:
    """Shorter transactions are, too, as long as our own fit."""
    assert differences(SOUND) == []
    assert differences({**SOUND, "transaction.max.timeout.ms": "5000"}) == []


def test_each_difference_is_named() -> None:
    """Kafka's own defaults are three of them; what is not told at all differs."""
    defaults = {
        "auto.create.topics.enable": "true",
        "transaction.max.timeout.ms": "900000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
    }
    assert differences(defaults) == [
        "auto.create.topics.enable=true, must be false",
        "transaction.max.timeout.ms=900000, must be 5000 to 30000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms=10000, must be at most 1000",
    ]
    assert len(differences({})) == 3
    assert len(differences({**SOUND, "transaction.max.timeout.ms": "4999"})) == 1
