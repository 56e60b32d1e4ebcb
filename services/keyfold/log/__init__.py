"""Signed records over the bus: authors, private state, the registry and trust as followed from the log, dead letters.

Processes that write or restore from the log share this; what a record means is theirs.
"""

from keyfold.log.author import Author, transactional_id
from keyfold.log.dead_letters import DeadLetters
from keyfold.log.gathering import Gatherer
from keyfold.log.ownership import Ownership, Runner
from keyfold.log.partition_count import require_partitions
from keyfold.log.registry import NotCertified, NotInitialised, RegistryBroken, RegistryFollower
from keyfold.log.settling import Settling
from keyfold.log.state_topic import Restored, Staged, StateCorrupt, StateTopic
from keyfold.log.trust_keeper import NoGenesis, TrustBroken, TrustKeeper
from keyfold.log.verdicts import Unsettled

__all__ = [
    "Author",
    "DeadLetters",
    "Gatherer",
    "NoGenesis",
    "NotCertified",
    "NotInitialised",
    "Ownership",
    "RegistryBroken",
    "RegistryFollower",
    "Restored",
    "Runner",
    "Settling",
    "Staged",
    "StateCorrupt",
    "StateTopic",
    "TrustBroken",
    "TrustKeeper",
    "Unsettled",
    "require_partitions",
    "transactional_id",
]
