"""Whether the checkpoints of each origin follow each other on their topic, as the notary writes them. Pure.

A notary states with each checkpoint from which size it goes on, and proves that it extends it. So a checkpoint that was
put back, exchanged for an older one or taken out is seen from the topic alone, but for the very last ones: those are
missed by who has kept them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from keyfold.auditing.checkpoints import Published
from keyfold.auditing.findings import Finding
from keyfold.events.merkle import ProofInvalid
from keyfold.events.tree import verify_consistency

_NOTHING = (0, b"")


@dataclass(slots=True)
class Succession:
    """Reads the published checkpoints in the order of their topic. `findings` is what was out of it."""

    partitions: Mapping[str, int]
    findings: list[Finding] = field(default_factory=list)
    _last: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def add(self, published: Published) -> None:
        """Compare a checkpoint with its origin's one before."""
        checkpoint = published.checkpoint
        self._seen.add(checkpoint.text())
        before, root = self._last.get(published.origin, _NOTHING)
        told = f"one of {checkpoint.size} leaves that goes on from {published.old}, at offset {published.at}"
        if published.old != before or checkpoint.size <= before:
            self._note(published.origin, f"a checkpoint that goes on from {before} leaves", told)
        else:
            try:
                verify_consistency(before, checkpoint.size, root, checkpoint.root, published.path)
            except ProofInvalid as error:
                self._note(published.origin, "a proof that the tree only grew", f"{told}: {error}")
        if checkpoint.size > before:
            self._last[published.origin] = checkpoint.size, checkpoint.root

    def miss(self, kept: Iterable[tuple[str, str, str]]) -> None:
        """Note checkpoints that somebody has kept (name, origin, text) and the topic has not."""
        for name, origin, text in kept:
            if text not in self._seen:
                size = text.split("\n")[1]
                self._note(origin, f"the checkpoint of {size} leaves that is in {name}", "it is not on its topic")

    def _note(self, origin: str, expected: str, found: str) -> None:
        partition = self.partitions.get(origin)
        if partition is not None:
            place = f"keyfold.checkpoints: {found}"
            self.findings.append(Finding(partition, None, None, "", "CheckpointOutOfOrder", expected, place))


def succession(origins: Sequence[str]) -> Succession:
    """Begin with the names of the trees, by partition."""
    return Succession({origin: partition for partition, origin in enumerate(origins)})
