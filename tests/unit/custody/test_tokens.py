"""Tokens and PIN files: created once, opened by a file, failing by type, never telling a PIN."""

import ctypes
import os
import secrets
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import exceptions as pkcs11_exceptions

from keyfold.events.errors import KeyfoldError
from keyfold.token import (
    ActionRefused,
    DataRefused,
    HandleLost,
    Module,
    ModuleUnusable,
    PinIncorrect,
    PinLocked,
    PinUnusable,
    Token,
    TokenExists,
    TokenMissing,
    TokenUnavailable,
    create_token,
    load_module,
    open_token,
)
from keyfold.token import cryptoki as cryptoki_module
from keyfold.token.errors import PinExpired, SessionLimit, SessionLost, TokenLost, error_of, translated
from keyfold.token.pins import read_pin, write_pin

pytestmark = pytest.mark.token


@pytest.fixture
def created(module: Module, tmp_path: Path) -> tuple[str, Path, Path]:
    """A token's label, its PIN file and its security officer's."""
    label = secrets.token_hex(8)
    pin, so_pin = tmp_path / "user.pin", tmp_path / "so.pin"
    create_token(module, label, pin, so_pin)
    return label, pin, so_pin


def test_a_created_token_opens_with_its_pin_file(module: Module, created: tuple[str, Path, Path]) -> None:
    """Create, open, use."""
    label, pin, _ = created
    with open_token(module, label, pin) as token:
        token.check()


def test_pin_files_are_random_private_and_long(created: tuple[str, Path, Path]) -> None:
    """Mode 0600, 128 random bits or more, different for each role."""
    _, pin, so_pin = created
    for path in (pin, so_pin):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(bytes.fromhex(path.read_text())) * 8 >= 128
    assert pin.read_bytes() != so_pin.read_bytes()


def test_a_token_is_never_created_twice(module: Module, created: tuple[str, Path, Path], tmp_path: Path) -> None:
    """The label is taken: nothing is written and the first token still opens."""
    label, pin, _ = created
    with pytest.raises(TokenExists):
        create_token(module, label, tmp_path / "other.pin", tmp_path / "other.so")
    assert not (tmp_path / "other.pin").exists()
    open_token(module, label, pin).close()


@pytest.mark.parametrize("existing", ["user.pin", "so.pin"])
def test_a_pin_file_is_never_overwritten(module: Module, tmp_path: Path, existing: str) -> None:
    """A PIN file that exists stays as it is, and no token is made."""
    (tmp_path / existing).write_text("precious")
    with pytest.raises(TokenExists):
        create_token(module, "fresh", tmp_path / "user.pin", tmp_path / "so.pin")
    assert (tmp_path / existing).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    with pytest.raises(TokenMissing):
        module.find("fresh")


def test_writing_a_pin_does_not_follow_a_race(tmp_path: Path) -> None:
    """Even the writing itself refuses a file that exists."""
    write_pin(tmp_path / "pin")
    with pytest.raises(TokenExists):
        write_pin(tmp_path / "pin")


@pytest.mark.parametrize("label", ["", "x" * 33])
def test_a_label_fits_the_standard(module: Module, tmp_path: Path, label: str) -> None:
    """Labels have 1 to 32 bytes (PKCS#11)."""
    with pytest.raises(ValueError, match="32 bytes"):
        create_token(module, label, tmp_path / "a", tmp_path / "b")


def test_a_wrong_pin_is_typed_and_not_told(module: Module, created: tuple[str, Path, Path]) -> None:
    """The message names neither the PIN in the file nor any other; the right file opens afterwards."""
    label, pin, _ = created
    right = pin.read_text()
    pin.write_text("wrong-pin-1234567890")
    with pytest.raises(PinIncorrect) as raised:
        open_token(module, label, pin)
    assert "wrong-pin" not in str(raised.value)
    pin.write_text(right)
    open_token(module, label, pin).close()


def test_an_unknown_token_is_missing(module: Module, created: tuple[str, Path, Path]) -> None:
    """The error names the label that was looked for."""
    with pytest.raises(TokenMissing, match="nowhere"):
        open_token(module, "nowhere", created[1])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_pin_file_that_others_may_read_is_refused(created: tuple[str, Path, Path], mode: int) -> None:
    """0600 or stricter."""
    created[1].chmod(mode)
    with pytest.raises(PinUnusable, match="0600"):
        read_pin(created[1])


def test_a_pin_file_must_be_there_and_hold_something(tmp_path: Path) -> None:
    """Missing, empty and a directory: each is refused by type."""
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "folder").mkdir(0o700)
    for name in ("missing", "empty"):
        with pytest.raises(PinUnusable):
            read_pin(tmp_path / name)


def test_the_pin_never_leaves_the_file(module: Module, created: tuple[str, Path, Path]) -> None:
    """Not in the environment, not in the command line, not in what a token says of itself."""
    label, pin, _ = created
    secret = pin.read_text().strip()
    with open_token(module, label, pin) as token:
        assert secret not in repr(vars(token))
        assert secret not in Path("/proc/self/cmdline").read_text()
        assert all(secret not in value for value in os.environ.values())


