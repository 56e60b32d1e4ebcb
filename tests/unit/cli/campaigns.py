"""Shared by the tests of re-encryption campaigns: ciphertexts, a list of them, and a service that can be in trouble."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.unit.cli.conftest import KEY

from keyfold.cli.rewrap.campaign import Plan, Rewrapper
from keyfold.cli.rewrap.items import line_with
from keyfold.events.ciphertext import header
from keyfold.events.errors import AccessDenied, KeyfoldError

OTHER = "01890a5d-ac96-774b-bcce-b302099a8058"


def made(version: int = 1, body: str = "body", key: str = KEY) -> bytes:
    """A ciphertext, as far as its header goes."""
    return header(UUID(key).bytes, version, 1) + body.encode().ljust(40, b".")


def line(ciphertext: bytes, **more: Any) -> bytes:
    """A line of a list."""
    text = base64.b64encode(ciphertext).decode()
    return (json.dumps({"ciphertext": text, **more}) if more else text).encode() + b"\n"


class Service:
    """Re-encrypts to version 9 of the key, or of the destination; `troubles` come first, one at each call."""

    def __init__(self, *troubles: KeyfoldError | None) -> None:
        self.troubles, self.calls = list(troubles), 0
        self.asked: list[bytes] = []
        self.bad: dict[bytes, KeyfoldError] = {}
        self.denied: set[str] = set()

    async def re_encrypt_batch(
        self, key: str, ciphertexts: Sequence[bytes], *, destination_key: str | None, contexts: Sequence[Any],
        reason: str | None,
    ) -> list[bytes | KeyfoldError]:  # fmt: skip
        self.calls += 1
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble
        if any(context.get("t") in self.denied for context in contexts):
            raise AccessDenied
        self.asked += ciphertexts
        answers = [self.bad.get(each, None) for each in ciphertexts]
        return [
            answer or made(9, each[26:].decode(), destination_key or key)
            for answer, each in zip(answers, ciphertexts, strict=True)
        ]


async def no_sleep(_: float) -> None:
    """Pauses take no time."""
    return


def rewrapper(service: Service, **plan: Any) -> Rewrapper:
    """Who re-encrypts under the key."""
    return Rewrapper(service, Plan(KEY, **plan), lambda _: None, no_sleep)


def write(count: int = 7) -> list[bytes]:
    """A list with a failure in the middle, and one line of another form."""
    lines = [line(made(1, f"item {n}")) for n in range(count)]
    lines[2] = b"no ciphertext\n"
    lines[4] = line(made(1, "item 4"), id=4)
    Path("in").write_bytes(b"".join([*lines[:3], b"\n", *lines[3:]]))
    return lines


def expected(lines: list[bytes]) -> list[bytes]:
    """What becomes of the list that `write` wrote."""
    return [line_with(each, made(9, f"item {n}".ljust(40, "."))) if n != 2 else each for n, each in enumerate(lines)]


class Died(BaseException):
    """The process ends here."""
