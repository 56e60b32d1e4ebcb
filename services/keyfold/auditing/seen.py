"""Which commands were decided lately: a command's id counts once, as long as its command could be accepted. Pure.

Ids are kept by the minute in which their commands expire, as one number each: at a thousand commands a second and a
life of ten minutes that is some tens of megabytes, and no more, however long the log is. In the minute in which a
command expires its id is taken for free; ids of commands without an outcome are the caller's to remember.
"""

from keyfold.events.times import MINUTE_MS


class SeenCommands:
    """The ids of one partition. Times only grow."""

    def __init__(self) -> None:
        self._by_minute: dict[int, set[int]] = {}
        self._past = 0

    def add(self, principal: str, command_id: str, expires_ms: int, now_ms: int) -> bool:
        """Note a command; return whether it was there."""
        minute = now_ms // MINUTE_MS
        if minute > self._past:
            self._past = minute
            for over in [each for each in self._by_minute if each <= minute]:
                del self._by_minute[over]
        name = int(command_id.replace("-", ""), 16) ^ (hash(principal) << 64)
        known = False
        for names in self._by_minute.values():
            known = known or name in names
        self._by_minute.setdefault(expires_ms // MINUTE_MS, set()).add(name)
        return known
