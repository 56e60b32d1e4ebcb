"""Finding the one record that keeps a batch from committing (design, section 5, rule 6). Pure.

A batch that was aborted because of a record is tried again; after a few times its tickets go one by one, and the one
that fails alone is given up. Unavailability and fencing are never reported here.
"""


class Isolation:
    """What one partition remembers of its aborts, across restores. Offsets are those of tickets."""

    def __init__(self, aborts_before: int) -> None:
        self._limit = aborts_before
        self._first = -1
        self._aborts = 0
        self._until = -1
        self._given_up: set[int] = set()

    def isolated(self, offset: int) -> bool:
        """Tell whether the ticket at this offset must go alone."""
        return offset < self._until

    def given_up(self, offset: int) -> bool:
        """Tell whether the ticket at this offset was found guilty."""
        return offset in self._given_up

    def aborted(self, first: int, last: int) -> None:
        """Note that a batch from `first` to `last` was aborted because of a record."""
        if first == last and self.isolated(first):
            self._given_up.add(first)
            return
        self._aborts = self._aborts + 1 if first == self._first else 1
        self._first = first
        if self._aborts >= self._limit:
            self._until = last + 1

    def committed(self, last: int) -> None:
        """Forget what lies behind."""
        self._given_up = {offset for offset in self._given_up if offset > last}
