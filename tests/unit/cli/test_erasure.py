"""Erasure certificates: exported verbatim, believed offline from one fingerprint, and nothing else is believed."""

import asyncio
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.people import DEPLOYMENT, PARTITIONS, START_MS, certificate, first_events, key_on, signer
from tests.unit.cli.conftest import Terminal

from keyfold.bus import MemoryBus, MemoryCluster
from keyfold.cli.certificates import Bundle, check
from keyfold.cli.erasure import WORDS, _gathered, in_words
from keyfold.cli.exits import Differs
from keyfold.events import facts, topics
from keyfold.events.errors import NotFound, RecordError
from keyfold.events.signatures import Signer
from keyfold.events.statements import ChainHead, Entry
from keyfold.events.streams import REGISTRY, partition_of
from keyfold.events.times import to_text
from keyfold.hsm.upkeep import COVERS, DOES_NOT_COVER
from keyfold.log import Author

STREAM = key_on(1)
KEY_ID = STREAM.removeprefix("key/")
SEALING = "01890a5d-ac96-774b-bcce-b302099a8059"
LATER = to_text(START_MS + 60_000)


def epoch_destroyed(epoch: int, found_after: int = 0) -> facts.Event:
    return facts.StorageEpochKeyDestroyed.new(
        f"0.{epoch}.storage-epoch-key-destroyed", REGISTRY, LATER, epoch=epoch, token="kms", serial="77",
        module="SoftHSM 2.6", answer="CKR_OK", found_after=found_after, evidence={"0": 5},
    )  # fmt: skip


def sealing_erased(sealing_key: str = SEALING) -> facts.Event:
    return facts.SealingKeyErased.new(f"erased.{sealing_key}", REGISTRY, LATER, sealing_key=sealing_key)


def erased(**changes: Any) -> facts.Event:
    data = {
        "key_id": KEY_ID, "versions": [1, 2], "destroyed_by": {"1": 7, "2": 7}, "blob_digests": {"1": "ab" * 32},
        "epoch": 2, "epoch_key_destroyed": "0.2.storage-epoch-key-destroyed", "sealing_key": SEALING,
        "module": "SoftHSM 2.6", "demonstration": True, "covers": list(COVERS), "does_not_cover": list(DOES_NOT_COVER),
    }  # fmt: skip
    return facts.KeyErased.new("1.7.erased", STREAM, LATER, **{**data, **changes})


