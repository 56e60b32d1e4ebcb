"""When a reader last knew everything: the fold over positions and watermarks."""

from keyfold.bus.freshness import CatchUp


def test_nothing_is_known_before_a_watermark() -> None:
    """No answer of a broker, no freshness."""
    fold = CatchUp()
    fold.saw(0, None, 5.0)
    assert fold.at is None


def test_a_passed_watermark_counts_with_the_time_it_was_seen() -> None:
    """Not with the time it was passed."""
    fold = CatchUp()
    fold.saw(0, 10, 1.0)
    assert fold.at is None
    fold.saw(9, 30, 2.0)
    assert fold.at is None
    fold.saw(10, None, 3.0)
    assert fold.at == 1.0


def test_a_reader_that_is_always_a_little_behind_is_fresh() -> None:
    """Under load the newest watermark is never reached, but the one of a moment ago is."""
    fold = CatchUp()
    for second in range(1, 100):
        fold.saw(10 * second, 10 * second + 5, float(second))
    assert fold.at is not None
    assert fold.at >= 97.0


def test_standing_still_behind_a_watermark_is_stale() -> None:
    """An open transaction keeps the position below: time does not go on."""
    fold = CatchUp()
    fold.saw(5, 5, 1.0)
    for second in range(2, 10):
        fold.saw(5, 8, float(second))
    assert fold.at == 1.0


def test_time_never_goes_back() -> None:
    """An old answer that comes late changes nothing."""
    fold = CatchUp()
    fold.saw(5, 5, 9.0)
    fold.saw(5, 5, 3.0)
    assert fold.at == 9.0
