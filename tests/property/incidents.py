"""A history in which operators also see to incidents, and suppress what would open them."""

from tests.support.archive import Archive, Wish
from tests.support.people import uuid

from keyfold.events.streams import REGISTRY
from keyfold.events.times import DAY_MS, to_text


class WatchedArchive(Archive):
    """Like the others, with acts on a few incidents and suppressions. Some contradict what was done before."""

    def _limits(self) -> list[Wish]:
        r = self.random
        incident, until = uuid(r.randint(1, 5)), to_text(self.now_ms + DAY_MS * r.choice([1, 89, 91]))
        wanted = {
            "AcknowledgeIncident": {"incident": incident, "comment": "seen"},
            "CloseIncident": {"incident": incident, "resolution": r.choice(["BENIGN", "TRUE_POSITIVE"])},
            "PutSuppression": {"suppression": "s", "detector": r.choice([None, "fan-out"]), "until": until},
            "DeleteSuppression": {"suppression": "s"},
        }
        return [*super()._limits(), *((verb, REGISTRY, {"arguments": about}) for verb, about in wanted.items())]
