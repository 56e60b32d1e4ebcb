"""What a processor tries again by itself, and what only an operator cures."""

import pytest
from tests.support.deployment import Deployment, until
from tests.support.people import command, key_on

from keyfold.bus import BusUnavailable, NotAuthorized, PositionLost
from keyfold.policy import processor
from keyfold.policy.processor import Owned

REFUSED = NotAuthorized("the writer", PermissionError())


def troubled(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> list[Exception]:
    """Let taking over fail so often; return what is still to come."""
    monkeypatch.setattr(processor, "FIRST_PAUSE_SECONDS", 0.001)
    to_come, real = list(errors), Owned.take_over

    async def take_over(owned: Owned) -> None:
        if to_come:
            raise to_come.pop(0)
        await real(owned)

    monkeypatch.setattr(Owned, "take_over", take_over)
    return to_come


async def test_a_missing_right_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Access rules may be set while the service runs: then it works, without being started again."""
    troubled(monkeypatch, REFUSED, BusUnavailable("not yet"), REFUSED)
    deployment = Deployment()
    await deployment.begin()
    async with deployment.running(2):
        await deployment.send(command("CreateKey", key_on(2), 1))
        await until(lambda: deployment.decisions(2))


async def test_a_lost_position_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The partition stops, by this error, and nothing that would come after it is asked for."""
    to_come = troubled(monkeypatch, PositionLost("t", 2, 7), REFUSED)
    deployment = Deployment()
    await deployment.begin()
    async with deployment.following() as parts:
        with pytest.raises(PositionLost):
            await deployment.processor(parts, 2).run()
    assert to_come == [REFUSED]
