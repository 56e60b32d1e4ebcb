"""Whether a record is authentic: signature, author, place in its author's chain, and a type that its author may write.

An event is not parsed as a whole: its type and subject are enough to say whose it is. What is found here changes no
tree; it is reported.
"""

import json
from collections.abc import Mapping
from typing import Final

from keyfold.bus import Inbound
from keyfold.events import facts, topics
from keyfold.events.chains import ChainReader, Place
from keyfold.events.statements import UntrustedRecord
from keyfold.events.trust import Trust

_ROLES: Final = {name: model.role for name, model in facts.BY_TYPE.items() if model.topic == topics.EVENTS}


class Checker:
    """The authors' chains of one partition, and the last statement of each signing key."""

    def __init__(self, partition: int, partitions: int, places: Mapping[str, Place], signers: Mapping[str, int]):
        self._chains = ChainReader(topics.EVENTS, partition, partitions, dict(places))
        self._signers = dict(signers)

    @property
    def places(self) -> dict[str, Place]:
        """The chains as they are now; a copy."""
        return dict(self._chains.places)

    @property
    def signers(self) -> dict[str, int]:
        """The last statement number of each key; a copy."""
        return dict(self._signers)

    def check(self, trust: Trust, record: Inbound) -> None:
        """Raise `UntrustedRecord`, `ChainRepeat` or `ChainGap` unless a record is authentic and in its place."""
        accepted = self._chains.accept(trust, record.key, record.value, record.headers, record.timestamp_ms)
        self._signers[accepted.signer] = accepted.place.head.n
        try:
            document = json.loads(accepted.entry.value)
            kind, subject = document["type"], document["subject"]
            author = _ROLES.get(kind)
        except (ValueError, KeyError, TypeError):
            raise UntrustedRecord("a signed record is no event") from None
        if author != accepted.role:
            raise UntrustedRecord(f"a record of {accepted.role} has a type that it may not write on {topics.EVENTS}")
        if not isinstance(subject, str) or subject.encode() != accepted.entry.key:
            raise UntrustedRecord("the record key is not the signed stream")
