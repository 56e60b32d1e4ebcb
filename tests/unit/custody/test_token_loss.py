"""A token that is lost, and opened again in place: the same one or none, every handle gone, no PIN tried twice."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pkcs11 import TokenFlag
from tests.support.faulty_token import (
    CKR_DEVICE_ERROR,
    CKR_DEVICE_REMOVED,
    FaultyToken,
    faulty,
)

from keyfold.custody import Custody, KeyReference
from keyfold.embedded.softhsm import prepare_softhsm, softhsm_module
from keyfold.events.errors import KeyfoldError, TokenUnavailable
from keyfold.token import (
    ActionRefused,
    Module,
    PinIncorrect,
    PinLocked,
    Token,
    TokenKeyMissing,
    create_token,
    load_module,
    open_token,
)
from keyfold.token import keys as token_keys
from keyfold.token.errors import SessionLimit, SessionsBusy, TokenLost, TokenReplaced
from keyfold.token.listing import stored_keys

pytestmark = pytest.mark.token

CKR_PIN_LOCKED = 0xA4
CKR_SESSION_HANDLE_INVALID = 0xB3
CKR_GENERAL_ERROR = 0x05


@dataclass
class Site:
    """One token in a directory of its own."""

    module: Module
    pin: Path
    tokens: Path
    faults: FaultyToken

    def open(self, sessions: int = 1) -> Token:
        return open_token(self.module, "it", self.pin, pool_size=sessions)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A fresh SoftHSM2 for each test."""
    monkeypatch.setenv("SOFTHSM2_CONF", str(prepare_softhsm(tmp_path)))
    module = load_module(softhsm_module())
    try:
        create_token(module, "it", tmp_path / "pin", tmp_path / "so")
        with faulty(module) as faults:
            yield Site(module, tmp_path / "pin", tmp_path / "tokens", faults)
    finally:
        module.close()


def open_again(site: Site, token: Token) -> None:
    site.module.reinitialize()
    token.reopen()


@pytest.mark.parametrize("rv", [CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED, 0xE0, 0x101, 0x190])
def test_a_lost_token_stays_lost_until_it_is_opened_again(site: Site, rv: int) -> None:
    """Nobody goes on with it although it would answer: every call is refused before it asks the token."""
    with site.open() as token:
        site.faults.answer(rv)
        with pytest.raises(TokenLost):
            token.check()
        site.faults.answer(0)
        asked = site.faults.calls.total()
        for use in (token.check, lambda: _enter(token), token.grow):
            with pytest.raises(TokenLost):
                use()
        assert site.faults.calls.total() == asked
        open_again(site, token)
        token.check()


def _enter(token: Token) -> None:
    with token.manager():
        pass


def test_a_silent_token_is_not_lost(site: Site) -> None:
    """An error that says nothing of login and sessions: the next call asks again."""
    with site.open() as token:
        site.faults.answer(CKR_GENERAL_ERROR)
        with pytest.raises(TokenUnavailable):
            token.check()
        assert not token.is_lost
        site.faults.answer(0)
        token.check()


def test_keys_are_found_again_by_the_same_login(site: Site) -> None:
    """One login more, and what the token stores is there; a handle of before is of no use."""
    with site.open() as token:
        with token.manager() as session:
            token_keys.create_envelope_key(session, b"mine", "mine")
        logins = site.faults.calls["C_Login"]
        token.lose()
        open_again(site, token)
        with token.manager() as session:
            token_keys.require_envelope_key(session, b"mine")
            assert ("secret", b"mine") in stored_keys(session)
        assert site.faults.calls["C_Login"] == logins + 1


def test_a_missing_token_is_not_taken_for_one_without_the_key(site: Site) -> None:
    """While its directory is away, a key that is not found says nothing: the token is lost."""
    with site.open() as token:
        with token.manager() as session:
            token_keys.create_envelope_key(session, b"mine", "mine")
        away = site.tokens.rename(site.tokens.with_name("away"))
        with pytest.raises(TokenLost), token.manager() as session:
            token_keys.require_envelope_key(session, b"mine")
        assert token.is_lost
        with pytest.raises(TokenUnavailable):
            site.module.reinitialize()
        away.rename(site.tokens)
        open_again(site, token)
        with token.manager() as session:
            token_keys.require_envelope_key(session, b"mine")


