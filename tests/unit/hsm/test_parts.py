"""The worker's pure parts: isolation, heads, the keystore's index, how polled records are cut, and its one table."""

import asyncio
from base64 import b64encode
from typing import Any

import pytest
from tests.unit.hsm.deployment import NOW, PARTITIONS, Deployment
from tests.unit.hsm.orders import create, new_key
from tests.unit.hsm.worker import SETTINGS, until, worker

from keyfold.bus import Inbound, MemoryBus
from keyfold.events import facts, strictjson, topics
from keyfold.events.chains import Place
from keyfold.events.replies import ItemResult, encode_items
from keyfold.events.statements import ChainHead
from keyfold.events.times import to_text
from keyfold.hsm import metrics
from keyfold.hsm.errors import ProbeFailed
from keyfold.hsm.heads import Heads
from keyfold.hsm.intake import chunks
from keyfold.hsm.isolation import Isolation
from keyfold.hsm.keystore import Draft, Index
from keyfold.hsm.layout import encode_results
from keyfold.hsm.service import Service
from keyfold.hsm.tokens import require
from keyfold.token import ProbeReport


def test_isolation_goes_one_by_one_after_three_aborts() -> None:
    """Up to the batch's end, and no further; the ticket that fails alone is given up, and only it."""
    isolation = Isolation(3)
    for _ in range(2):
        isolation.aborted(10, 14)
        assert not isolation.isolated(10)
    isolation.aborted(10, 14)
    assert [isolation.isolated(offset) for offset in (10, 14, 15)] == [True, True, False]
    isolation.aborted(12, 12)
    assert [isolation.given_up(offset) for offset in (10, 12)] == [False, True]
    isolation.committed(12)
    assert not isolation.given_up(12)


def test_isolation_counts_aborts_of_the_same_batch_only() -> None:
    """A batch that starts elsewhere starts counting anew; a batch of one is given its three times too."""
    isolation = Isolation(3)
    isolation.aborted(10, 14)
    isolation.aborted(10, 14)
    isolation.aborted(20, 20)
    isolation.aborted(20, 20)
    assert not isolation.isolated(20)
    isolation.aborted(20, 20)
    assert isolation.isolated(20)
    assert not isolation.given_up(20)


def test_heads_survive_their_document() -> None:
    """Through JSON and back."""
    place = Place(ChainHead(3, "ab" * 32), 1, 2)
    heads = Heads(17, {"policy": place}, ChainHead(5, "cd" * 32), ChainHead(2, "ef" * 32))
    assert Heads.parse(strictjson.loads(strictjson.canonical(heads.document()))) == heads
    assert Heads.parse(None) == Heads()
    assert Heads.parse(Heads().document()) == Heads()


def _record(offset: int, size: int) -> Inbound:
    return Inbound("t", 1, offset, 0, b"k", b"x" * (size - 10), (("h", b"y" * 10),))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([20, 20, 20], [[0, 1, 2]]),
        ([20] * 5, [[0, 1, 2], [3, 4]]),
        ([50, 60, 20], [[0], [1, 2]]),
        ([500, 20, 500], [[0], [1], [2]]),
    ],
)
def test_chunks_are_bounded_in_number_and_bytes(sizes: list[int], expected: list[list[int]]) -> None:
    """At most three records or 100 bytes, headers included; a larger record goes alone."""
    records = [_record(offset, size) for offset, size in enumerate(sizes)]
    assert [[record.offset for record in chunk] for chunk in chunks(records, 3, 100)] == expected


def _stored(key_id: str, version: int) -> facts.Event:
    blob = b64encode(b"blob %d" % version).decode()
    spec = {"key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM"}
    return facts.KeyMaterialStored.new(
        "x", f"key/{key_id}", to_text(NOW), key_id=key_id, version=version, blob=blob, **spec
    )