class Log:
    """A log on a bus in memory; `write` signs a statement for each event."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster(PARTITIONS, clock_ms=lambda: START_MS + 60_000)
        self.bus = MemoryBus(self.cluster)
        self.heads: dict[tuple[str, int], ChainHead] = {}

    async def write(self, *events: facts.Event) -> "Log":
        writer = self.bus.writer("test")
        await writer.start()
        for event in events:
            place = event.role, partition_of(event.subject, PARTITIONS)
            author = Author(DEPLOYMENT, event.role, signer(event.role).fingerprint, signer(event.role).sign)
            entry = Entry(event.subject.encode(), event.to_value())
            head = self.heads.get(place, ChainHead())
            self.heads[place], records = author.records(topics.EVENTS, place[1], head, [entry])
            await writer.commit(records)
        await writer.stop()
        return self

    async def bundle(self, key: str = KEY_ID) -> Bundle:
        return await _gathered(self.bus, DEPLOYMENT, key)


async def whole(*more: facts.Event) -> Log:
    """A deployment whose first two epochs ended, and a certificate."""
    known = [*first_events(), epoch_destroyed(1), epoch_destroyed(2), sealing_erased(), *more]
    return await Log().write(*(known if more else [*known, erased()]))


async def test_a_certificate_is_believed_from_the_fingerprint_alone() -> None:
    """After a journey as JSON; it says which versions, by which commands, and what ended them."""
    bundle = await (await whole()).bundle()
    again = Bundle.from_data(json.loads(json.dumps(bundle.as_data())))
    assert again == bundle
    (found,) = check(again, DEPLOYMENT).erased
    assert (found.data.key_id, found.data.versions, found.to_value()) == (KEY_ID, [1, 2], erased().to_value())


async def test_it_is_told_in_words() -> None:
    """What is covered and what is not; on a token in software it is a demonstration."""
    checked = check(await (await whole()).bundle(), DEPLOYMENT)
    told = in_words(checked)
    assert told.startswith("DEMONSTRATION")
    for term in (*COVERS, *DOES_NOT_COVER):
        assert WORDS[term] in told
    assert (
        told.index("it covers")
        < told.index(WORDS["log"])
        < told.index("does not cover")
        < told.index(WORDS["token-media"])
    )
    assert KEY_ID in told
    hardware = check(await (await whole(erased(demonstration=False, covers=["new-term"]))).bundle(), DEPLOYMENT)
    assert "DEMONSTRATION" not in in_words(hardware)
    assert "new-term" in in_words(hardware)


async def test_only_the_evidence_of_this_key_is_exported() -> None:
    """Other keys' certificates, and other sealing keys', are not its business."""
    other = "01890a5d-ac96-774b-bcce-b302099a8060"
    elsewhere = facts.KeyErased.new(
        "1.9.erased", f"key/{other}", LATER, **erased().data.model_dump() | {"key_id": other}
    )
    log = await whole(erased(), sealing_erased(other), elsewhere)
    bundle = await log.bundle()
    assert [len(part) for part in (bundle.root, bundle.storage_epochs, bundle.sealing_keys, bundle.erased)] == [
        3,
        2,
        1,
        1,
    ]


async def test_there_may_be_no_certificate_yet() -> None:
    """A key that is not destroyed, or whose epoch has not ended; an alias that is gone names nothing."""
    log = await Log().write(*first_events())
    for name in (KEY_ID, "alias/gone"):
        with pytest.raises(NotFound):
            await log.bundle(name)


@pytest.mark.parametrize(
    ("events", "missing"),
    [
        ([epoch_destroyed(2), sealing_erased(), erased()], "epoch 1"),
        ([epoch_destroyed(1), epoch_destroyed(2, found_after=1), sealing_erased(), erased()], "epoch 2"),
        ([epoch_destroyed(1), epoch_destroyed(2), erased()], "sealing key"),
        ([epoch_destroyed(1), epoch_destroyed(2), sealing_erased(), erased(epoch_key_destroyed="x")], "names"),
    ],
)
async def test_what_it_rests_on_must_be_there(events: list[facts.Event], missing: str) -> None:
    """Every epoch up to the last of its blobs, with no key left, and the sealing key."""
    log = await Log().write(*first_events(), *events)
    with pytest.raises(Differs, match=missing):
        check(await log.bundle(), DEPLOYMENT)


async def test_no_sealing_key_is_needed_where_none_is_named() -> None:
    """As for a key that was never sent a command after its creation."""
    log = await Log().write(*first_events(), epoch_destroyed(1), epoch_destroyed(2), erased(sealing_key=None))
    assert check(await log.bundle(), DEPLOYMENT).sealing_keys == ()


async def test_another_deployments_fingerprint_believes_nothing() -> None:
    """The root key that genesis names is not the pinned one."""
    bundle = await (await whole()).bundle()
    with pytest.raises(RecordError):
        check(bundle, "0" * 64)


def changed(document: dict[str, Any], part: str, name: str, old: str, new: str) -> dict[str, Any]:
    made = copy.deepcopy(document)
    for record in made[part]:
        record[name] = record[name].replace(old, new)
    assert made != document
    return made


async def test_whatever_is_changed_is_not_believed() -> None:
    """Values, signatures, statements, paths, signers; a certificate of somebody else; records of another kind."""
    document = (await (await whole()).bundle()).as_data()
    forgeries = [
        changed(document, "erased", "value", '"versions":[1,2]', '"versions":[1,2,3]'),
        changed(document, "erased", "value", '"demonstration":true', '"demonstration":false'),
        changed(document, "storage_epochs", "value", '"found_after":0', '"found_after":00'),
        changed(document, "storage_epochs", "value", "CKR_OK", "CKR_NO"),
        changed(document, "root", "value", '"hsm"', '"policy"'),
        changed(document, "erased", "kf_signer", signer("hsm").fingerprint, signer("policy").fingerprint),
        {**document, "root": document["root"][1:]},
        {**document, "root": document["root"][:2]},
        {**document, "root": [*document["root"], document["erased"][0]]},
        {**document, "erased": []},
        {**document, "erased": document["storage_epochs"]},
    ]
    for name in ("kf_signature", "kf_path", "kf_statement"):
        made = copy.deepcopy(document)
        text = made["erased"][0][name]
        made["erased"][0][name] = text[:-1] + ("0" if text[-1] != "0" else "1")
        forgeries.append(made)
    for forged in forgeries:
        with pytest.raises(RecordError):
            check(Bundle.from_data(forged), DEPLOYMENT)


async def test_a_worker_that_root_did_not_certify_is_not_believed() -> None:
    """However good its signatures are; nor one whose certificate had ended."""
    log = Log()
    thief = Signer(b"t" * 32)
    await log.write(*first_events(), epoch_destroyed(1), epoch_destroyed(2), sealing_erased(), erased())
    document = (await log.bundle()).as_data()
    stranger = certificate("hsm", thief)
    document["root"] = [document["root"][0], {**document["root"][2], "value": stranger.to_value().decode()}]
    with pytest.raises(RecordError):
        check(Bundle.from_data(document), DEPLOYMENT)


def test_files_are_checked_without_a_deployment(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By fingerprint: exit code 0, 4 for a forgery, 2 for another file."""
    monkeypatch.chdir(tmp_path)
    document = asyncio.run(_document())
    Path("c.json").write_text(json.dumps(document))
    words = ["--data", "nowhere", "--json", "key", "check-certificate"]
    ran = terminal.done(*words, "c.json", "--deployment", DEPLOYMENT)
    assert (ran.document["authentic"], ran.document["erased"][0]["key_id"]) == (True, KEY_ID)
    assert "authentic" in terminal.done(*[w for w in words if w != "--json"], "c.json", "--deployment", DEPLOYMENT).out
    assert terminal(*words, "c.json", "--deployment", "0" * 64).code == 4
    Path("c.json").write_text(json.dumps(changed(document, "erased", "value", "[1,2]", "[1]")))
    assert terminal(*words, "c.json", "--deployment", DEPLOYMENT).code == 4
    for text in ("", "[]", "{}", '{"format": "keyfold-erasure-certificate-v1", "root": 7}', "7"):
        Path("c.json").write_text(text)
        assert terminal(*words, "c.json", "--deployment", DEPLOYMENT).code == 2


async def _document() -> dict[str, Any]:
    return (await (await whole()).bundle()).as_data()
