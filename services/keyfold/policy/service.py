"""The policy process put together from its parts: follower, membership, one processor for each partition."""

from collections.abc import Callable
from typing import Final

from keyfold.deciding.admission import Place
from keyfold.deciding.cedar import Authorizer
from keyfold.events import topics
from keyfold.events.signatures import Signer
from keyfold.log import Ownership, require_partitions
from keyfold.policy.answers import Answerer
from keyfold.policy.batch import Decider
from keyfold.policy.processor import Parts, Processor

GROUP: Final = "keyfold-policy"


class Service:
    """All processors of this process; they share the registry follower and the authorizer's caches.

    Partition 0 has an authorizer of its own: it decides on registries that are not committed yet, and may never be.
    """

    def __init__(self, parts: Parts, signer: Signer, instance: str, ready: Callable[[], None]) -> None:
        self._parts = parts
        self._answerer = Answerer(parts.author.deployment, signer)
        self._authorizer = Authorizer()
        membership = parts.bus.membership(GROUP, topics.COMMANDS, f"policy-{instance}")
        self.ownership = Ownership(membership, parts.follower, self._processor, ready)

    async def run(self) -> None:
        """Serve until cancelled."""
        follower = self._parts.follower
        await follower.start()
        await require_partitions(self._parts.bus, follower.deployment_entity.partitions, topics.COMMANDS)
        await self.ownership.run()

    def _processor(self, partition: int) -> Processor:
        place = Place(self._parts.author.deployment, partition, self._parts.follower.deployment_entity.partitions)
        registry = None if partition == 0 else self._parts.follower.view
        authorizer = Authorizer() if partition == 0 else self._authorizer
        follower = self._parts.follower
        decider = Decider(place, registry, authorizer, self._answerer, lambda: follower.leaves if partition else 0)
        return Processor(partition, self._parts, decider)
