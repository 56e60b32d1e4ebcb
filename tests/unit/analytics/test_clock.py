"""Event time: the smallest watermark of all sources counts, and the broker's clock is never overtaken."""

from keyfold.analytics.clock import BrokerClock, Watermarks


def test_the_broker_s_time_follows_from_acknowledgements() -> None:
    """Its distance to the local clock is that of the last acknowledgement."""
    clock = BrokerClock()
    assert clock.at(5.0) is None
    clock.saw(1_000_000, 10.0)
    assert clock.at(12.5) == 1_002_500
    clock.saw(1_002_000, 12.5)
    assert clock.at(12.5) == 1_002_000


def test_nothing_is_over_before_every_source_was_heard_of() -> None:
    """A source that never spoke holds all others."""
    marks = Watermarks(range(3))
    assert not marks.saw({0: 100_000, 1: 200_000})
    assert marks.low_ms == 0
    assert marks.saw({2: 50_000})
    assert marks.low_ms == 50_000


def test_watermarks_only_rise_and_strangers_are_ignored() -> None:
    """An older worker's word comes late; a source that there is not is no source."""
    marks = Watermarks(range(2), {0: 30_000, 1: 40_000})
    marks.saw({0: 20_000, 7: 1})
    assert marks.marks == {0: 30_000, 1: 40_000}


def test_it_tells_when_another_tick_is_over() -> None:
    """Only then is there anything to close."""
    marks = Watermarks(range(1), {0: 10_000})
    assert not marks.saw({0: 19_999})
    assert marks.saw({0: 20_000})
