"""Where batches are executed, and what happens while the token does not answer."""

import asyncio
import threading
from typing import Any

import pytest
from tests.unit.hsm.deployment import (
    Deployment,
    Worker,
    create,
    new_key,
    use,
)

from keyfold.events import facts

ITEM = [(0, b"x")]


@pytest.fixture
def threads(running: Worker, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each execution that ended was on the event loop's thread."""
    engine, here, seen = running.parts.dispatcher.engine, threading.get_ident(), list[bool]()
    execute = engine.execute

    def watched(*arguments: Any, **named: Any) -> Any:
        made = execute(*arguments, **named)
        seen.append(threading.get_ident() == here)
        return made

    monkeypatch.setattr(engine, "execute", watched)
    return seen


async def test_software_keys_stay_on_the_event_loop(
    deployment: Deployment, running: Worker, threads: list[bool]
) -> None:
    """Once a key is open, its commands need no thread; making and opening it does."""
    key_id = new_key()
    await running.execute(create(deployment, key_id))
    await running.execute(use(deployment, "Encrypt", key_id, ITEM))
    await running.execute(use(deployment, "Encrypt", key_id, ITEM), use(deployment, "Encrypt", key_id, ITEM))
    assert threads == [False, False, True, True]


async def test_hsm_keys_leave_the_event_loop_once_per_batch(
    deployment: Deployment, running: Worker, threads: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first command that needs the token to the batch's end, in one hop and in order."""
    soft, hard = new_key(), new_key()
    while deployment.partition(create(deployment, hard)) != deployment.partition(create(deployment, soft)):
        hard = new_key()
    await running.execute(create(deployment, soft), create(deployment, hard, "HSM"))
    await running.execute(use(deployment, "Encrypt", soft, ITEM))
    threads.clear()
    hops: list[int] = []
    rest = running.parts.dispatcher._rest

    def counted(*arguments: Any) -> bool:
        hops.append(1)
        return rest(*arguments)

    monkeypatch.setattr(running.parts.dispatcher, "_rest", counted)
    in_token = [use(deployment, "Encrypt", hard, ITEM, protection="HSM") for _ in range(3)]
    await running.execute(use(deployment, "Encrypt", soft, ITEM), *in_token, use(deployment, "Encrypt", soft, ITEM))
    assert threads == [True, False, False, False, False]
    assert len(hops) == 1


async def test_a_silent_token_is_waited_for(deployment: Deployment, running: Worker) -> None:
    """It comes back within the time that a batch waits: nothing fails."""
    running.custody.down = True
    order = create(deployment, new_key(), "HSM")
    asyncio.get_running_loop().call_later(0.08, setattr, running.custody, "down", False)
    (answer,) = await running.execute(order)
    assert answer.data.code is None
    assert running.custody.calls.count("generate") > 1


async def test_a_token_that_stays_silent_fails_the_batch_in_bounded_time(
    deployment: Deployment, running: Worker
) -> None:
    """Each ticket that needs it fails as TokenUnavailable; the batch waits once for all; others are served."""
    key_id = new_key()
    await running.execute(create(deployment, key_id))
    await running.execute(use(deployment, "Encrypt", key_id, ITEM))
    running.custody.down = True
    stream = f"key/{key_id}"
    hard = [use(deployment, "GenerateDataKey", key_id, [(0, b"")], protection="HSM") for _ in range(5)]
    enable = deployment.order("EnableKey", stream, decided=(facts.KeyEnabled, {}))
    began = asyncio.get_running_loop().time()
    answers = await running.execute(*hard, enable)
    assert asyncio.get_running_loop().time() - began < 3 * running.parts.settings.token_retry_s
    assert [answer.data.code for answer in answers] == ["TokenUnavailable"] * 5 + [None]
    assert all(answer.items == [] for answer in answers[:5])
    assert deployment.outcome(hard[0]).data.code == "TokenUnavailable"


async def test_other_partitions_work_while_one_waits_for_the_token(deployment: Deployment, running: Worker) -> None:
    """The pause is not in the thread."""
    soft = new_key()
    await running.execute(create(deployment, soft))
    await running.execute(use(deployment, "Encrypt", soft, ITEM))
    running.custody.down = True
    waiting = create(deployment, new_key(), "HSM")
    while deployment.partition(waiting) == deployment.partition(create(deployment, soft)):
        waiting = create(deployment, new_key(), "HSM")
    await deployment.submit(waiting)
    (answer,) = await running.execute(use(deployment, "Encrypt", soft, ITEM))
    assert answer.data.code is None
    assert deployment.outcomes(deployment.partition(waiting)) == []
    running.custody.down = False
    await running.finished(waiting)


async def test_cancelled_it_waits_for_the_ticket_under_way(
    deployment: Deployment, running: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread touches the draft or opens a key after its partition is gone; no further ticket is begun."""
    begun, go, ended = threading.Event(), threading.Event(), list[str]()
    generate = running.custody.generate

    def slow(reference: Any) -> bytes:
        begun.set()
        go.wait(5)
        ended.append("generate")
        return bytes(generate(reference))

    monkeypatch.setattr(running.custody, "generate", slow)
    key_id = new_key()
    first = create(deployment, key_id, "HSM")
    await deployment.submit(first, create(deployment, key_id, "HSM"))
    await asyncio.to_thread(begun.wait, 5)
    task = running.tasks[deployment.partition(first)]
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    go.set()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.02)
    assert ended == ["generate"]
