"""Tokens for the custody tests: real ones, in a fresh SoftHSM2 directory per test module."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyfold.custody import Custody
from keyfold.token import Module, Token, create_token, load_module, open_token

_numbers = itertools.count()


@pytest.fixture(scope="module")
def module(softhsm: Any) -> Iterator[Module]:
    """The PKCS#11 library, initialised for this test module's token directory."""
    loaded = load_module(softhsm.module)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pins")


@pytest.fixture(scope="module")
def new_token(module: Module, pins: Path) -> Iterator[Callable[[], Token]]:
    """Makes another token, with a label of its own, and opens it."""
    opened: list[Token] = []

    def make() -> Token:
        label = f"token-{next(_numbers)}"
        create_token(module, label, pins / f"{label}.pin", pins / f"{label}.so.pin")
        opened.append(open_token(module, label, pins / f"{label}.pin", pool_size=2))
        return opened[-1]

    yield make
    for token in opened:
        token.close()


@pytest.fixture(scope="module")
def token(new_token: Callable[[], Token]) -> Token:
    return new_token()


@pytest.fixture(scope="module")
def custody(token: Token) -> Custody:
    made = Custody(token)
    made.provision()
    return made
