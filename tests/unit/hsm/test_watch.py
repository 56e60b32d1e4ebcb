"""The watch: one look for all who wait, nobody at the token while it is opened again, every change told."""

import asyncio
import threading
from typing import Any

import pytest
from tests.unit.hsm.worker import SETTINGS, until

from keyfold.events.errors import TokenUnavailable
from keyfold.hsm.health import State
from keyfold.hsm.watch import TokenWatch
from keyfold.token import PinIncorrect
from keyfold.token.errors import SessionsBusy, TokenLost


class Playing:
    """Tokens that fail as they are told. `gate` holds an opening until it is set."""

    def __init__(self) -> None:
        self.is_lost = False
        self.sessions = (1, 1)
        self.error: Exception | None = None
        self.took = 0.0
        self.checks = 0
        self.openings = 0
        self.gate = threading.Event()
        self.gate.set()

    def check(self) -> float:
        self.checks += 1
        if self.error is not None:
            raise self.error
        return self.took

    def reopen(self) -> None:
        self.openings += 1
        assert self.gate.wait(5)
        if self.error is not None:
            raise self.error
        self.is_lost = False


@pytest.fixture
def tokens() -> Playing:
    return Playing()


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def watch(tokens: Playing, told: list[dict[str, Any]]) -> TokenWatch:
    return TokenWatch(SETTINGS, tokens, told.append)


async def test_a_lost_token_is_opened_once_for_all(watch: TokenWatch, tokens: Playing) -> None:
    """Twenty who wait share one opening, and one check."""
    tokens.is_lost = True
    watch.failed(TokenLost("gone"))
    await asyncio.gather(*(watch.look() for _ in range(20)))
    assert (tokens.openings, tokens.checks, watch.state) == (1, 1, State.HEALTHY)


async def test_nobody_uses_the_token_while_it_is_opened(watch: TokenWatch, tokens: Playing) -> None:
    """It waits for who is at work, and who comes meanwhile waits for it."""
    tokens.is_lost = True
    watch.failed(TokenLost("gone"))
    entered: list[str] = []

    async def use() -> None:
        async with watch.using():
            entered.append("use")

    async with watch.using():
        looking = asyncio.create_task(watch.look())
        await asyncio.sleep(0.02)
        assert tokens.openings == 0
        tokens.gate.clear()
    await until(lambda: tokens.openings == 1)
    coming = asyncio.create_task(use())
    await asyncio.sleep(0.02)
    assert entered == []
    tokens.gate.set()
    await asyncio.gather(looking, coming)
    assert entered == ["use"]


async def test_a_caller_that_is_cancelled_leaves_the_opening_alone(watch: TokenWatch, tokens: Playing) -> None:
    """The opening goes on, and users stay out until it is over."""
    tokens.is_lost = True
    tokens.gate.clear()
    watch.failed(TokenLost("gone"))
    looking = asyncio.create_task(watch.look())
    await until(lambda: tokens.openings == 1)
    looking.cancel()
    await asyncio.wait([looking])
    using = asyncio.create_task(_use(watch))
    await asyncio.sleep(0.02)
    assert not using.done()
    tokens.gate.set()
    await asyncio.wait_for(using, 5)
    await watch.look()
    assert (tokens.openings, watch.state) == (1, State.HEALTHY)


async def _use(watch: TokenWatch) -> None:
    async with watch.using():
        return


async def test_available_waits_for_a_lasting_outage_only(watch: TokenWatch, tokens: Playing) -> None:
    """Within the bound it returns at once; beyond it, when the token is back, having been tried with pauses."""
    tokens.error = TokenUnavailable()
    watch.failed(TokenUnavailable())
    await asyncio.wait_for(watch.available(), 0.05)
    await until(lambda: watch.is_down)
    waiting = asyncio.create_task(watch.available())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    assert 2 <= tokens.checks <= 30
    tokens.error = None
    await asyncio.wait_for(waiting, 5)
    assert not watch.is_down


async def test_every_change_is_told_once(watch: TokenWatch, tokens: Playing, told: list[dict[str, Any]]) -> None:
    """State, code, reason and sessions; what stays the same is not told again."""
    watch._tell()
    tokens.error = PinIncorrect("the PIN was refused")
    for _ in range(3):
        await watch.look()
        await asyncio.sleep(0.03)
    tokens.error = None
    await watch.look()
    assert [(each["state"], each["code"]) for each in told] == [
        ("Healthy", ""), ("Locked", "PinIncorrect"), ("Healthy", ""),
    ]  # fmt: skip
    assert told[1]["reason"] == "the PIN was refused"


async def test_busy_sessions_are_a_slow_token_not_a_lost_one(watch: TokenWatch, tokens: Playing) -> None:
    """The token is at work: whoever needs it goes on asking."""
    tokens.error = SessionsBusy("busy")
    await watch.look()
    assert (watch.state, watch.health.failure) == (State.DEGRADED, None)


async def test_a_slow_answer_degrades(watch: TokenWatch, tokens: Playing) -> None:
    """Whether a check or an item took longer than the setting."""
    tokens.took = SETTINGS.slow_call_s + 0.01
    await watch.look()
    assert watch.state is State.DEGRADED


async def test_it_checks_by_itself_and_ends_with_its_work(tokens: Playing) -> None:
    """An idle worker learns that its token is gone; the checks end when the work does."""
    watch = TokenWatch(SETTINGS.model_copy(update={"token_check_s": 0.01}), tokens)
    tokens.error = TokenLost("gone")
    await watch.beside(until(lambda: watch.state is State.UNAVAILABLE))
    seen = tokens.checks
    await asyncio.sleep(0.05)
    assert tokens.checks == seen
