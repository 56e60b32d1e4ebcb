"""AES-GCM in the token: when a failed decryption is the data's fault, and when it is the token's."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keyfold.custody import Custody
from keyfold.token import ActionRefused, Session, TokenUnavailable
from keyfold.token.keys import require_key_encryption_key
from keyfold.token.kinds import AES
from keyfold.token.material import Material

pytestmark = pytest.mark.token

NONCE = bytes(12)


@pytest.fixture
def key(custody: Custody) -> int:
    with custody.token.manager() as session:
        kek = require_key_encryption_key(session, b"keyfold:kek:secret:aes")
        material = Material(session)
        with material.fresh_secret(session, AES, 32) as fresh:
            wrapped = material.wrap(session, kek, fresh)
        return material.unwrap(session, AES, kek, wrapped)


@pytest.fixture
def session(custody: Custody) -> Iterator[Session]:
    with custody.token.session() as checked_out:
        yield checked_out


def answering(session: Session, monkeypatch: pytest.MonkeyPatch, *answers: int | None) -> None:
    """Let C_Decrypt answer these values in turn; None asks the token."""
    real: Callable[..., int] = session.functions.decrypt
    left = list(answers)

    def decrypt(*arguments: Any) -> int:
        answer = left.pop(0)
        return real(*arguments) if answer is None else answer

    monkeypatch.setattr(session.functions, "decrypt", decrypt)


def test_a_wrong_tag_is_the_datas_fault(session: Session, key: int) -> None:
    """None for that item; the others open."""
    made = session.gcm.encrypt_many(key, [(NONCE, b"one", b"a"), (bytes(11) + b"1", b"two", b"a")])
    items = [(NONCE, made[0], b"b"), (bytes(11) + b"1", made[1], b"a")]
    assert session.gcm.decrypt_many(key, items) == [None, b"two"]


@pytest.mark.parametrize("rv", [0x40, 0x41])
def test_a_token_that_says_so_is_believed(session: Session, key: int, monkeypatch: pytest.MonkeyPatch, rv: int) -> None:
    """CKR_ENCRYPTED_DATA_INVALID and its like need no second look."""
    answering(session, monkeypatch, rv)
    monkeypatch.setattr(session.functions, "decrypt_init", _once_idle(session))
    assert session.gcm.decrypt_many(key, [(NONCE, bytes(20), b"")]) == [None]


@pytest.mark.parametrize("rv", [0x05, 0x06])
def test_a_general_error_of_a_well_token_is_the_datas_fault(
    session: Session, key: int, monkeypatch: pytest.MonkeyPatch, rv: int
) -> None:
    """The token then opens what it has just encrypted."""
    answering(session, monkeypatch, rv, None)
    monkeypatch.setattr(session.functions, "decrypt_init", _once_idle(session))
    assert session.gcm.decrypt_many(key, [(NONCE, bytes(20), b"")]) == [None]


@pytest.mark.parametrize("answers", [(0x05, 0x05), (0x06, 0x30), (0x30,), (0xB3,), (0x32,)])
def test_a_failing_token_is_unavailable(
    session: Session, key: int, monkeypatch: pytest.MonkeyPatch, answers: tuple[int, ...]
) -> None:
    """Sound data is never called invalid because the token is ill."""
    monkeypatch.setattr(session.functions, "decrypt_init", lambda *_: 0)
    answering(session, monkeypatch, *answers)
    with pytest.raises(TokenUnavailable):
        session.gcm.decrypt_many(key, [(NONCE, bytes(20), b"")])


def test_plaintext_does_not_stay_when_the_token_falls_silent(
    session: Session, key: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The buffer that received the first item is overwritten although the second ends the call."""
    made = session.gcm.encrypt_many(key, [(NONCE, b"plaintext", b"")])[0]
    begin, begun = session.functions.decrypt_init, []

    def decrypt_init(*arguments: Any) -> int:
        begun.append(arguments)
        return int(begin(*arguments)) if len(begun) == 1 else 0x30

    monkeypatch.setattr(session.functions, "decrypt_init", decrypt_init)
    with pytest.raises(TokenUnavailable):
        session.gcm.decrypt_many(key, [(NONCE, made, b""), (NONCE, made, b"")])
    assert b"plaintext" not in session.gcm._view.tobytes()


def test_a_key_of_another_purpose_is_refused(custody: Custody, session: Session) -> None:
    """Using a key encryption key for data is the token's refusal."""
    with custody.token.manager() as manager:
        kek = require_key_encryption_key(manager, b"keyfold:kek:secret:aes")
    with pytest.raises(ActionRefused):
        session.gcm.encrypt_many(kek, [(NONCE, b"x", b"")])
    with pytest.raises(ActionRefused):
        session.gcm.decrypt_many(kek, [(NONCE, bytes(20), b"")])


def test_plaintext_does_not_stay_in_the_buffer(session: Session, key: int) -> None:
    """After a batch the session's output buffer is zero."""
    secret = b"do not keep this" * 1000
    (made,) = session.gcm.encrypt_many(key, [(NONCE, secret, b"")])
    assert session.gcm.decrypt_many(key, [(NONCE, made, b"")]) == [secret]
    assert not any(session.gcm._view)


def _once_idle(session: Session) -> Callable[..., int]:
    """C_DecryptInit, except that the first call begins nothing: a token that fails an operation has ended it."""
    real: Callable[..., int] = session.functions.decrypt_init
    calls: list[int] = []

    def init(*arguments: Any) -> int:
        calls.append(0)
        return 0 if len(calls) == 1 else real(*arguments)

    return init