def test_a_draft_shows_its_changes_to_itself_only() -> None:
    """Until it is promoted; erased versions are gone, others stay."""
    index, key_id = Index(), new_key()
    draft = Draft(index)
    for version in (1, 2):
        draft.fold(_stored(key_id, version))
    assert sorted(draft.versions(key_id)) == [1, 2]
    assert index.versions(key_id) == {}
    draft.promote()
    assert index.versions(key_id)[2].blob == b"blob 2"
    second = Draft(index)
    second.fold(facts.KeyMaterialErased.new("y", f"key/{key_id}", to_text(NOW), key_id=key_id, versions=[1]))
    assert (sorted(second.versions(key_id)), sorted(index.versions(key_id))) == ([2], [1, 2])
    second.promote()
    assert sorted(index.versions(key_id)) == [2]


def test_a_key_without_versions_takes_no_place() -> None:
    """Millions of destroyed keys leave nothing in memory."""
    index, key_id = Index(), new_key()
    for records in ([_stored(key_id, 1)], [_erased(key_id)]):
        draft = Draft(index)
        for record in records:
            draft.fold(record)
        draft.promote()
    assert index.keys == {}


def _erased(key_id: str) -> facts.Event:
    return facts.KeyMaterialErased.new("y", f"key/{key_id}", to_text(NOW), key_id=key_id, versions=[1])


def test_a_token_that_allows_a_deviation_is_refused() -> None:
    """The error names the token and what it allowed; a clean report passes."""
    require("kms", ProbeReport(("read the value",), ()))
    with pytest.raises(ProbeFailed, match=r"'kms'.*read the value"):
        require("kms", ProbeReport(("read the value",), ("read the value",)))


def test_metrics_have_help_and_one_prefix() -> None:
    """Every counter says what it counts."""
    declared: list[Any] = [value for name, value in vars(metrics).items() if name.isupper()]
    assert len(declared) >= 8
    for each in declared:
        assert each._name.startswith("keyfold_hsm_")
        assert each._documentation.endswith(".")


async def test_the_service_owns_what_its_membership_wants(deployment: Deployment) -> None:
    """One worker process gets every partition, says ready once all are owned, and stops when it is cancelled."""
    ready = asyncio.Event()
    async with worker(deployment, bus=MemoryBus(deployment.cluster)) as made:
        service = Service(made.parts, "0", ready.set)
        task = asyncio.create_task(service.run())
        await asyncio.wait_for(ready.wait(), 5)
        assert sorted(service.workers) == list(range(PARTITIONS))
        assert deployment.sealing_key()
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        assert not any(each.running.is_set() for each in service.workers.values())


async def test_passed_tickets_are_deleted(deployment: Deployment) -> None:
    """Below the committed position, never above."""
    settings = SETTINGS.model_copy(update={"trim_after_s": 0.05})
    async with worker(deployment, settings=settings) as made:
        service = Service(made.parts, "0", lambda: None)
        task = asyncio.create_task(service.run())
        await until(lambda: any(isinstance(event, facts.SealingKeyPublished) for event in deployment.events(0)))
        order = create(deployment, new_key())
        await made.execute(order)
        log = deployment.cluster.log(topics.AUTHORIZED, deployment.partition(order))
        await until(lambda: log.start > 0)
        assert log.start == 1
        task.cancel()
        await asyncio.wait([task], timeout=5)


@pytest.mark.parametrize(
    ("results", "failures"),
    [
        ([b"abc"] * 4, {}),
        ([b""] * 3, {}),
        ([b"one"], {}),
        ([b"a", b"bc", b""], {}),
        ([b"a", b"", b"c"], {"InvalidCiphertext": [1]}),
        ([b"", b""], {"InvalidCiphertext": [0, 1]}),
        ([], {}),
    ],
)
def test_results_are_laid_out_as_everywhere(results: list[bytes], failures: dict[str, list[int]]) -> None:
    """The fast path gives the same bytes as the one layout that readers know."""
    codes = {index: code for code, indexes in failures.items() for index in indexes}
    items = [ItemResult(result, codes.get(index)) for index, result in enumerate(results)]
    assert encode_results(results, failures) == encode_items(items)
