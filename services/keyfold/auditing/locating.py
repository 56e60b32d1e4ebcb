"""Where the tree of a log is not the signed one: which leaf differs, by the hashes that the notary published.

The published hashes are believed only where they make the signed root. Without them, the range between the checkpoint
that agreed last and the first that does not is all that can be told.
"""

from keyfold.auditing.findings import Finding
from keyfold.auditing.partition import Verified
from keyfold.auditing.runs import TilesInvalid
from keyfold.auditing.sources import RecordSource, TreeSource
from keyfold.auditing.trees import NotPublished, StoredTree
from keyfold.events.errors import Unavailable
from keyfold.events.times import nearest_text
from keyfold.log.believing import leaves_of


async def locate(source: RecordSource, told: Verified) -> list[Finding]:
    """Return the first leaf that differs from the signed tree, if that can be told."""
    if told.differs is None or told.signed is None or not isinstance(source, TreeSource):
        return []
    try:
        async with source.tree(told.partition) as tree:
            if await tree.root(told.differs[1]) != told.signed:
                return []
            return await _first_difference(source, told.partition, told.differs, tree)
    except (NotPublished, TilesInvalid, Unavailable):
        return []


async def _first_difference(
    source: RecordSource, partition: int, between: tuple[int, int], tree: StoredTree
) -> list[Finding]:
    good, size = between
    index = 0
    async for batch in source.records(partition):
        for record, leaf in zip(batch, leaves_of(batch), strict=True):
            if good <= index < size:
                expected = await tree.leaf_at(index)
                if leaf != expected:
                    time = nearest_text(record.timestamp_ms)
                    return [
                        Finding(partition, index, record.offset, time, "LeafDiffers",
                                f"leaf hash {expected.hex()}, as it was signed", leaf.hex())
                    ]  # fmt: skip
            index += 1
        if index >= size:
            break
    return []
