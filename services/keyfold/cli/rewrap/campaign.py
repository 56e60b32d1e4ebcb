"""Re-encrypting batches: what is asked of the service, again where that may help, and what stays as it is.

An item that cannot be re-encrypted stays as it is, with the code of why. What strikes the key or the caller as a whole
ends the campaign: nothing of the batch is kept then, and it can go on later. Nothing here reads or writes a file.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from keyfold.cli.rewrap.items import NOT_A_CIPHERTEXT, Item, Result
from keyfold.client import BatchResult, Context
from keyfold.events.errors import AccessDenied, KeyfoldError

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0


class Keys(Protocol):
    """What a campaign needs of a client; `keyfold.client.Keyfold` is one."""

    async def re_encrypt_batch(
        self,
        key: str,
        ciphertexts: Sequence[bytes],
        *,
        destination_key: str | None,
        contexts: Sequence[Context],
        reason: str | None,
    ) -> BatchResult: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """From which key to which: None is the same. What is under its version `current` (if known) stays as it is."""

    key_id: str
    destination: str | None = None
    current: int | None = None
    reason: str | None = None
    retry_s: float = 600.0

    def wants(self, item: Item) -> bool:
        """Tell whether an item is to be moved: one of the key, and not where it should be already."""
        if item.reference is None or item.reference[0] != self.key_id:
            return False
        return self.destination is not None or self.current is None or item.reference[1] < self.current


@dataclass(frozen=True, slots=True)
class Rewrapper:
    """Re-encrypts batches. `say` tells a person what is waited for."""

    keys: Keys
    plan: Plan
    say: Callable[[str], None]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def rewrap(self, items: Sequence[Item]) -> list[Result]:
        """Return what becomes of each item, in order. Raises what strikes them all."""
        results = [_unmoved(item) for item in items]
        wanted = [at for at, item in enumerate(items) if self.plan.wants(item)]
        for at, result in zip(wanted, await self._moved([items[at] for at in wanted]), strict=True):
            results[at] = result
        return results

    async def _moved(self, items: Sequence[Item]) -> list[Result]:
        if not items:
            return []
        try:
            return await self._asked(items)
        except AccessDenied:
            groups = _by_context(items)
            if len(groups) == 1:
                raise
        return await self._group_by_group(items, groups)

    async def _group_by_group(self, items: Sequence[Item], groups: Sequence[Sequence[int]]) -> list[Result]:
        """Policies permit by context: one that is denied must not cost the others. All of them denied is an end."""
        results: dict[int, Result] = {}
        denied: AccessDenied | None = None
        for places in groups:
            group = [items[at] for at in places]
            try:
                found = await self._asked(group)
            except AccessDenied as error:
                denied = error
                found = [Result(item.ciphertext, "failed", error.code) for item in group]
            results.update(zip(places, found, strict=True))
        if denied is not None and all(result.outcome == "failed" for result in results.values()):
            raise denied
        return [results[at] for at in range(len(items))]

    async def _asked(self, items: Sequence[Item]) -> list[Result]:
        """Ask, and again with growing pauses what may succeed later, a bounded time."""
        results: list[Result | None] = [None] * len(items)
        open_ = list(range(len(items)))
        waited, pause = 0.0, _FIRST_PAUSE_S
        while open_:
            trouble = await self._once(items, open_, results)
            if trouble is None:
                break
            open_ = [at for at in open_ if results[at] is None]
            if waited >= self.plan.retry_s:
                raise trouble
            self.say(f"{trouble.code}: trying {len(open_)} again in {pause:.1f} s")
            await self.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, _LONGEST_PAUSE_S)
        return [result for result in results if result is not None]

    async def _once(
        self, items: Sequence[Item], places: Sequence[int], results: list[Result | None]
    ) -> KeyfoldError | None:
        """Ask once; return the trouble that may pass. Raises what does not pass and strikes all."""
        group = [items[at] for at in places]
        trouble: KeyfoldError | None = None
        try:
            found = await self.keys.re_encrypt_batch(
                self.plan.key_id,
                [item.ciphertext for item in group],
                destination_key=self.plan.destination,
                contexts=[item.context for item in group],
                reason=self.plan.reason,
            )
        except KeyfoldError as error:
            if error.retriable:
                return error
            raise
        for at, item, answer in zip(places, group, found, strict=True):
            if not isinstance(answer, KeyfoldError):
                results[at] = Result(answer, "moved")
            elif answer.retriable:
                trouble = answer
            else:
                results[at] = Result(item.ciphertext, "failed", answer.code)
        return trouble


def _unmoved(item: Item) -> Result:
    if item.reference is None and not item.empty:
        return Result(item.ciphertext, "failed", NOT_A_CIPHERTEXT)
    return Result(item.ciphertext, "kept")


def _by_context(items: Sequence[Item]) -> list[list[int]]:
    groups: dict[frozenset[tuple[str, str]], list[int]] = {}
    for at, item in enumerate(items):
        groups.setdefault(frozenset(item.context.items()), []).append(at)
    return list(groups.values())
