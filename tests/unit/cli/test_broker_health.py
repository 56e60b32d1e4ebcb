"""What `keyfold doctor` says of the brokers' settings."""

from keyfold.cli.doctor import _broker_settings
from keyfold.cli.health import Finding


def test_brokers_that_are_set_well() -> None:
    """Their number is told."""
    told = _broker_settings(Finding({"brokers": 3, "differences": {}}))
    assert (told.verdict, told.found) == ("ok", "3 brokers are set as they must be")


def test_each_difference_is_told_with_its_broker() -> None:
    """It is a problem: an open transaction may hold up every reader for as long as the setting says."""
    differences = {2: ["transaction.max.timeout.ms=900000, must be 5000 to 30000"]}
    told = _broker_settings(Finding({"brokers": 3, "differences": differences}))
    assert (told.verdict, "broker 2: transaction.max.timeout.ms=900000" in told.found) == ("problem", True)


def test_not_to_be_allowed_to_look_is_no_problem() -> None:
    """Who looks may be anybody; it is said that somebody else should."""
    told = _broker_settings(Finding(error="NotAuthorized: the settings of broker 1"))
    assert (told.verdict, "NotAuthorized" in told.found) == ("warning", True)
