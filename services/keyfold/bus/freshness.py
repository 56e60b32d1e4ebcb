"""When did a reader last know everything? A pure fold over (position, high watermark, time it was seen)."""


class CatchUp:
    """Remembers one high watermark at a time until the position has passed it.

    A reader under load is always a little behind the newest watermark; what counts is that it passes watermarks
    seen a moment ago. The time is that of the watermark, not of the passing: everything older is known.
    """

    __slots__ = ("_at", "_mark", "_mark_at")

    def __init__(self) -> None:
        self._mark: int | None = None
        self._mark_at = 0.0
        self._at: float | None = None

    @property
    def at(self) -> float | None:
        return self._at

    def saw(self, position: int, watermark: int | None, seen_at: float) -> None:
        """Take in the present position and the newest watermark with the time it was seen."""
        if self._mark is not None and position >= self._mark:
            self._at, self._mark = self._mark_at, None
        if watermark is None or self._mark is not None:
            return
        if position >= watermark:
            self._at = seen_at if self._at is None else max(self._at, seen_at)
        else:
            self._mark, self._mark_at = watermark, seen_at
