"""The rules about the keystore: what the events speak of is there, once, and nothing else. See `log_checker`.

Each partition is folded on its own here, record by record, without the worker's code. A blob only ever moves on to a
later storage epoch; what is erased or certified was there before.
"""

from base64 import b64decode
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from tests.support.log_story import Story

from keyfold.custody import InvalidBlob, blobs
from keyfold.events import facts

Name = tuple[str, int]
Material = Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Blob:
    """A version's present blob: its digest and storage epoch."""

    digest: str
    epoch: int


@dataclass(slots=True)
class Kept:
    """The fold of a keystore: what is live, and what was stored, erased and certified, as often as that was said."""

    live: dict[Name, Blob] = field(default_factory=dict)
    stored: Material = field(default_factory=Counter)
    erased: Counter[str] = field(default_factory=Counter)
    imports: dict[str, tuple[str, int]] = field(default_factory=dict)
    opened: Counter[str] = field(default_factory=Counter)
    erasures: dict[Name, tuple[facts.KeyMaterialErased, Blob]] = field(default_factory=dict)
    certified: Counter[Name] = field(default_factory=Counter)


def check_keystore(story: Story) -> Kept:
    """Fold all partitions and compare with the events; return what there is."""
    kept = Kept()
    for believed in story.keystore.values():
        for each in believed:
            for what in _fold(kept, each.event):
                story.find("keystore", each.event.id, what)
    _compare(story, kept)
    return kept


def _fold(kept: Kept, record: facts.Event) -> Iterable[str]:
    """Apply one record; yield what is wrong with it."""
    match record:
        case facts.KeyMaterialStored(data=data):
            blob = _blob(data.blob)
            kept.stored[f"{data.key_id}/{data.version}", blob.digest] += 1
            kept.live[data.key_id, data.version] = blob
        case facts.KeyMaterialRewrapped():
            yield from _rewrapped(kept, record)
        case facts.KeyMaterialErased():
            yield from _erased(kept, record)
        case facts.ErasureCertified(data=data):
            kept.certified.update((data.key_id, version) for version in data.versions)
        case facts.ImportKeyStored(data=data):
            yield from _import_key(kept, data)
        case facts.ImportKeyErased(data=data):
            if kept.imports.pop(data.key_id, ("", 0))[0] != data.import_token:
                yield "erases an import key that is not there"
        case facts.SealingKeyStored(data=data):
            kept.stored[data.sealing_key, sha256(b64decode(data.blob)).hexdigest()] += 1
        case facts.SealingKeyDeleted(data=data):
            kept.erased[data.sealing_key] += 1


def _rewrapped(kept: Kept, record: facts.KeyMaterialRewrapped) -> Iterable[str]:
    data = record.data
    for version, text in data.blobs.items():
        name, blob = (data.key_id, int(version)), _blob(text)
        before = kept.live.get(name)
        if before is None:
            yield f"makes version {version} anew, which is not there"
        elif before.epoch >= blob.epoch:
            yield f"makes version {version} anew under epoch {blob.epoch}, where it was under {before.epoch}"
        if blob.epoch != data.epoch:
            yield f"says epoch {data.epoch}, the blob epoch {blob.epoch}"
        kept.live[name] = blob


def _erased(kept: Kept, record: facts.KeyMaterialErased) -> Iterable[str]:
    """Destroying a version also destroys material that was deleted before: its last blob is named again."""
    data = record.data
    for version in data.versions:
        name = (data.key_id, version)
        blob = kept.live.pop(name, None)
        if blob is not None:
            kept.erased[f"{data.key_id}/{version}"] += 1
        elif data.destroyed and name in kept.erasures and not kept.erasures[name][0].data.destroyed:
            blob = kept.erasures[name][1]
        else:
            yield f"erases version {version}, which is not there"
            continue
        if data.blob_digests.get(str(version)) != blob.digest:
            yield f"erases another blob of version {version} than there is"
        if data.epoch is None or data.epoch < blob.epoch:
            yield f"says epoch {data.epoch}, and a blob is under {blob.epoch}"
        kept.erasures[name] = (record, blob)


def _import_key(kept: Kept, data: facts.ImportKeyStored.Data) -> Iterable[str]:
    """One of a turn is that of the same import, under a later epoch; another one takes its place."""
    token, epoch = kept.imports.get(data.key_id, ("", 0))
    blob = _blob(data.blob)
    if token != data.import_token:
        kept.opened[data.import_token] += 1
    elif epoch >= blob.epoch:
        yield f"makes an import key anew under epoch {blob.epoch}, where it was under {epoch}"
    kept.imports[data.key_id] = (data.import_token, blob.epoch)


def _blob(text: str) -> Blob:
    blob = b64decode(text)
    try:
        epoch = blobs.parse(blob).epoch
    except InvalidBlob:
        epoch = 0
    return Blob(sha256(blob).hexdigest(), epoch)


def _compare(story: Story, kept: Kept) -> None:
    told, erased, opened = _told(story)
    for name, digest in kept.stored.keys() | told.keys():
        pair = (kept.stored[name, digest], told[name, digest])
        if pair != (1, 1):
            story.find("keystore", name, f"stored {pair[0]} times, told {pair[1]} times under {digest[:12]}")
    for name in kept.erased.keys() | erased.keys():
        if kept.erased[name] != erased[name]:
            story.find("keystore", name, "erased in the keystore and in the events differ")
    for token in kept.opened.keys() | opened.keys():
        if (kept.opened[token], opened[token]) != (1, 1):
            story.find("keystore", token, f"import key stored {kept.opened[token]} times, told {opened[token]} times")


def _told(story: Story) -> tuple[Material, Counter[str], Counter[str]]:
    """What the events say of material, of what was erased, and of imports."""
    told: Material = Counter()
    erased: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    for _, event in story.all_events():
        match event:
            case facts.KeyMaterialGenerated(data=data) | facts.KeyMaterialImported(data=data):
                told[f"{data.key_id}/{data.version}", data.blob_digest] += 1
            case facts.SealingKeyPublished(data=data):
                told[data.sealing_key, data.blob_digest] += 1
            case facts.KeyUseCeased(data=data):
                erased.update(f"{data.key_id}/{version}" for version in data.erased_versions)
            case facts.SealingKeyErased(data=data):
                erased[data.sealing_key] += 1
            case facts.ImportParametersCreated(data=data):
                opened[data.import_token] += 1
    return told, erased, opened
