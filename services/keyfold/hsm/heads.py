"""Where one partition stands: its position and place among tickets, and the heads of the chains that it writes. Pure.

It is kept in the signed head of the state topic and changes with every transaction.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from keyfold.events import topics
from keyfold.events.chains import Place
from keyfold.events.statements import ChainHead


@dataclass(frozen=True, slots=True)
class Heads:
    """`position` is the next offset of tickets (None before the first), `places` where their chains were read to.

    `epoch` is the storage epoch that the partition has turned to: no live blob is under an older one.
    """

    position: int | None = None
    places: dict[str, Place] = field(default_factory=dict)
    events: ChainHead = ChainHead()  # noqa: RUF009 - frozen
    keystore: ChainHead = ChainHead()  # noqa: RUF009 - frozen
    epoch: int = 1

    def document(self) -> dict[str, Any]:
        """Return the JSON object of the state's head; lag is computed from `positions` by whoever watches."""
        # A release without epochs must not go on behind a turn: it cannot read this name, and stops.
        ends = "chains" if self.epoch == 1 else "ends"
        return {
            "positions": {topics.AUTHORIZED: self.position},
            "places": {role: asdict(place) for role, place in self.places.items()},
            "epoch": self.epoch,
            ends: {topics.EVENTS: asdict(self.events), topics.KEYSTORE: asdict(self.keystore)},
        }

    @classmethod
    def parse(cls, document: dict[str, Any] | None) -> "Heads":
        """Read what `document` made; None stands for a partition that never wrote one. Raises KeyError, TypeError."""
        if document is None:
            return cls()
        chains = document["ends"] if "ends" in document else document["chains"]
        return cls(
            document["positions"][topics.AUTHORIZED],
            {role: _place(place) for role, place in document["places"].items()},
            ChainHead(**chains[topics.EVENTS]),
            ChainHead(**chains[topics.KEYSTORE]),
            document.get("epoch", 1),
        )


def _place(document: dict[str, Any]) -> Place:
    return Place(ChainHead(**document["head"]), document["leaf"], document["leaves"])


def chain_ends(document: dict[str, Any]) -> dict[str, ChainHead]:
    """Return the ends of the chains that a head names, by topic."""
    heads = Heads.parse(document)
    return {topics.EVENTS: heads.events, topics.KEYSTORE: heads.keystore}
