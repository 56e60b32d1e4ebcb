"""Where batches are executed, and what happens while the token does not answer."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.hsm.deployment import PARTITIONS, Deployment
from tests.unit.hsm.exchange import Order
from tests.unit.hsm.orders import create, new_key, rotate, use
from tests.unit.hsm.worker import SETTINGS, Worker, until, worker

from keyfold.events import facts
from keyfold.events.errors import TokenUnavailable
from keyfold.hsm.dispatcher import Dispatcher
from keyfold.hsm.tickets import Ticket
from keyfold.hsm.watch import TokenWatch

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
    work = running.parts.dispatcher._work

    def counted(*arguments: Any) -> Any:
        hops.append(1)
        return work(*arguments)

    monkeypatch.setattr(running.parts.dispatcher, "_work", counted)
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


async def test_a_fact_is_carried_out_however_late_it_is(deployment: Deployment, running: Worker) -> None:
    """What policy has decided is never given up: the destruction waits for the token, whatever fails around it."""
    key_id = new_key()
    await running.execute(create(deployment, key_id, "HSM"))
    running.custody.down = True
    gone = deployment.order("DestroyKey", f"key/{key_id}", decided=(facts.KeyDestroyed, {"versions": [1]}))
    await deployment.submit(gone)
    await asyncio.sleep(4 * running.parts.settings.token_retry_s)
    assert [o for o in deployment.outcomes(deployment.partition(gone)) if o.data.command_id == gone.command_id] == []
    running.custody.down = False
    await running.finished(gone)
    assert isinstance(deployment.outcome(gone), facts.KeyUseCeased)
    assert deployment.outcome(gone).data.erased_versions == [1]


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


@asynccontextmanager
async def with_sessions(
    deployment: Deployment, sessions: int, watch: TokenWatch | None = None
) -> AsyncIterator[Worker]:
    """A worker whose token has so many sessions."""
    with ThreadPoolExecutor(sessions) as threads:
        async with worker(deployment) as made:
            engine, settings = made.parts.dispatcher.engine, made.parts.settings
            made.parts = replace(made.parts, dispatcher=Dispatcher(engine, threads, settings, watch, sessions))
            await made.owned(*range(PARTITIONS))
            try:
                yield made
            finally:
                await made.stop()


class Crowd:
    """Watches executions: how many at once, in which order they ended, and what was under way with each."""

    def __init__(self, made: Worker, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.02) -> None:
        self.most = 0
        self.ended: list[str] = []
        self.beside: dict[str, set[str]] = {}
        self._now: set[str] = set()
        self._lock = threading.Lock()
        engine = made.parts.dispatcher.engine
        execute = engine.execute

        def watched(ticket: Ticket, draft: Any, *, token: bool) -> Any:
            if token:
                self._enter(ticket.command_id)
                time.sleep(seconds)
            try:
                return execute(ticket, draft, token=token)
            finally:
                if token:
                    self._leave(ticket.command_id)

        monkeypatch.setattr(engine, "execute", watched)

    def _enter(self, name: str) -> None:
        with self._lock:
            self._now.add(name)
            self.most = max(self.most, len(self._now))
            for each in self._now:
                self.beside.setdefault(each, set()).update(self._now - {each})

    def _leave(self, name: str) -> None:
        with self._lock:
            self._now.discard(name)
            self.ended.append(name)


def use_hsm(deployment: Deployment, key_id: str, data: bytes = b"x") -> Order:
    return use(deployment, "Encrypt", key_id, [(0, data)], protection="HSM")


async def test_uses_run_beside_each_other_and_changes_alone(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as there are sessions; a control ticket waits for all before it and keeps all behind it waiting."""
    key_id = new_key()
    async with with_sessions(deployment, 3) as made:
        await made.execute(create(deployment, key_id, "HSM"))
        crowd = Crowd(made, monkeypatch)
        before = [use_hsm(deployment, key_id) for _ in range(6)]
        barrier = rotate(deployment, key_id, 2, "HSM")
        after = [use(deployment, "Encrypt", key_id, ITEM, protection="HSM", version=2) for _ in range(6)]
        answers = await made.execute(*before, barrier, *after)
    assert [answer.data.code for answer in answers] == [None] * 13
    assert crowd.most == 3
    assert crowd.beside[barrier.command_id] == set()
    assert set(crowd.ended[:6]) == {order.command_id for order in before}
    assert crowd.ended[6] == barrier.command_id
    outcomes = [o.data.command_id for o in deployment.outcomes(deployment.partition(barrier))]
    assert outcomes[-13:] == [order.command_id for order in (*before, barrier, *after)]