def test_only_the_first_session_passes_the_pin(
    module: Module, created: tuple[str, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One C_Login per open, whatever the pool's size."""
    logins: list[int] = []
    real = module.cryptoki.login

    def login(session: int, user: int, pin: bytes) -> None:
        logins.append(session)
        real(session, user, pin)

    monkeypatch.setattr(module.cryptoki, "login", login)
    with open_token(module, created[0], created[1], pool_size=3) as token:
        for _ in range(3):
            token.check()
    assert len(logins) == 1


def test_a_closed_token_is_unavailable(module: Module, created: tuple[str, Path, Path]) -> None:
    """Closing twice is harmless; using it then is a typed, retriable error."""
    token = open_token(module, created[0], created[1])
    token.close()
    token.close()
    with pytest.raises(TokenUnavailable):
        token.check()
    with pytest.raises(TokenUnavailable), token.manager():
        pass


def test_a_busy_pool_is_unavailable_in_time(module: Module, created: tuple[str, Path, Path]) -> None:
    """Nobody waits for a session longer than he said."""
    with (
        open_token(module, created[0], created[1]) as token,
        token.session(),
        pytest.raises(TokenUnavailable, match="busy"),
        token.session(wait_seconds=0.02),
    ):
        pass


def test_a_returned_session_wakes_who_waits(module: Module, created: tuple[str, Path, Path]) -> None:
    """A thread that waits gets the session when another gives it back."""
    with open_token(module, created[0], created[1]) as token:
        served = threading.Event()

        def use() -> None:
            with token.session(wait_seconds=5):
                served.set()

        thread = threading.Thread(target=use)
        with token.session():
            thread.start()
            assert not served.wait(0.05)
        thread.join(5)
        assert served.is_set()


def test_a_session_that_failed_is_replaced(module: Module, created: tuple[str, Path, Path]) -> None:
    """The next user has a working session; the manager session, which holds unwrapped keys, is not touched."""
    with open_token(module, created[0], created[1]) as token:
        with token.session() as session:
            session.pkcs11.close()
        with pytest.raises(TokenUnavailable):
            token.check()
        token.check()


def test_a_module_that_is_no_library_is_unusable(tmp_path: Path) -> None:
    """Missing, and not a shared library."""
    with pytest.raises(ModuleUnusable):
        load_module(tmp_path / "nothing.so")
    (tmp_path / "text.so").write_text("not a library")
    with pytest.raises(ModuleUnusable):
        load_module(tmp_path / "text.so")


def test_one_path_is_loaded_once(softhsm: Any, module: Module) -> None:
    """A second load gives the library that is there, and a closed one is loaded anew."""
    assert load_module(softhsm.module).cryptoki is module.cryptoki


@pytest.mark.parametrize(
    ("rv", "kind", "retriable"),
    [
        (0x05, TokenUnavailable, True),
        (0x30, TokenLost, True),
        (0xB1, SessionLimit, True),
        (0xB3, SessionLost, True),
        (0xE0, TokenLost, True),
        (0x101, TokenLost, True),
        (0x190, TokenLost, True),
        (0x82, HandleLost, True),
        (0xA0, PinIncorrect, False),
        (0xA3, PinExpired, False),
        (0xA4, PinLocked, False),
        (0x40, DataRefused, False),
        (0x1B, ActionRefused, False),
        (0xD1, ActionRefused, False),
        (0x80000001, ActionRefused, False),
    ],
)
def test_return_values_become_typed_errors(rv: int, kind: type[KeyfoldError], retriable: bool) -> None:
    """Each CKR value has one class, and the class says whether trying again helps."""
    error = error_of(rv, "act")
    assert type(error) is kind
    assert error.retriable is retriable
    assert hex(rv) in str(error)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (pkcs11_exceptions.PinIncorrect(), PinIncorrect),
        (pkcs11_exceptions.DeviceRemoved(), TokenUnavailable),
        (pkcs11_exceptions.SessionHandleInvalid(), TokenUnavailable),
        (pkcs11_exceptions.ObjectHandleInvalid(), HandleLost),
        (pkcs11_exceptions.EncryptedDataInvalid(), DataRefused),
        (pkcs11_exceptions.TemplateInconsistent(), ActionRefused),
        (pkcs11_exceptions.PKCS11Error("Unmapped error code 0x1b"), ActionRefused),
        (pkcs11_exceptions.PKCS11Error("Unmapped error code 0x32"), TokenUnavailable),
        (pkcs11_exceptions.PKCS11Error("Initialisation error (not initialized). Should..."), TokenUnavailable),
    ],
)
def test_python_pkcs11_errors_become_typed_errors(raised: Exception, kind: type[KeyfoldError]) -> None:
    """The same classes, whichever way the token was called."""
    with pytest.raises(kind) as caught, translated("act"):
        raise raised
    assert caught.value.__cause__ is None


def test_every_named_exception_exists() -> None:
    """The names in the table are python-pkcs11's: an upgrade that renames one is noticed."""
    from keyfold.token.errors import _RV_BY_NAME

    known = {name for name in _RV_BY_NAME if not name.isupper() and "_" not in name}
    assert [name for name in known if not hasattr(pkcs11_exceptions, name)] == []


def test_structures_have_the_standards_sizes() -> None:
    """CK_ATTRIBUTE, CK_MECHANISM and CK_GCM_PARAMS as a 64-bit C compiler lays them out."""
    sizes = (cryptoki_module.CkAttribute, cryptoki_module.CkMechanism, cryptoki_module.CkGcmParams)
    assert [ctypes.sizeof(size) for size in sizes] == [24, 24, 48]
    assert int(pkcs11.Mechanism.AES_GCM) == cryptoki_module.CKM_AES_GCM
    assert int(pkcs11.Mechanism.AES_KEY_WRAP_PAD) == cryptoki_module.CKM_AES_KEY_WRAP_PAD
    assert int(pkcs11.Mechanism.AES_KEY_GEN) == cryptoki_module.CKM_AES_KEY_GEN


def test_tokens_do_not_disturb_each_other(new_token: Callable[[], Token]) -> None:
    """Two tokens are open at once, each with its own login."""
    first, second = new_token(), new_token()
    first.check()
    second.check()
    first.close()
    second.check()
