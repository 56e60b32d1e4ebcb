"""RSA decryption and signatures in the token: when a failure is the data's fault, and when it is the token's."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keyfold.custody import Custody, KeyReference, TokenOperations, encrypt
from keyfold.custody.references import TokenHandle
from keyfold.events.errors import InvalidCiphertext
from keyfold.token import Session, TokenUnavailable
from keyfold.token.operations import KeyOperations, Prepared, oaep

pytestmark = pytest.mark.token

OAEP = "RSAES_OAEP_SHA_256"


@pytest.fixture(scope="module")
def opened(custody: Custody) -> tuple[TokenHandle, list[bytes]]:
    """An RSA key for decryption, and two ciphertexts."""
    reference = KeyReference(os.urandom(16), 1, "RSA_2048", "HSM", "ENCRYPT_DECRYPT")
    made = custody.generate(reference)
    handle = custody.open(reference, made.blob)
    assert isinstance(handle, TokenHandle)
    ciphertexts = encrypt(made.public_key or b"", OAEP, [b"one", b"two"])
    return handle, [each for each in ciphertexts if isinstance(each, bytes)]


@pytest.fixture
def session(custody: Custody) -> Iterator[Session]:
    with custody.token.session() as checked_out:
        yield checked_out


def answering(session: Session, patch: pytest.MonkeyPatch, name: str, *answers: int | None) -> list[int]:
    """Let a function of the token answer these values in turn, then really; None asks the token."""
    real: Callable[..., int] = getattr(session.functions, name)
    left, calls = list(answers), list[int]()

    def answer(*arguments: Any) -> int:
        calls.append(1)
        said = left.pop(0) if left else None
        done = real(*arguments)
        return done if said is None else said

    patch.setattr(session.functions, name, answer)
    return calls


@pytest.mark.parametrize("rv", [0x05, 0x06, 0x40, 0x41, 0x20])
def test_what_a_well_token_refuses_is_invalid(
    custody: Custody, opened: tuple[TokenHandle, list[bytes]], monkeypatch: pytest.MonkeyPatch, rv: int
) -> None:
    """A general error, after which the token opens a sample, or an error about the data."""
    handle, ciphertexts = opened
    with custody.token.session() as session:
        answering(session, monkeypatch, "slow_decrypt", None, rv)
    operations = TokenOperations(custody.token)
    monkeypatch.setattr(operations._oaep, "_native", {"256": False})
    first, second = operations.decrypt(handle, OAEP, ciphertexts)
    assert first == b"one"
    assert isinstance(second, InvalidCiphertext)


@pytest.mark.parametrize("answers", [(0x05, 0x05), (0x06, 0x30), (0x30,), (0xB3,), (0x32,), (None, 0x30)])
def test_an_ill_token_is_unavailable_and_gives_nothing(
    custody: Custody,
    opened: tuple[TokenHandle, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    answers: tuple[int | None, ...],
) -> None:
    """Sound data is never called invalid because the token is ill, and no partial result is given."""
    handle, ciphertexts = opened
    operations = TokenOperations(custody.token)
    monkeypatch.setattr(operations._oaep, "_native", {"256": False})
    with custody.token.session() as session, monkeypatch.context() as patch:
        answering(session, patch, "slow_decrypt", *answers)
        run = KeyOperations(session, slow=True)
        raw = Prepared(0x03)
        with pytest.raises(TokenUnavailable):
            run.decrypt_many(handle.key, raw, ciphertexts, lambda: (2).to_bytes(256, "big"))
    assert operations.decrypt(handle, OAEP, ciphertexts) == [b"one", b"two"]


def test_the_token_is_asked_once_whether_it_has_oaep(
    custody: Custody, opened: tuple[TokenHandle, list[bytes]], session: Session
) -> None:
    """SoftHSM2 has it with SHA-1 only, and asking leaves nothing begun in the session."""
    handle, _ = opened
    run = KeyOperations(session)
    assert [run.can_decrypt(handle.key, oaep(sha)) for sha in ("1", "256", "1")] == [True, False, True]
    assert session.gcm.random(4)


def test_what_is_no_number_below_the_modulus_is_not_given_to_the_token(
    custody: Custody, opened: tuple[TokenHandle, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens differ in what they say to it: wrong lengths and too large numbers are refused before."""
    handle, ciphertexts = opened
    operations = TokenOperations(custody.token)
    monkeypatch.setattr(operations._oaep, "_native", {"256": False})
    with custody.token.session() as session:
        calls = answering(session, monkeypatch, "slow_decrypt")
    bad = [b"", ciphertexts[0][1:], ciphertexts[0] + b"\0", b"\xff" * 256]
    results = operations.decrypt(handle, OAEP, [*bad, ciphertexts[0]])
    assert [type(each) for each in results] == [InvalidCiphertext] * len(bad) + [bytes]
    assert len(calls) == 1


def test_plaintext_does_not_stay_in_the_buffer(opened: tuple[TokenHandle, list[bytes]], session: Session) -> None:
    """After a batch the output buffer is zero."""
    handle, ciphertexts = opened
    run = KeyOperations(session, slow=True)
    first, _ = run.decrypt_many(handle.key, Prepared(0x03), ciphertexts, lambda: b"")
    assert first is not None
    assert len(first) == 256
    assert not any(run._out.raw)


@pytest.mark.parametrize("rv", [0x05, 0x06, 0xB3])
def test_a_batch_of_signatures_is_all_or_nothing(custody: Custody, monkeypatch: pytest.MonkeyPatch, rv: int) -> None:
    """The third of five fails: the call raises, and the same call works afterwards."""
    reference = KeyReference(os.urandom(16), 1, "ECC_NIST_P256", "HSM", "SIGN_VERIFY")
    handle = custody.open(reference, custody.generate(reference).blob)
    operations = TokenOperations(custody.token)
    with custody.token.session() as any_session:
        functions = any_session
    with monkeypatch.context() as patch:
        answering(functions, patch, "sign", None, None, rv)
        with pytest.raises(TokenUnavailable):
            operations.sign(handle, "ECDSA_SHA_256", "RAW", [b"x"] * 5)
    assert len(operations.sign(handle, "ECDSA_SHA_256", "RAW", [b"x"] * 5)) == 5
