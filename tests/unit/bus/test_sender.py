"""The sender on Kafka without a broker: what it does when its producer is gone and another one cannot start."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from keyfold.bus import BusError, BusSettings, BusUnavailable, NotAuthorized, Outbound
from keyfold.bus.sender import KafkaSender
from keyfold.events.errors import KeyfoldError

RECORD = Outbound("t", 0, None, b"x")


async def dead_producer() -> Any:
    """A producer whose background task has failed."""

    async def fail() -> None:
        raise RuntimeError("the broker lost its sequence numbers")

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    return SimpleNamespace(_sender=SimpleNamespace(sender_task=task))


@pytest.mark.parametrize(
    "error", [BusUnavailable("away"), NotAuthorized("the sender", PermissionError()), BusError("wrong settings")]
)
async def test_a_producer_that_cannot_be_replaced_yet_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, error: KeyfoldError
) -> None:
    """Whatever the reason: each send says that it is unavailable, and begins another attempt; no task fails unseen."""
    attempts = 0
    sender = KafkaSender(BusSettings(bootstrap_servers="127.0.0.1:1"))
    sender._producer = await dead_producer()

    async def start() -> None:
        nonlocal attempts
        attempts += 1
        raise error

    monkeypatch.setattr(sender, "start", start)
    for _ in range(3):
        with pytest.raises(BusUnavailable, match="starts another one"):
            await sender.send(RECORD)
        assert sender._revival is not None
        await asyncio.wait([sender._revival])
        assert sender._revival.exception() is None
    assert attempts == 3
