"""The worker while its token fails: device errors, a token that goes and comes back, session limits, PINs, slowness.

Whatever happens to the token, every accepted command has exactly one outcome in the end, and the partitions go on by
themselves when the token is back. The log is in memory, the tokens are SoftHSM2's.
"""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.faulty_token import CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED, faulty
from tests.support.tended_token import (
    ITEM,
    PATIENT,
    QUICK,
    Site,
    a_key,
    codes,
    encrypt,
    made_site,
    opens,
    tended,
    within,
)
from tests.unit.hsm.deployment import Deployment
from tests.unit.hsm.exchange import results
from tests.unit.hsm.orders import create, new_key, random_bytes, use

from keyfold.config import Config
from keyfold.embedded.softhsm import prepare_softhsm, softhsm_module
from keyfold.events import facts
from keyfold.hsm import tokens as worker_programs
from keyfold.hsm.health import State
from keyfold.hsm.tokens import open_tokens
from keyfold.token import load_module

pytestmark = pytest.mark.token

LOGIN = ("C_Login", "C_Initialize")
CREATE = """
import sys
from pathlib import Path
from keyfold.token import create_token, load_module
create_token(load_module(Path(sys.argv[1])), "kms", Path(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A fresh SoftHSM2 for each test."""
    conf = prepare_softhsm(tmp_path)
    monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
    module = load_module(softhsm_module())
    try:
        with faulty(module) as faults:
            yield made_site(module, tmp_path / "pins", tmp_path / "tokens", faults)
    finally:
        module.close()


@pytest.fixture
async def deployment() -> Deployment:
    made = Deployment()
    await made.initialise()
    return made


async def test_device_errors_for_a_while(deployment: Deployment, site: Site) -> None:
    """What is under way waits its bound and is refused; what comes later waits, and is executed when it is over."""
    async with tended(deployment, site) as made:
        key_id = await a_key(deployment, made)
        (answer,) = await made.worker.execute(encrypt(deployment, key_id))
        (ciphertext,) = results(answer)
        site.faults.answer(CKR_DEVICE_ERROR)
        site.faults.answer(CKR_DEVICE_ERROR, *LOGIN)
        early = [encrypt(deployment, key_id) for _ in range(3)]
        await deployment.submit(*early)
        await made.worker.finished(*early)
        assert codes(deployment, early) == ["TokenUnavailable"] * 3
        await within(lambda: made.watch.is_down)
        late = [encrypt(deployment, key_id) for _ in range(5)]
        for order in late:
            await deployment.submit(order)
        await asyncio.sleep(3 * QUICK.token_retry_s)
        assert made.watch.state is State.UNAVAILABLE
        assert all(o.data.command_id != late[0].command_id for o in deployment.outcomes(deployment.partition(late[0])))
        site.faults.answer(0)
        site.faults.answer(0, *LOGIN)
        await made.worker.finished(*late)
        assert codes(deployment, late) == [None] * 5
        await made.becomes(State.HEALTHY)
        await opens(deployment, made, key_id, ciphertext)


async def test_a_command_that_expires_meanwhile_ends_as_expired(deployment: Deployment, site: Site) -> None:
    """Its time was over before the token came back; the ones beside it are executed, also a late creation."""
    async with tended(deployment, site) as made:
        key_id = await a_key(deployment, made)
        site.faults.answer(CKR_DEVICE_ERROR)
        site.faults.answer(CKR_DEVICE_ERROR, *LOGIN)
        await within(lambda: made.watch.is_down)
        short = use(deployment, "Encrypt", key_id, ITEM, protection="HSM", expires_ms=deployment.now + 1_000)
        long, late_key = encrypt(deployment, key_id), create(deployment, new_key(), "HSM")
        await deployment.submit(short, long)
        await deployment.submit(late_key)
        await asyncio.sleep(0.1)
        deployment.now += 2_000
        site.faults.answer(0)
        site.faults.answer(0, *LOGIN)
        await made.worker.finished(short, long, late_key)
    assert codes(deployment, [short, long, late_key]) == ["Expired", None, None]


async def test_a_short_silence_fails_nothing(deployment: Deployment, site: Site) -> None:
    """The token is opened again within the time that a batch waits, and not for each of its tickets."""
    async with tended(deployment, site, settings=PATIENT) as made:
        key_id = await a_key(deployment, made)
        logins = site.faults.calls["C_Login"]
        site.faults.answer(CKR_DEVICE_REMOVED, "C_EncryptInit")
        orders = [encrypt(deployment, key_id) for _ in range(60)]
        await deployment.submit(*orders)
        await made.becomes(State.UNAVAILABLE)
        site.faults.answer(0, "C_EncryptInit")
        await made.worker.finished(*orders)
        assert codes(deployment, orders) == [None] * 60
        assert 2 <= site.faults.calls["C_Login"] - logins < 60