async def test_one_session_means_one_thread_in_order(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """As before there were pools."""
    key_id = new_key()
    async with with_sessions(deployment, 1) as made:
        await made.execute(create(deployment, key_id, "HSM"))
        crowd = Crowd(made, monkeypatch, 0.001)
        orders = [use_hsm(deployment, key_id) for _ in range(8)]
        await made.execute(*orders)
    assert (crowd.most, crowd.ended) == (1, [order.command_id for order in orders])


async def test_what_is_done_is_not_done_again(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is silent to one of many: the others finish, and only that one and those not begun are tried again."""
    key_id = new_key()
    async with with_sessions(deployment, 3) as made:
        await made.execute(create(deployment, key_id, "HSM"))
        orders = [use_hsm(deployment, key_id) for _ in range(30)]
        silent_to, served = {orders[4].command_id}, Counter[str]()
        silent_at, begun = [0.0], list[float]()
        engine = made.parts.dispatcher.engine
        execute = engine.execute

        def picky(ticket: Ticket, draft: Any, *, token: bool) -> Any:
            begun.append(time.monotonic())
            time.sleep(0.005)
            if ticket.command_id in silent_to:
                silent_to.clear()
                silent_at[0] = time.monotonic()
                raise TokenUnavailable
            work = execute(ticket, draft, token=token)
            served[ticket.command_id] += 1
            return work

        monkeypatch.setattr(engine, "execute", picky)
        answers = await made.execute(*orders)
    assert [answer.data.code for answer in answers] == [None] * 30
    assert served == Counter(order.command_id for order in orders)
    assert not [when for when in begun if 0.01 < when - silent_at[0] < 0.04], "none begins before the next try"


async def test_cancelled_it_waits_for_every_thread(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that are under way end before the partition does, and no further one begins."""
    key_id = new_key()
    async with with_sessions(deployment, 3) as made:
        await made.execute(create(deployment, key_id, "HSM"))
        crowd = Crowd(made, monkeypatch, 0.1)
        orders = [use_hsm(deployment, key_id) for _ in range(9)]
        await deployment.submit(*orders)
        await until(lambda: crowd.most == 3)
        task = made.tasks[deployment.partition(orders[0])]
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert len(crowd.ended) == 3
        await asyncio.sleep(0.15)
        assert len(crowd.ended) == 3


class Checked:
    """Tokens that answer checks as the custody in memory does."""

    is_lost = False
    sessions = (1, 1)

    def __init__(self) -> None:
        self.down = False

    def check(self) -> float:
        if self.down:
            raise TokenUnavailable
        return 0.0

    def reopen(self) -> None:
        raise AssertionError("nothing was lost")


async def test_in_a_lasting_outage_a_partition_pauses(deployment: Deployment) -> None:
    """After the first batch was refused in bounded time, nothing fails any more; all of it is served later."""
    checked = Checked()
    async with with_sessions(deployment, 1, TokenWatch(SETTINGS, checked)) as made:
        soft = new_key()
        await made.execute(create(deployment, soft))
        await made.execute(use(deployment, "Encrypt", soft, ITEM))
        made.custody.down = checked.down = True
        first = create(deployment, new_key(), "HSM")
        (answer,) = await made.execute(first)
        assert answer.data.code == "TokenUnavailable"
        await until(lambda: made.parts.dispatcher.watch.is_down)
        later = _elsewhere(deployment, soft)
        for order in later:
            await deployment.submit(order)
        (answer,) = await made.execute(use(deployment, "Encrypt", soft, ITEM))
        assert answer.data.code is None
        await asyncio.sleep(3 * SETTINGS.token_retry_s)
        done = {o.data.command_id for partition in range(PARTITIONS) for o in deployment.outcomes(partition)}
        assert done.isdisjoint(order.command_id for order in later)
        made.custody.down = checked.down = False
        await made.finished(*later)
    assert all(isinstance(deployment.outcome(order), facts.KeyMaterialGenerated) for order in later)


def _elsewhere(deployment: Deployment, key_id: str) -> list[Order]:
    """Twenty orders that need the token, none in the partition of this key."""
    partition = deployment.partition(create(deployment, key_id))
    orders = (create(deployment, new_key(), "HSM") for _ in range(200))
    return [order for order in orders if deployment.partition(order) != partition][:20]


class Lost:
    """Tokens that are lost with the custody in memory, and bring it back when they are opened again."""

    sessions = (1, 1)

    def __init__(self) -> None:
        self.custody: Any = None
        self.openings = 0

    @property
    def is_lost(self) -> bool:
        return bool(self.custody.down)

    def check(self) -> float:
        return 0.0

    def reopen(self) -> None:
        self.openings += 1
        self.custody.down = False


async def test_a_lost_token_is_opened_again_between_the_tries(deployment: Deployment) -> None:
    """By the batch that waits for it, though nobody checks the token meanwhile: nothing fails."""
    lost = Lost()
    async with with_sessions(deployment, 1, TokenWatch(SETTINGS, lost)) as made:
        lost.custody = made.custody
        made.custody.down = True
        orders = [create(deployment, new_key(), "HSM")]
        answers = await made.execute(*orders)
    assert [answer.data.code for answer in answers] == [None]
    assert lost.openings == 1
