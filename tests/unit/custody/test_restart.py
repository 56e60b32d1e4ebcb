"""Closing and loading the module again, as a restarted process does."""

import os
from pathlib import Path
from typing import Any

import pytest

from keyfold.custody import Custody, InMemory, InToken, KeyReference
from keyfold.custody.references import Protection
from keyfold.events.ciphertext import encode_context
from keyfold.token import TokenUnavailable, create_token, cryptoki, load_module, open_token

pytestmark = pytest.mark.token

CONTEXT = [encode_context({"tenant": "a"})]


@pytest.mark.parametrize("protection", ["HSM", "SOFTWARE"])
def test_blobs_survive_a_restart(softhsm: Any, tmp_path: Path, protection: Protection) -> None:
    """The blob opens again and so does what its key protected; handles of the first life are unusable."""
    label, ref = f"restart-{protection}", KeyReference(os.urandom(16), 1, "SYMMETRIC_DEFAULT", protection)
    first = load_module(softhsm.module)
    create_token(first, label, tmp_path / "pin", tmp_path / "so")
    token = open_token(first, label, tmp_path / "pin")
    before = Custody(token)
    before.provision()
    blob = before.generate(ref).blob
    handle = before.open(ref, blob)
    ciphertexts = _provider(before, protection).protect(handle, CONTEXT, [(0, b"secret")])
    first.close()
    first.close()
    with pytest.raises(TokenUnavailable):
        token.check()
    token.close()
    second = load_module(softhsm.module)
    with open_token(second, label, tmp_path / "pin") as again:
        after = Custody(again)
        after.attach()
        handle = after.open(ref, blob)
        items = [(0, ciphertext) for ciphertext in ciphertexts]
        assert _provider(after, protection).unprotect(ref.key_id, lambda _: handle, CONTEXT, items) == [b"secret"]
    second.close()


def _provider(custody: Custody, protection: Protection) -> InToken | InMemory:
    return InToken(custody.token) if protection == "HSM" else InMemory(custody.derived)


def test_the_module_is_initialised_with_locking(softhsm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """C_Initialize is called with CKF_OS_LOCKING_OK before any session: what python-pkcs11 does alone is undone."""
    flags = []

    class Spy(cryptoki.CkInitializeArgs):
        def __init__(self, **values: int) -> None:
            flags.append(values)
            super().__init__(**values)

    monkeypatch.setattr(cryptoki, "CkInitializeArgs", Spy)
    load_module(softhsm.module).close()
    assert flags == [{"flags": 0x02}]