async def test_a_token_that_goes_and_comes_back(deployment: Deployment, site: Site) -> None:
    """While its directory is away nothing is lost or taken for erased; afterwards old ciphertexts open."""
    async with tended(deployment, site) as made:
        key_id = await a_key(deployment, made)
        (answer,) = await made.worker.execute(encrypt(deployment, key_id))
        (ciphertext,) = results(answer)
        site.tokens.rename(site.away)
        await within(lambda: made.watch.is_down)
        orders = [encrypt(deployment, key_id), create(deployment, new_key(), "HSM"), random_bytes(deployment, 1, 16)]
        for order in orders:
            await deployment.submit(order)
        await asyncio.sleep(0.3)
        assert made.watch.state in {State.UNAVAILABLE, State.MISSING}
        site.away.rename(site.tokens)
        await made.worker.finished(*orders)
        assert codes(deployment, orders) == [None] * 3
        await opens(deployment, made, key_id, ciphertext)


async def test_a_token_that_is_replaced(deployment: Deployment, site: Site, tmp_path: Path) -> None:
    """Another token under the same label is not even logged in to; when the right one is back, work goes on."""
    async with tended(deployment, site) as made:
        key_id = await a_key(deployment, made)
        (answer,) = await made.worker.execute(encrypt(deployment, key_id))
        (ciphertext,) = results(answer)
        aside = site.kms.rename(tmp_path / "kms-aside")
        program = [sys.executable, "-c", CREATE, str(site.module.path), str(tmp_path / "p"), str(tmp_path / "so")]
        await asyncio.to_thread(subprocess.run, program, check=True, timeout=60)
        (other,) = set(site.tokens.iterdir()) - {site.seal}
        await made.becomes(State.REPLACED)
        await within(lambda: made.watch.is_down)
        order = encrypt(deployment, key_id)
        await deployment.submit(order)
        await asyncio.sleep(0.3)
        assert made.watch.state is State.REPLACED
        assert not [each for each in other.iterdir() if each.name.endswith(".object") and each.name != "token.object"]
        other.rename(tmp_path / "other")
        aside.rename(site.kms)
        await made.worker.finished(order)
        assert codes(deployment, [order]) == [None]
        await opens(deployment, made, key_id, ciphertext)


async def test_a_wrong_pin_is_tried_once(deployment: Deployment, site: Site) -> None:
    """Locked, and not tried again until the file's content changes; then the partitions go on."""
    async with tended(deployment, site) as made:
        key_id = await a_key(deployment, made)
        pin = site.pins / "kms"
        right = pin.read_text()
        pin.write_text(secrets.token_hex(24))
        logins = site.faults.calls["C_Login"]
        site.faults.answer(CKR_DEVICE_REMOVED, "C_GenerateRandom")
        await made.becomes(State.LOCKED)
        site.faults.answer(0, "C_GenerateRandom")
        await within(lambda: made.watch.is_down)
        order = encrypt(deployment, key_id)
        await deployment.submit(order)
        await asyncio.sleep(10 * QUICK.longest_retry_s)
        assert made.watch.health.code(0) == "PinIncorrect"
        assert site.faults.calls["C_Login"] == logins + 1
        pin.write_text(right)
        await made.worker.finished(order)
        assert codes(deployment, [order]) == [None]
        await made.becomes(State.HEALTHY)