def test_a_refusal_of_a_token_that_is_there_stays_a_refusal(site: Site) -> None:
    """And the token is not lost by it."""
    with site.open() as token:
        with pytest.raises(TokenKeyMissing), token.manager() as session:
            token_keys.require_envelope_key(session, b"never made")
        with pytest.raises(ActionRefused), token.manager():
            raise ActionRefused("no")
        assert not token.is_lost


def test_another_token_under_the_label_is_refused(site: Site, tmp_path: Path) -> None:
    """It is known by its serial number, and not even logged in to; the right one is taken again."""
    with site.open() as token:
        (mine,) = site.tokens.iterdir()
        aside = mine.rename(tmp_path / "aside")
        site.module.reinitialize()
        create_token(site.module, "it", tmp_path / "pin2", tmp_path / "so2")
        (other,) = site.tokens.iterdir()
        logins = site.faults.calls["C_Login"]
        token.lose()
        with pytest.raises(TokenReplaced, match="'it'"):
            open_again(site, token)
        assert TokenReplaced.retriable is False
        assert token.is_lost
        assert site.faults.calls["C_Login"] == logins
        other.rename(tmp_path / "other")
        aside.rename(mine)
        open_again(site, token)
        token.check()


def test_an_older_copy_of_the_token_is_refused(site: Site, tmp_path: Path) -> None:
    """Its directory was put back from a backup of before the epoch: nothing is taken up, and nothing made in it."""
    with site.open() as token:
        custody = Custody(token)
        custody.provision()
        older = shutil.copytree(site.tokens, tmp_path / "older")
        for epoch in (2, 3):
            custody.begin_epoch(epoch)
        newest = shutil.copytree(site.tokens, tmp_path / "newest")
        for copy, refused in ((older, True), (newest, False)):
            shutil.rmtree(site.tokens)
            shutil.copytree(copy, site.tokens)
            token.lose()
            open_again(site, token)
            if refused:
                with token.manager() as session:
                    before = stored_keys(session)
                with pytest.raises(TokenReplaced, match="up to 1, not 3"):
                    custody.attach()
                with token.manager() as session:
                    assert stored_keys(session) == before
            else:
                custody.attach()
                assert custody.epoch == custody.epoch_floor() == 3


@pytest.mark.parametrize("how", ["adopted", "found", "attached"])
def test_an_epoch_of_another_process_counts(site: Site, tmp_path: Path, how: str) -> None:
    """However this process came to know it, a token without it is an older copy."""
    with site.open() as token:
        first, second = Custody(token), Custody(token)
        first.provision()
        second.attach()
        older = shutil.copytree(site.tokens, tmp_path / "older")
        first.begin_epoch(2)
        reference = KeyReference(bytes(16), 1, "SYMMETRIC_DEFAULT", "SOFTWARE")
        blob = first.generate(reference).blob
        if how == "adopted":
            assert second.adopt_epoch(2)
        elif how == "found":
            second.open(reference, blob).destroy()
        else:
            second.attach()
        shutil.rmtree(site.tokens)
        shutil.copytree(older, site.tokens)
        token.lose()
        open_again(site, token)
        with pytest.raises(TokenReplaced):
            second.attach()


def test_another_token_in_the_slot_is_noticed(site: Site) -> None:
    """By a check, while the sessions still answer."""
    with site.open() as token:
        token.check()
        token.serial = b"another"
        with pytest.raises(TokenReplaced):
            token.check()
        assert token.is_lost


def test_a_refused_pin_is_passed_once(site: Site) -> None:
    """By whoever opens the token in this process, until the file's content is another."""
    right = site.pin.read_text()
    site.pin.write_text(secrets.token_hex(24))
    before = site.faults.calls["C_Login"]
    for _ in range(5):
        with pytest.raises(PinIncorrect) as raised:
            site.open()
        assert site.pin.read_text() not in str(raised.value)
    site.pin.write_text(site.pin.read_text() + "\n")
    with pytest.raises(PinIncorrect):
        site.open()
    assert site.faults.calls["C_Login"] == before + 1
    site.pin.write_text(right)
    site.open().close()


