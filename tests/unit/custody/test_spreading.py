"""A large batch keeps all sessions at work, gives its results in order, and fails as one."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from keyfold.custody import Custody, InToken, KeyReference, TokenOperations
from keyfold.custody.spreading import Spreader
from keyfold.events.errors import TokenUnavailable
from keyfold.token import Module, Session, Token, create_token, open_token

pytestmark = pytest.mark.token

POOL = 4


@pytest.fixture(scope="module")
def four(module: Module, pins: Path) -> Iterator[Token]:
    create_token(module, "wide", pins / "wide.pin", pins / "wide.so")
    with open_token(module, "wide", pins / "wide.pin", pool_size=POOL) as token:
        yield token


@pytest.fixture
def wide(four: Token) -> Iterator[Token]:
    """A token with four sessions, behind a module that lets go of Python's lock: like one on a network."""
    held = four.module.cryptoki.hold_lock
    four.module.cryptoki.set_hold_lock(False)
    yield four
    four.module.cryptoki.set_hold_lock(held)


def doubled(_: Session, part: Sequence[int]) -> list[int]:
    return [2 * each for each in part]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 15, 16, 17, 1000])
def test_results_stand_in_order(wide: Token, count: int) -> None:
    """Whatever the size, and however the parts are taken."""
    assert Spreader(wide).run(range(count), doubled) == [2 * each for each in range(count)]


def test_all_sessions_work_at_once(wide: Token) -> None:
    """As many parts run at the same time as the pool has sessions, each in a session of its own."""
    together, seen = threading.Barrier(POOL, timeout=5), set[int]()

    def work(session: Session, part: Sequence[int]) -> list[int]:
        if len(seen) < POOL and session.handle not in seen:
            seen.add(session.handle)
            together.wait()
        return list(part)

    assert Spreader(wide).run(range(1000), work) == list(range(1000))
    assert len(seen) == POOL


def test_a_batch_gets_faster_with_the_pool(wide: Token) -> None:
    """Calls that take 2 ms each, as over a network: four sessions need well under half of one session's time."""

    def work(_: Session, part: Sequence[int]) -> list[int]:
        time.sleep(0.002 * len(part))
        return list(part)

    began = time.monotonic()
    Spreader(wide).run(range(200), work)
    assert time.monotonic() - began < 0.2


def test_an_error_is_the_batchs_and_comes_when_all_is_still(wide: Token) -> None:
    """One part fails: no partial result, the others are waited for, and every session is free again."""
    running: list[int] = []

    def work(_: Session, part: Sequence[int]) -> list[int]:
        running.append(part[0])
        time.sleep(0.002)
        running.remove(part[0])
        if 500 in part:
            raise TokenUnavailable("ill")
        return list(part)

    with pytest.raises(TokenUnavailable, match="ill"):
        Spreader(wide).run(range(1000), work)
    assert running == []
    assert Spreader(wide).run(range(100), doubled) == [2 * each for each in range(100)]


def test_a_busy_pool_costs_time_only(wide: Token) -> None:
    """With one session left, the batch is done in it."""
    with ExitStack() as stack:
        for _ in range(POOL - 1):
            stack.enter_context(wide.session())
        assert Spreader(wide).run(range(100), doubled) == [2 * each for each in range(100)]


def test_batches_of_several_threads_do_not_block_each_other(wide: Token) -> None:
    """As many batches at once as there are sessions, and more: all come to an end."""
    spreader, done = Spreader(wide), list[bool]()

    def batch() -> None:
        done.append(spreader.run(range(200), doubled) == [2 * each for each in range(200)])

    threads = [threading.Thread(target=batch) for _ in range(2 * POOL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert done == [True] * (2 * POOL)


def test_a_module_that_holds_the_lock_is_not_spread(new_token: Callable[[], Token]) -> None:
    """Fast work in SoftHSM2 stays in one session: threads would only wait for each other. Slow work is spread."""
    token = new_token()
    token.module.cryptoki.set_hold_lock(True)
    parts: list[int] = []

    def work(_: Session, part: Sequence[int]) -> list[int]:
        parts.append(len(part))
        return list(part)

    Spreader(token).run(range(100), work)
    assert parts == [100]
    parts.clear()
    Spreader(token).run(range(100), work, slow=True)
    assert len(parts) > 1


def test_real_batches_are_spread(wide: Token) -> None:
    """Encryption, decryption and signatures over all sessions: the same results as in one."""
    custody = Custody(wide)
    custody.provision()
    aes = KeyReference(bytes(16), 1, "SYMMETRIC_DEFAULT", "HSM")
    symmetric, handle = InToken(wide), custody.open(aes, custody.generate(aes).blob)
    items = [(number % 2, str(number).encode()) for number in range(300)]
    made = symmetric.protect(handle, [b"a", b"b"], items)
    assert len({each[26:38] for each in made}) == 300
    sealed = [(context, ciphertext) for (context, _), ciphertext in zip(items, made, strict=True)]
    damaged = [*sealed[:100], (0, b"rubbish"), *sealed[100:]]
    opened = symmetric.unprotect(aes.key_id, lambda _: handle, [b"a", b"b"], damaged)
    assert [*opened[:100], *opened[101:]] == [data for _, data in items]
    hmac = KeyReference(bytes(16), 1, "HMAC_256", "HSM", "GENERATE_VERIFY_MAC")
    mac = custody.open(hmac, custody.generate(hmac).blob)
    operations = TokenOperations(wide)
    messages = [str(number).encode() for number in range(300)]
    together = operations.mac(mac, "HMAC_SHA_256", messages)
    assert together == [operations.mac(mac, "HMAC_SHA_256", [each])[0] for each in messages]
