"""Control verbs about storage epochs: the turn after which no copy of erased material opens with the token.

What may be raised, and what `options` are, is in `control`.
"""

from collections.abc import Sequence
from typing import Unpack

from keyfold.client.control import Control, Options
from keyfold.client.results import Completed
from keyfold.events.arguments import EpochEvidence


class StorageVerbs(Control):
    """BeginStorageEpoch and EndStorageEpoch."""

    async def begin_storage_epoch(self, **options: Unpack[Options]) -> Completed:
        """Let every partition make its blobs anew under the next epoch; default policies ask for approvals."""
        return await self._do("BeginStorageEpoch", None, {}, **options)

    async def end_storage_epoch(
        self, epoch: int, evidence: Sequence[EpochEvidence], **options: Unpack[Options]
    ) -> Completed:
        """Destroy the key of an old epoch. The scheduler sends this when every partition has turned.

        `evidence` is the place of each partition's `StorageEpochTurned` on the events topic.
        """
        places = [place.model_dump() for place in evidence]
        return await self._do("EndStorageEpoch", None, {"epoch": epoch, "evidence": places}, **options)
