"""What was seen before: a bounded set of names by their fingerprints, and how often something new came. Pure."""

from base64 import b64decode, b64encode
from collections.abc import Collection, Sequence
from hashlib import blake2b
from math import exp2
from typing import Any

from keyfold.analytics.detectors.settings import FirstUseSettings

DAY_MS = 86_400_000
_SIZE = 6


def fingerprint(name: str) -> int:
    """Return 48 bits of a name's hash: among a thousand names, two are the same once in five hundred million."""
    return int.from_bytes(blake2b(name.encode(), digest_size=_SIZE).digest(), "big")


class Known:
    """The names of one kind that an entity was seen with, from `began_ms` on.

    `last_ms` is when something new came last, `news` how many new ones came lately, each counted half after its half
    life. A set that is full takes in nothing more, and then nothing is new.
    """

    __slots__ = ("_cache", "_settings", "_text", "began_ms", "fingerprints", "last_ms", "news")

    def __init__(self, settings: FirstUseSettings, began_ms: int) -> None:
        self._settings, self.began_ms, self.last_ms, self.news = settings, began_ms, began_ms, 0.0
        self.fingerprints: set[int] = set()
        self._cache: set[str] = set()
        self._text: str | None = None

    def add(self, names: Collection[str], time_ms: int) -> list[str]:
        """Return those that are new, in order, and know them from now on."""
        if self._cache.issuperset(names):
            return []
        new = []
        for name in sorted(names):
            known = fingerprint(name)
            if known not in self.fingerprints and len(self.fingerprints) < self._settings.remembered:
                self.fingerprints.add(known)
                new.append(name)
        if len(self._cache) > self._settings.remembered:
            self._cache.clear()
        self._cache.update(names)
        if new:
            self.news = self.recent(time_ms) + len(new)
            self.last_ms, self._text = time_ms, None
        return new

    def recent(self, time_ms: int) -> float:
        """Return how many new ones came lately."""
        return self.news * exp2((self.last_ms - time_ms) / (self._settings.half_life_days * DAY_MS))

    def dump(self) -> list[Any]:
        """Return it as JSON values."""
        if self._text is None:
            packed = b"".join(each.to_bytes(_SIZE, "big") for each in sorted(self.fingerprints))
            self._text = b64encode(packed).decode()
        return [self.began_ms, self.last_ms, self.news, self._text]

    @classmethod
    def load(cls, settings: FirstUseSettings, document: Sequence[Any]) -> "Known":
        """Return what a document of `dump` says."""
        began_ms, last_ms, news, text = document
        loaded = cls(settings, int(began_ms))
        loaded.last_ms, loaded.news = int(last_ms), float(news)
        packed = b64decode(text, validate=True)
        starts = range(0, len(packed), _SIZE)
        loaded.fingerprints = {int.from_bytes(packed[start : start + _SIZE], "big") for start in starts}
        return loaded
