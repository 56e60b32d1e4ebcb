"""Whether a record is authentic: signature, author, place in its author's chain, and a type that its author may write.

An event is not parsed as a whole: its type and subject are enough to say whose it is. What is found here changes no
tree; it is reported.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.chains import Accepted, Place
from keyfold.events.errors import RecordError
from keyfold.events.statements import UntrustedRecord
from keyfold.events.trust import Trust
from keyfold.log.believing import Believer

_ROLES: Final = {name: model.role for name, model in facts.BY_TYPE.items() if model.topic == topics.EVENTS}


class Checker:
    """The authors' chains of one partition, and the last statement of each signing key."""

    def __init__(self, partition: int, partitions: int, places: Mapping[str, Place], signers: Mapping[str, int]):
        self._chains = Believer(partition, partitions)
        self._chains.places = dict(places)
        self._signers = dict(signers)

    @property
    def places(self) -> dict[str, Place]:
        """The chains as they are now; a copy."""
        return dict(self._chains.places)

    @property
    def signers(self) -> dict[str, int]:
        """The last statement number of each key; a copy."""
        return dict(self._signers)

    def believe(self, trust: Trust, records: Sequence[Inbound]) -> Iterator[Accepted | RecordError]:
        """Yield for each record whether it is authentic and in its place. Take each before asking for the next."""
        return self._chains.accept_all(trust, records)

    def refusal(self, accepted: Accepted) -> UntrustedRecord | None:
        """Return what is wrong with an authentic record, if its author may not write it."""
        self._signers[accepted.signer] = accepted.place.head.n
        try:
            document = json.loads(accepted.entry.value)
            author, subject = _ROLES.get(document["type"]), document["subject"].encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return UntrustedRecord("a signed record is no event")
        if author != accepted.role:
            return UntrustedRecord(f"a record of {accepted.role} has a type that it may not write on {topics.EVENTS}")
        if subject != accepted.entry.key:
            return UntrustedRecord("the record key is not the signed stream")
        return None
