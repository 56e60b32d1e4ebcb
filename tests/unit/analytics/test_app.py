"""How Faust is told where the brokers are."""

import pytest

from keyfold.analytics.app import _brokers
from keyfold.bus import BusSettings


@pytest.mark.parametrize("listed", ["a:1,b:2", "a:1, b:2", " a:1 ,b:2, "])
def test_the_list_of_brokers_may_have_spaces(listed: str) -> None:
    """As every other process takes it."""
    assert _brokers(BusSettings(bootstrap_servers=listed)) == "kafka://a:1;kafka://b:2"
