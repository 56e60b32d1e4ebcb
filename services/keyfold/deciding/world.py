"""What a decision is made from, as one frozen value: the core's only window on state and time."""

from dataclasses import dataclass

from keyfold.deciding.cedar import Authorizer
from keyfold.events.entities import DEPLOYMENT, Deployment
from keyfold.events.evolve import View, get


@dataclass(frozen=True, slots=True)
class World:
    """`entities` are this partition's, `registry` is partition 0's; `now_ms` is the partition's broker time.

    `facts_n` is the number of the last HSM worker's statement folded on this partition.
    """

    partition: int
    now_ms: int
    entities: View
    registry: View
    authorizer: Authorizer
    facts_n: int

    @property
    def deployment(self) -> Deployment:
        """Genesis, the registry's revisions and the current sealing key. Raises KeyError before genesis."""
        return get(self.registry, DEPLOYMENT, Deployment)
