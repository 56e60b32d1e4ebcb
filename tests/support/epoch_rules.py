"""The rules about storage epochs: each partition turns once, keys of epochs and of users go only behind evidence.

See `log_checker`. A certificate is checked against everything that it claims: the decision, the erasure, the digests,
the end of the epoch, and the sealing keys of that time. The order across partitions is the broker's time.
"""

from collections import defaultdict

from tests.support.keystore_rules import Kept
from tests.support.log_story import Believed, Story

from keyfold.events import facts
from keyfold.events.entities import SealingKey
from keyfold.events.streams import key_stream, partition_of


def check_epochs(story: Story, kept: Kept) -> None:
    """Apply all rules about epochs and certificates."""
    begun = [event.data.epoch for _, event in story.all_events() if isinstance(event, facts.StorageEpochBegun)]
    if begun != list(range(2, len(begun) + 2)):
        story.find("epoch", "registry", f"epochs were begun in the order {begun}")
    turned = _turned(story, len(begun) + 1)
    _destroyed(story, turned)
    _live(story, kept, turned)
    _certificates(story, kept)


def _turned(story: Story, current: int) -> dict[int, dict[int, int]]:
    """Each partition says once that it has turned to an epoch, in their order. Returns epoch -> partition -> offset."""
    found: dict[int, dict[int, int]] = defaultdict(dict)
    for partition, believed in story.events.items():
        last = 1
        for each in believed:
            if not isinstance(each.event, facts.StorageEpochTurned):
                continue
            data = each.event.data
            if data.partition != partition or not last < data.epoch <= current:
                what = f"partition {partition} says that {data.partition} turned to {data.epoch}, behind {last}"
                story.find("epoch", each.event.id, what)
            last = max(last, data.epoch)
            found[data.epoch].setdefault(partition, each.record.offset)
    return found


def _destroyed(story: Story, turned: dict[int, dict[int, int]]) -> None:
    """An epoch's key goes once, the oldest first, and every place of its evidence holds what it must."""
    ended = 0
    for _, event in story.all_events():
        if not isinstance(event, facts.StorageEpochKeyDestroyed):
            continue
        data = event.data
        if data.epoch != ended + 1 or data.found_after:
            story.find("epoch", event.id, f"epoch {data.epoch} ended behind {ended}, {data.found_after} keys were left")
        ended = data.epoch
        for partition in range(story.partitions):
            offset = data.evidence.get(str(partition))
            if offset not in [turned[epoch].get(partition) for epoch in turned if epoch > data.epoch]:
                story.find("epoch", event.id, f"partition {partition} had not turned at offset {offset}")


def _live(story: Story, kept: Kept, turned: dict[int, dict[int, int]]) -> None:
    """Behind a partition's turn no live blob is under an older epoch, nor is the key of an open import."""
    under = {f"{key_id}/{version}": (key_id, blob.epoch) for (key_id, version), blob in kept.live.items()}
    under |= {f"import of {key_id}": (key_id, epoch) for key_id, (_, epoch) in kept.imports.items()}
    for name, (key_id, epoch) in under.items():
        partition = partition_of(key_stream(key_id), story.partitions)
        reached = max((each for each, places in turned.items() if partition in places), default=1)
        if epoch < reached:
            story.find("epoch", name, f"is under epoch {epoch}, its partition has turned to {reached}")


def _certificates(story: Story, kept: Kept) -> None:
    """A certificate comes once for a version, and only when what it says is so."""
    told: dict[tuple[str, int], int] = defaultdict(int)
    for partition, believed in story.events.items():
        for at, each in enumerate(believed):
            if isinstance(each.event, facts.KeyErased):
                for version in each.event.data.versions:
                    told[each.event.data.key_id, version] += 1
                    for what in _flaws(story, kept, each, version, believed[:at]):
                        story.find("certificate", f"{partition}: {each.event.id}", f"version {version}: {what}")
    for name in told.keys() | kept.certified.keys():
        if (told[name], kept.certified[name]) != (1, 1):
            what = f"certified {told[name]} times in events, {kept.certified[name]} times in the keystore"
            story.find("certificate", f"{name[0]}/{name[1]}", what)


def _flaws(story: Story, kept: Kept, each: Believed, version: int, before: list[Believed]) -> list[str]:
    assert isinstance(each.event, facts.KeyErased)
    data, flaws = each.event.data, list[str]()
    erased = kept.erasures.get((data.key_id, version))
    if erased is None or not erased[0].data.destroyed:
        return ["its blob was not erased for good"]
    record, blob = erased
    if data.blob_digests.get(str(version)) != blob.digest or data.epoch < blob.epoch:
        flaws.append("it is of another blob")
    offset = data.destroyed_by.get(str(version))
    if offset != record.data.offset or not _ceased(before, data.key_id, version, offset):
        flaws.append(f"nothing before it destroyed the version at offset {offset}")
    return [*flaws, *_remains(story, each, record.time)]


def _ceased(before: list[Believed], key_id: str, version: int, offset: int | None) -> bool:
    """Whether policy destroyed the version by this command, and the worker said that it erased it, then or before."""
    decided = any(
        isinstance(b.event, facts.KeyDestroyed | facts.KeyVersionDestroyed)
        and (b.event.data.key_id, b.event.data.decision.offset) == (key_id, offset)
        for b in before
    )
    return decided and any(
        isinstance(b.event, facts.KeyUseCeased)
        and b.event.data.key_id == key_id
        and version in b.event.data.erased_versions
        for b in before
    )


def _remains(story: Story, each: Believed, destroyed_at: str) -> list[str]:
    """What could still open a copy when the certificate was written."""
    assert isinstance(each.event, facts.KeyErased)
    data, flaws = each.event.data, list[str]()
    written = each.record.timestamp_ms
    ends = {
        b.event.id: b.event.data.epoch
        for b in story.events[0]
        if isinstance(b.event, facts.StorageEpochKeyDestroyed) and b.record.timestamp_ms <= written
    }
    if ends.get(data.epoch_key_destroyed, 0) < data.epoch:
        flaws.append(f"epoch {data.epoch} had not ended")
    gone = {
        b.event.data.sealing_key
        for b in story.events[0]
        if isinstance(b.event, facts.SealingKeyErased) and b.record.timestamp_ms <= written
    }
    sealing = [entity for entity in story.entities.values() if isinstance(entity, SealingKey)]
    of_that_time = {key.sealing_key for key in sealing if key.published_at <= destroyed_at}
    if of_that_time - gone or (of_that_time and data.sealing_key not in of_that_time):
        flaws.append("a sealing key of its time was not erased")
    return flaws
