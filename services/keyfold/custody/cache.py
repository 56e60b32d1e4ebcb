"""Open handles, kept: a bounded memory of the least recently used kind, that never destroys what is in use.

It does not know how handles are opened (the caller's `load` does) nor when a key must not be used (the worker does, and
evicts it).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from keyfold.custody.references import Handle, KeyReference
from keyfold.events.errors import KeyfoldError, TokenUnavailable


@dataclass(slots=True, eq=False)
class _Entry:
    handle: Handle
    users: int = 0
    evicted: bool = False


class HandleCache:
    """Handles by key version. Every method may be called from any thread.

    `hits` and `misses` count uses of a handle that was open, and that had to be loaded.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a cache holds one handle at least")
        self._capacity = capacity
        self._entries: OrderedDict[KeyReference, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = self.misses = 0

    @contextmanager
    def get(self, reference: KeyReference, load: Callable[[], Handle]) -> Iterator[Handle]:
        """Give the open handle of a key version, loading it if need be; it stays open within the `with`.

        If the token fails meanwhile, the handle is dropped, so that the next use loads it again.
        """
        entry = self._enter(reference) or self._insert(reference, load())
        try:
            yield entry.handle
        except TokenUnavailable:
            self._drop(entry)
            raise
        finally:
            self._leave(entry)

    def evict(self, key_id: bytes) -> None:
        """Forget every version of a key; a handle in use is destroyed when its last user leaves."""
        with self._lock:
            gone = [self._entries.pop(ref) for ref in list(self._entries) if ref.key_id == key_id]
            idle = self._retire(gone)
        _destroy(idle)

    def clear(self) -> None:
        """Forget every handle."""
        with self._lock:
            gone = list(self._entries.values())
            self._entries.clear()
            idle = self._retire(gone)
        _destroy(idle)

    def __len__(self) -> int:
        return len(self._entries)

    def _enter(self, reference: KeyReference) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(reference)
            if entry is not None:
                self._entries.move_to_end(reference)
                entry.users += 1
                self.hits += 1
            return entry

    def _insert(self, reference: KeyReference, handle: Handle) -> _Entry:
        """Two threads may have loaded the same key: the first stays, the other's is destroyed."""
        with self._lock:
            self.misses += 1
            entry = self._entries.get(reference)
            spare = [] if entry is None else [handle]
            if entry is None:
                entry = self._entries[reference] = _Entry(handle)
            entry.users += 1
            self._entries.move_to_end(reference)
            spare += self._retire(self._overflow())
        _destroy(spare)
        return entry

    def _overflow(self) -> list[_Entry]:
        over = max(0, len(self._entries) - self._capacity)
        return [self._entries.popitem(last=False)[1] for _ in range(over)]

    @staticmethod
    def _retire(entries: list[_Entry]) -> list[Handle]:
        for entry in entries:
            entry.evicted = True
        return [entry.handle for entry in entries if not entry.users]

    def _drop(self, entry: _Entry) -> None:
        with self._lock:
            if not entry.evicted:
                self._entries.pop(entry.handle.reference, None)
                entry.evicted = True

    def _leave(self, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            done = entry.evicted and not entry.users
        if done:
            _destroy([entry.handle])


def _destroy(handles: list[Handle]) -> None:
    for handle in handles:
        # A token that is gone has destroyed its session objects itself.
        with suppress(KeyfoldError):
            handle.destroy()
