"""Parcels: the items of one record, and who waits for them. A parcel knows nothing of records, time or the network.

`Calls` holds coalesced single calls, `Slice` a part of one caller's batch, `Control` a verb without items. A parcel
can be divided where one caller's refusal must not become another's.
"""

from asyncio import Future
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from keyfold.client.answers import Answer
from keyfold.events.bodies import Item
from keyfold.events.errors import KeyfoldError

ItemError = Callable[[str], KeyfoldError]


Result = tuple[bytes, int]
"""An item's data, and the key version that its reply names: 0 where none or several apply. A plain tuple, for speed."""

Call = tuple["Future[Result]", bytes, str, float]
"""One single call: who waits, its bytes, its context, and until when (event loop time). A plain tuple, for speed."""


class Parcel(Protocol):
    """What one record carries. `items` are (index into `contexts`, bytes)."""

    @property
    def items(self) -> Sequence[Item]: ...

    @property
    def contexts(self) -> Sequence[str]: ...

    @property
    def earliest(self) -> float:
        """The first deadline among those who still wait."""

    def alive(self) -> bool:
        """Tell whether anybody still waits."""

    def answer(self, answer: Answer, item_error: ItemError) -> None:
        """Hand the results out."""

    def fail(self, error: KeyfoldError) -> None:
        """Tell everybody that the whole record failed."""

    def expire(self, now: float, error: KeyfoldError) -> None:
        """Fail those whose deadline has passed and forget who does not wait any more."""

    def by_context(self) -> "list[Parcel]":
        """Divide into parcels of one context each."""

    def halves(self) -> "list[Parcel]":
        """Divide into two, if there is more than one item."""


class Calls:
    """Coalesced single calls of the same verb, key and arguments."""

    __slots__ = ("_calls", "contexts", "earliest", "items")

    def __init__(self, calls: Iterable[Call]) -> None:
        self._calls = waiting = [call for call in calls if not call[0].done()]
        self.items, self.contexts = index_items([(data, context) for _, data, context, _ in waiting])
        self.earliest = min([deadline for _, _, _, deadline in waiting], default=float("inf"))

    def alive(self) -> bool:
        return any(not call[0].done() for call in self._calls)

    def answer(self, answer: Answer, item_error: ItemError) -> None:
        version = answer.data.version
        for (future, _, _, _), item in zip(self._calls, answer.items, strict=True):
            if future.done():
                continue
            if item.code is None:
                future.set_result((item.data, version))
            else:
                future.set_exception(item_error(item.code))

    def fail(self, error: KeyfoldError) -> None:
        for future, _, _, _ in self._calls:
            if not future.done():
                future.set_exception(_copy(error))

    def expire(self, now: float, error: KeyfoldError) -> None:
        for future, _, _, deadline in self._calls:
            if deadline <= now and not future.done():
                future.set_exception(_copy(error))
        self.earliest = self._first_deadline()

    def by_context(self) -> list[Parcel]:
        groups: dict[str, list[Call]] = {}
        for call in self._calls:
            groups.setdefault(call[2], []).append(call)
        return [Calls(group) for group in groups.values()]

    def halves(self) -> list[Parcel]:
        middle = len(self._calls) // 2
        return [Calls(self._calls[:middle]), Calls(self._calls[middle:])]

    def _first_deadline(self) -> float:
        return min([deadline for future, _, _, deadline in self._calls if not future.done()], default=float("inf"))


class Batch:
    """One caller's batch: collects the answers of its slices. An error that struck every item is raised.

    `versions` are the key versions that the replies name, in the order of the items.
    """

    __slots__ = ("_answered", "_error", "_left", "_results", "future", "versions")

    def __init__(self, future: "Future[list[bytes | KeyfoldError]]", count: int) -> None:
        self.future = future
        self._results: list[bytes | KeyfoldError] = [b""] * count
        self.versions = [0] * count
        self._left = count
        self._answered = False
        self._error: KeyfoldError | None = None

    def put(self, places: Sequence[int], results: Sequence[bytes | KeyfoldError], version: int) -> None:
        """Take the results of some items, and the key version that was used for them."""
        self._answered = True
        if isinstance(places, range):
            self._results[places.start : places.stop] = results
            self.versions[places.start : places.stop] = [version] * len(places)
        else:
            for place, result in zip(places, results, strict=True):
                self._results[place] = result
                self.versions[place] = version
        self._settle(len(places))

    def refuse(self, places: Sequence[int], error: KeyfoldError) -> None:
        """Take the failure of a whole record."""
        self._error = self._error or error
        for place in places:
            self._results[place] = error
        self._settle(len(places))

    def _settle(self, count: int) -> None:
        self._left -= count
        if self._left or self.future.done():
            return
        if self._error is not None and not self._answered:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(self._results)


