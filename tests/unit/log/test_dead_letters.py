"""Dead letters: position, hash and reason, at a bounded rate, and never in anybody's way."""

import asyncio
import json
from collections.abc import Awaitable
from hashlib import sha256

import pytest

from keyfold.bus import BusUnavailable, Inbound, Outbound
from keyfold.events import topics
from keyfold.log import DeadLetters
from keyfold.log import dead_letters as module

RECORD = Inbound(topics.COMMANDS, 2, 17, 0, b"key", b"a secret that strangers sent")


class Topic:
    """A sender that keeps what it is given, or fails, or never takes anything."""

    def __init__(self, behaviour: str = "takes") -> None:
        self.behaviour, self.sent, self.tried = behaviour, list[Outbound](), 0

    async def start(self) -> None: ...

    async def send(self, record: Outbound) -> Awaitable[int]:
        self.tried += 1
        if self.behaviour == "fails":
            raise BusUnavailable("no")
        if self.behaviour == "hangs":
            await asyncio.sleep(3600)
        self.sent.append(record)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(0)
        return done

    def partitions_of(self, topic: str) -> int | None:
        return 1

    async def flush(self) -> None: ...

    async def stop(self) -> None: ...


class Clock:
    """Seconds that pass on request."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_content() -> None:
    """A dead letter says where the record stood, its hash and why; never what it held."""
    topic = Topic()
    await DeadLetters(topic, "policy").report(RECORD, "not JSON")
    (sent,) = topic.sent
    document = json.loads(sent.value or b"")
    assert (sent.topic, document["topic"], document["partition"], document["offset"]) == (
        topics.DEAD_LETTERS, topics.COMMANDS, 2, 17,
    )  # fmt: skip
    assert document["sha256"] == sha256(RECORD.value or b"").hexdigest()
    assert (document["service"], document["reason"]) == ("policy", "not JSON")
    assert b"secret" not in (sent.value or b"")


async def test_rate() -> None:
    """A flood is counted, not reported; a second later some more are, with how many were passed over."""
    topic, clock = Topic(), Clock()
    letters = DeadLetters(topic, "policy", clock)
    for _ in range(500):
        await letters.report(RECORD, "junk")
    assert (len(topic.sent), letters.reported, letters.suppressed) == (50, 50, 450)
    clock.now += 0.5
    for _ in range(500):
        await letters.report(RECORD, "junk")
    assert len(topic.sent) == 75
    assert json.loads(topic.sent[-1].value or b"")["suppressed_before"] == 450


@pytest.mark.parametrize("behaviour", ["fails", "hangs"])
async def test_a_topic_that_takes_nothing(behaviour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic that takes nothing costs one short wait, then silence for a while, then another try."""
    monkeypatch.setattr(module, "SEND_SECONDS", 0.01)
    topic, clock = Topic(behaviour), Clock()
    letters = DeadLetters(topic, "policy", clock)
    async with asyncio.timeout(1):
        for _ in range(500):
            await letters.report(RECORD, "junk")
    assert topic.tried == 1
    clock.now += module.SILENCE_SECONDS + 0.1
    topic.behaviour = "takes"
    await letters.report(RECORD, "junk")
    assert len(topic.sent) == 1


async def test_null_record() -> None:
    """A record without key and value can be reported."""
    topic = Topic()
    await DeadLetters(topic, "hsm").report(Inbound(topics.EVENTS, 0, 1, 0, None, None), "null")
    assert json.loads(topic.sent[0].value or b"")["sha256"] == sha256(b"").hexdigest()


async def test_code_and_principal_where_they_are_known() -> None:
    """Analytics counts refused commands by them; they are left out where nothing was verified."""
    topic = Topic()
    letters = DeadLetters(topic, "policy")
    await letters.report(RECORD, "Expired: late", "Expired", "alice")
    await letters.report(RECORD, "not JSON", "InvalidCommand")
    await letters.report(RECORD, "not JSON")
    known = [json.loads(sent.value or b"") for sent in topic.sent]
    assert [(each.get("code"), each.get("principal")) for each in known] == [
        ("Expired", "alice"), ("InvalidCommand", None), (None, None)
    ]  # fmt: skip