def test_a_refused_pin_is_passed_once_when_opened_again(site: Site) -> None:
    """The PIN file was changed under a running process: the token stays lost, and is not brought nearer to locking."""
    with site.open() as token:
        right = site.pin.read_text()
        site.pin.write_text(secrets.token_hex(24))
        token.lose()
        before = site.faults.calls["C_Login"]
        for _ in range(3):
            with pytest.raises(PinIncorrect):
                open_again(site, token)
        assert site.faults.calls["C_Login"] == before + 1
        site.pin.write_text(right)
        open_again(site, token)
        token.check()


def test_a_locked_token_is_told_apart(site: Site) -> None:
    """CKR_PIN_LOCKED has a type of its own; the PIN is not held against the file."""
    site.faults.answer(CKR_PIN_LOCKED, "C_Login")
    with pytest.raises(PinLocked):
        site.open()
    site.faults.answer(0, "C_Login")
    site.open().close()


def test_a_token_that_says_it_is_locked_is_not_logged_in_to(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """CKF_USER_PIN_LOCKED: no PIN is passed."""

    class Locked:
        flags = TokenFlag.USER_PIN_LOCKED

    with site.open() as token, token.manager() as session:
        monkeypatch.setattr(token, "_source", Locked())
        before = site.faults.calls["C_Login"]
        with pytest.raises(PinLocked):
            token._pass(b"any", session)
        assert site.faults.calls["C_Login"] == before


def test_the_pool_is_what_the_token_allows_and_grows_later(site: Site) -> None:
    """At least one session; those denied are asked for again."""
    site.faults.allow_sessions("it", 3)
    with site.open(sessions=5) as token:
        assert (token.sessions, token.pool_size) == (2, 5)
        token.grow()
        assert token.sessions == 2
        site.faults.allow_sessions("it", None)
        token.grow()
        assert token.sessions == 5
        with token.session(), token.session(), token.session(), token.session(), token.session():
            pass


def test_a_pool_without_a_session_is_no_pool(site: Site) -> None:
    """The limit is reached by the manager alone: typed, retriable, nothing stays open."""
    site.faults.allow_sessions("it", 1)
    with pytest.raises(SessionLimit):
        site.open()
    site.faults.allow_sessions("it", None)
    site.open().close()


def test_one_invalid_session_is_replaced(site: Site) -> None:
    """A fresh one can be opened, so the token is not lost, and unwrapped keys stay."""
    with site.open() as token:
        site.faults.answer(CKR_SESSION_HANDLE_INVALID, "C_GenerateRandom")
        with pytest.raises(TokenLost):
            token.check()
        site.faults.answer(0, "C_GenerateRandom")
        assert not token.is_lost
        token.check()


def test_an_invalid_session_that_cannot_be_replaced_is_a_lost_token(site: Site) -> None:
    """Nor could any other."""
    with site.open() as token:
        site.faults.answer(CKR_SESSION_HANDLE_INVALID, "C_GenerateRandom")
        site.faults.allow_sessions("it", 0)
        with pytest.raises(TokenLost):
            token.check()
        assert token.is_lost


def test_a_busy_pool_says_so(site: Site) -> None:
    """Not lost, not silent: at work."""
    with site.open() as token, token.session():
        with pytest.raises(SessionsBusy), token.session(wait_seconds=0.01):
            pass
        assert not token.is_lost


def test_sessions_of_a_lost_token_are_not_handed_out(site: Site) -> None:
    """Nor waited for; one that is given back late goes to nobody."""
    with site.open() as token:
        with token.session():
            token.lose()
            with pytest.raises(TokenLost), token.session(wait_seconds=5):
                pass
        open_again(site, token)
        token.check()


@pytest.mark.parametrize("act", [Module.reinitialize, Module.close], ids=["reinitialize", "close"])
def test_a_library_that_did_not_start_may_be_started_or_closed(site: Site, act: Callable[[Module], None]) -> None:
    """Whatever became of the last attempt."""
    away = site.tokens.rename(site.tokens.with_name("away"))
    with pytest.raises(KeyfoldError):
        site.module.reinitialize()
    away.rename(site.tokens)
    act(site.module)


def test_a_closed_library_is_not_started_again(site: Site) -> None:
    """It is loaded anew by `load_module`."""
    site.module.close()
    with pytest.raises(TokenUnavailable):
        site.module.reinitialize()
