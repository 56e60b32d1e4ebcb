"""Skeleton; being filled in."""

from collections.abc import Mapping

from keyfold.events.entities import Entity
from keyfold.policy.cedar.requests import Request, Verdict


class Authorizer:
    def __init__(self, cache_size: int = 32_768) -> None:
        self._cache_size = cache_size

    def authorize(self, request: Request, registry: Mapping[str, Entity], revision: int) -> Verdict:
        raise NotImplementedError

    def forget(self) -> None:
        """Drop everything that was learnt; for when state that was decided on is rolled back."""