class Slice:
    """The part of a batch that fits one record."""

    __slots__ = ("_batch", "_places", "contexts", "earliest", "items")

    def __init__(self, batch: Batch, places: Sequence[int], pairs: Sequence[tuple[bytes, str]], deadline: float):
        self._batch, self._places = batch, places
        self.items, self.contexts = index_items(pairs)
        self.earliest = deadline

    def alive(self) -> bool:
        return not self._batch.future.done()

    def answer(self, answer: Answer, item_error: ItemError) -> None:
        results = [item.data if item.code is None else item_error(item.code) for item in answer.items]
        self._batch.put(self._places, results, answer.data.version)

    def fail(self, error: KeyfoldError) -> None:
        self._batch.refuse(self._places, error)

    def expire(self, now: float, error: KeyfoldError) -> None:
        if self.earliest <= now and self.alive():
            self._batch.future.set_exception(error)
        if not self.alive():
            self.earliest = float("inf")

    def by_context(self) -> list[Parcel]:
        groups: dict[int, list[int]] = {}
        for position, (index, _) in enumerate(self.items):
            groups.setdefault(index, []).append(position)
        return [self._part(group) for group in groups.values()]

    def halves(self) -> list[Parcel]:
        middle, count = len(self.items) // 2, len(self.items)
        return [self._part(range(middle)), self._part(range(middle, count))]

    def _part(self, positions: Sequence[int]) -> "Slice":
        pairs = [(self.items[at][1], self.contexts[self.items[at][0]]) for at in positions]
        return Slice(self._batch, [self._places[at] for at in positions], pairs, self.earliest)


class Control:
    """One caller's own record, mostly without items; whoever waits gets the whole answer. It can't be divided."""

    __slots__ = ("_future", "contexts", "earliest", "items")

    def __init__(
        self, future: "Future[Answer]", deadline: float, items: Sequence[Item] = (), contexts: Sequence[str] = ()
    ) -> None:
        self._future = future
        self.earliest = deadline
        self.items, self.contexts = items, contexts

    def alive(self) -> bool:
        return not self._future.done()

    def answer(self, answer: Answer, item_error: ItemError) -> None:
        if self._future.done():
            return
        failed = next((item.code for item in answer.items if item.code is not None), None)
        if failed is None:
            self._future.set_result(answer)
        else:
            self._future.set_exception(item_error(failed))

    def fail(self, error: KeyfoldError) -> None:
        if not self._future.done():
            self._future.set_exception(error)

    def expire(self, now: float, error: KeyfoldError) -> None:
        if self.earliest <= now:
            self.fail(error)
        if self._future.done():
            self.earliest = float("inf")

    def by_context(self) -> list[Parcel]:
        return [self]

    def halves(self) -> list[Parcel]:
        return [self]


def index_items(pairs: Sequence[tuple[bytes, str]]) -> tuple[list[Item], list[str]]:
    """Replace each item's context by its index among the distinct ones, in order of first use."""
    indexes = {context: index for index, context in enumerate(dict.fromkeys([context for _, context in pairs]))}
    return [(indexes[context], data) for data, context in pairs], list(indexes)


def _copy(error: KeyfoldError) -> KeyfoldError:
    """Every caller gets an exception of its own: one object raised in many tasks would grow everybody's traceback."""
    kind = type(error)
    copy = kind.__new__(kind)  # constructors differ; the state does not
    copy.args = error.args
    copy.__dict__.update(error.__dict__)
    return copy
