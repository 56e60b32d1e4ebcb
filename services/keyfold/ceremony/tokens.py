"""The tokens of a deployment: made once, with random PINs in 0600 files, and the keys that must be in them.

Only this module of the ceremony meets tokens. Every step finds what an earlier attempt made, so it can be repeated;
what cannot be continued is refused with the one thing to do. No token and no PIN file is ever overwritten.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keyfold.ceremony.errors import CeremonyIncomplete
from keyfold.ceremony.identities import NOTARY
from keyfold.config import Config, export_softhsm2_conf
from keyfold.custody import Custody, checkpoint_keys
from keyfold.token import (
    Module,
    PinIncorrect,
    PinUnusable,
    Token,
    TokenSigner,
    create_signing_identity,
    create_token,
    load_module,
    open_token,
)
from keyfold.token.module import is_initialised

ROOT: Final = "root"
LABELS: Final = (ROOT, "kms", "seal", NOTARY)


@contextmanager
def token_module(config: Config) -> Iterator[Module]:
    """Load the PKCS#11 library for the ceremony alone; afterwards nothing of it is open in this process."""
    export_softhsm2_conf(config)
    module = load_module(config.pkcs11_module)
    try:
        yield module
    finally:
        module.close()


def prepare(module: Module, pins: Path) -> None:
    """Make the tokens that are missing, and the keys inside; repeatable. Raises `CeremonyIncomplete`.

    If we crash between a token's PIN files and the token, the files are moved aside by the next attempt; if we crash
    before its PIN is set, the next attempt refuses and says which token to delete: nothing in it was ever used.
    """
    present = {token.label for token in module.slot_tokens() if is_initialised(token)}
    for label in LABELS:
        if label not in present:
            _move_orphans(pins, label)
            create_token(module, label, pins / label, _so_pin(pins, label))
    for label in LABELS:
        with _open(module, label, pins) as token:
            if label == ROOT:
                create_signing_identity(token)
            if label == "kms":
                Custody(token).provision()
            if label == NOTARY:
                checkpoint_keys.provision(token)


@contextmanager
def root_signer(module: Module, pins: Path) -> Iterator[TokenSigner]:
    """The root identity, open for the length of the block."""
    with _open(module, ROOT, pins) as token:
        yield TokenSigner(token)


def notary_keys(module: Module, pins: Path) -> tuple[bytes, bytes]:
    """Return the notary's raw public keys, Ed25519 and ML-DSA-44; in an older token, make what is missing first."""
    with _open(module, NOTARY, pins) as token:
        return checkpoint_keys.provision(token)


def _open(module: Module, label: str, pins: Path) -> Token:
    try:
        return open_token(module, label, pins / label)
    except (PinIncorrect, PinUnusable) as error:
        raise CeremonyIncomplete(
            f"token {label!r} exists and cannot be opened ({error}); restore its PIN file, or, if the deployment was "
            f"never in use, delete it (softhsm2-util --delete-token --token {label}; embedded: keyfold reset)"
        ) from None


def _move_orphans(pins: Path, label: str) -> None:
    """PIN files without a token open nothing here; they are kept under another name all the same."""
    for path in (pins / label, _so_pin(pins, label)):
        number = 1
        while path.exists():
            aside = path.with_name(f"{path.name}.orphan-{number}")
            number += 1
            if not aside.exists():
                path.rename(aside)


def _so_pin(pins: Path, label: str) -> Path:
    return pins / f"{label}.so"