async def test_a_wrong_pin_at_the_start_is_waited_for(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process does not end, to be started and refused again: it goes on when the file holds the right PIN."""
    monkeypatch.setattr(worker_programs, "_PIN_LOOK_S", 0.02)
    config = Config(
        data_directory=tmp_path, bootstrap_servers="nowhere", postgres_dsn="none", postgres_reader_dsn="none",
        pkcs11_module=site.module.path, softhsm2_conf=tmp_path / "softhsm2.conf", pins_directory=site.pins,
        identities_directory=tmp_path,
    )  # fmt: skip
    pin = site.pins / "seal"
    right = pin.read_text()
    pin.write_text(secrets.token_hex(24))
    logins = site.faults.calls["C_Login"]
    with ExitStack() as stack:
        opening = asyncio.create_task(open_tokens(config, stack))
        await asyncio.sleep(0.3)
        assert not opening.done()
        assert site.faults.calls["C_Login"] == logins + 2
        pin.write_text(right)
        kms, seal = await asyncio.wait_for(opening, 5)
        kms.check()
        seal.check()


async def test_a_session_limit_makes_the_pool_smaller_for_a_while(deployment: Deployment, site: Site) -> None:
    """Degraded, everything served; when the token allows more, the pool grows by itself."""
    site.faults.allow_sessions("kms", 3)
    async with tended(deployment, site, sessions=4) as made:
        key_id = await a_key(deployment, made)
        await made.becomes(State.DEGRADED)
        assert (made.kms.sessions, made.watch.health.code(0)) == (2, "SessionLimit")
        orders = [encrypt(deployment, key_id) for _ in range(20)]
        await deployment.submit(*orders)
        await made.worker.finished(*orders)
        assert codes(deployment, orders) == [None] * 20
        site.faults.allow_sessions("kms", None)
        await made.becomes(State.HEALTHY)
        assert made.kms.sessions == 4


async def test_a_token_without_any_session_left(deployment: Deployment, site: Site) -> None:
    """Lost while its limit is reached by others: unavailable until one comes free."""
    async with tended(deployment, site) as made:
        key_id = await a_key(deployment, made)
        site.faults.allow_sessions("kms", 1)
        site.faults.answer(CKR_DEVICE_REMOVED, "C_GenerateRandom")
        await within(lambda: made.watch.health.code(0) == "SessionLimit")
        site.faults.answer(0, "C_GenerateRandom")
        await within(lambda: made.watch.is_down)
        order = encrypt(deployment, key_id)
        await deployment.submit(order)
        await asyncio.sleep(0.1)
        assert made.watch.state is State.UNAVAILABLE
        site.faults.allow_sessions("kms", None)
        await made.worker.finished(order)
        assert codes(deployment, [order]) == [None]


async def test_a_slow_token_is_degraded_and_serves(deployment: Deployment, site: Site) -> None:
    """Every call takes longer than the setting: nothing fails, and the state says so until it is over."""
    async with tended(deployment, site) as made:
        key_id = await a_key(deployment, made)
        site.faults.slow(0.05)
        await made.becomes(State.DEGRADED)
        orders = [encrypt(deployment, key_id) for _ in range(5)]
        await deployment.submit(*orders)
        await made.worker.finished(*orders)
        assert codes(deployment, orders) == [None] * 5
        site.faults.slow(0)
        await made.becomes(State.HEALTHY)


async def test_a_pool_of_sessions_hides_latency(deployment: Deployment, site: Site) -> None:
    """Four sessions have four calls under way where one has one, with the same results in the same order."""
    key_id = new_key()
    for sessions in (1, 4):
        async with tended(deployment, site, sessions=sessions) as made:
            if sessions == 1:
                await made.worker.execute(create(deployment, key_id, "HSM"))
            await made.worker.execute(encrypt(deployment, key_id))
            site.faults.slow(0.05, "C_Encrypt")
            orders = [use(deployment, "Encrypt", key_id, [(0, b"%d" % n)], protection="HSM") for n in range(24)]
            site.faults.at_once.clear()
            answers = await made.worker.execute(*orders)
            assert site.faults.at_once["C_Encrypt"] == sessions
            site.faults.slow(0, "C_Encrypt")
            items = [(0, results(answer)[0]) for answer in answers]
            (back,) = await made.worker.execute(use(deployment, "Decrypt", key_id, items, protection="HSM"))
            assert results(back) == [b"%d" % n for n in range(24)]


async def test_what_fails_in_one_thread_lets_the_others_finish(deployment: Deployment, site: Site) -> None:
    """One call of many fails: only what is not done is tried again, and each command has one outcome."""
    async with tended(deployment, site, sessions=4, settings=PATIENT) as made:
        key_id = await a_key(deployment, made)
        site.faults.slow(0.01, "C_Encrypt")
        orders = [encrypt(deployment, key_id) for _ in range(24)]
        before = site.faults.calls["C_Encrypt"]
        await deployment.submit(*orders)
        await within(lambda: site.faults.calls["C_Encrypt"] >= before + 4)
        site.faults.answer(CKR_DEVICE_ERROR, "C_EncryptInit")
        await made.becomes(State.UNAVAILABLE)
        site.faults.answer(0, "C_EncryptInit")
        await made.worker.finished(*orders)
        assert codes(deployment, orders) == [None] * 24
        kinds = {type(deployment.outcome(order)) for order in orders}
        assert kinds == {facts.KeyUsed}
