"""A batch under way: which of its tickets are done, and which may be executed next, beside each other or in order.

Data-plane tickets change nothing that another ticket of the batch reads, so those that follow each other may be
executed at the same time. Every other ticket is a barrier: all before it are done first, and it is done before any
that follow. Pure; works stand at their tickets' places, whatever order they are done in.
"""

from collections.abc import Sequence
from itertools import takewhile

from keyfold.hsm.engine import Work
from keyfold.hsm.tickets import Ticket


class Batch:
    """Tickets in order, and their works as far as they are done."""

    def __init__(self, tickets: Sequence[Ticket]) -> None:
        self.tickets = tickets
        self._works: list[Work | None] = [None] * len(tickets)

    def put(self, place: int, work: Work) -> None:
        """Note the work of one ticket. Threads may put works of different tickets."""
        self._works[place] = work

    @property
    def undone(self) -> list[int]:
        """The places of tickets without a work, in order."""
        return [place for place, work in enumerate(self._works) if work is None]

    @property
    def works(self) -> list[Work]:
        """The works, in the tickets' order; to be asked for when all are done."""
        return [work for work in self._works if work is not None]

    def abreast(self) -> list[int]:
        """The places that may be executed next at the same time: none where a barrier is next."""
        undone = self.undone
        return list(takewhile(lambda place: is_data_plane(self.tickets[place]), undone))

    def barriers(self) -> list[int]:
        """The places of barriers that come next, to be executed in order."""
        return list(takewhile(lambda place: not is_data_plane(self.tickets[place]), self.undone))


def is_data_plane(ticket: Ticket) -> bool:
    """Tell whether a ticket's command only uses keys. What cannot be read is taken for a barrier."""
    return ticket.only_uses_keys
