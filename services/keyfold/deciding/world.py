"""What a decision is made from, as one frozen value: the core's only window on state and time."""

from dataclasses import dataclass

from keyfold.deciding.cedar import Authorizer
from keyfold.events.entities import DEPLOYMENT, Deployment, Principal
from keyfold.events.evolve import View, get


@dataclass(frozen=True, slots=True)
class World:
    """`entities` are this partition's, `registry` is partition 0's; `now_ms` is the partition's broker time.

    `facts_n` and `root_n` are the numbers of the HSM worker's and root's last statements that were folded on this
    partition; `registry_n` counts the leaves of partition 0 that `registry` is the fold of (0 on partition 0).
    """

    partition: int
    now_ms: int
    entities: View
    registry: View
    authorizer: Authorizer
    facts_n: int
    registry_n: int = 0
    root_n: int = 0

    @property
    def deployment(self) -> Deployment:
        """Genesis, the registry's revisions and the current sealing key. Raises KeyError before genesis."""
        return get(self.registry, DEPLOYMENT, Deployment)

    def principal(self, name: str) -> Principal | None:
        """Return a registered principal."""
        found = self.registry.get(f"principal/{name}")
        return found if isinstance(found, Principal) else None
