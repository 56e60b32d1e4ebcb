"""The notary's token as the notary sees it: two keys, and the tree heads that it has committed itself to.

The heads are the notary's memory that nobody outside the token can turn back: they are kept there before anything is
signed. A stand-in in memory and SoftHSM pass one contract suite.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ParamSpec, Protocol, TypeVar

from keyfold.events import strictjson
from keyfold.events.errors import InvalidCommand, TokenUnavailable
from keyfold.notary.errors import HeadsUnusable

_P = ParamSpec("_P")
_T = TypeVar("_T")
Head = tuple[int, bytes]
"""Size and root of a tree."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The latest head of each partition's tree. `counter` counts the rounds; the largest in a token counts."""

    counter: int = 0
    heads: Mapping[int, Head] = field(default_factory=lambda: MappingProxyType({}))

    def to_bytes(self) -> bytes:
        """Return the canonical JSON that is kept."""
        heads = {str(partition): [size, root.hex()] for partition, (size, root) in self.heads.items()}
        return strictjson.canonical({"counter": self.counter, "heads": heads})


def parse_heads(document: bytes) -> Heads:
    """Read what `to_bytes` wrote. Raises `HeadsUnusable`."""
    try:
        parsed = strictjson.loads(document)
        heads = {int(name): (int(size), bytes.fromhex(root)) for name, (size, root) in parsed["heads"].items()}
        return Heads(int(parsed["counter"]), heads)
    except (InvalidCommand, ValueError, KeyError, TypeError, AttributeError):
        raise HeadsUnusable("the tree heads in the notary's token cannot be read; restore the token") from None


class NotaryToken(Protocol):
    """Keys and memory. Every call blocks and may raise `TokenUnavailable`, which is retriable.

    `keep` is durable when it returns: from then on, also after a crash, `heads` returns these heads or later ones. If
    we crash within it, `heads` returns the ones before or these. Heads whose counter is not larger than that
    of the kept ones are refused with `HeadsMoved`: another notary has the token, too.
    """

    @property
    def public_key(self) -> bytes:
        """The raw Ed25519 public key."""

    @property
    def checkpoint_key(self) -> bytes:
        """The raw ML-DSA-44 public key."""

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature."""

    def sign_checkpoint(self, message: bytes) -> bytes:
        """Return the ML-DSA-44 signature."""

    def heads(self) -> Heads:
        """Return the heads that count; of a new token, none."""

    def keep(self, heads: Heads) -> None:
        """Keep these heads in the place of all before."""

    def recover(self) -> None:
        """Open the token again if it was lost; nothing where it was not."""


async def in_time(within_s: float, call: Callable[_P, _T], *arguments: _P.args, **known: _P.kwargs) -> _T:
    """Do in a thread what uses the token. Raises `TokenUnavailable`, retriable, if that takes longer (seconds).

    The thread goes on until the token answers. If it keeps heads then, they are of the log, and `HeadsMoved` tells.
    """
    try:
        async with asyncio.timeout(within_s):
            return await asyncio.to_thread(call, *arguments, **known)
    except TimeoutError:
        raise TokenUnavailable(f"the token `notary` did not answer within {within_s:g} s; look at it") from None
