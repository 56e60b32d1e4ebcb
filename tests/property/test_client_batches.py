"""Batches: however they are cut, divided and answered, each item has its own result and version in its own place."""

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from keyfold.client.answers import Answer
from keyfold.client.coalescing import ITEM_OVERHEAD, Limits, slices
from keyfold.client.intents import Intent
from keyfold.client.parcels import Batch, Calls, Parcel, Slice
from keyfold.client.sizes import most_items
from keyfold.events.costs import BUDGET_US, weight_us
from keyfold.events.errors import InvalidSignature, KeyfoldError
from keyfold.events.replies import ItemResult, ReplyData
from keyfold.events.specs import ALGORITHMS, USAGE_OF_VERB

CONTEXTS = st.sampled_from(["{}", '{"a":"1"}', '{"b":"2"}'])
ITEMS = st.lists(st.tuples(st.binary(max_size=8), CONTEXTS), min_size=1, max_size=40)


def answer(parcel: Parcel, version: int) -> None:
    """As the service would: an item that begins with an odd byte fails, others are echoed."""
    found = [
        ItemResult(b"", "InvalidSignature") if data[:1] and data[0] % 2 else ItemResult(data)
        for _, data in parcel.items
    ]
    data = ReplyData(command_id="c", command_digest="0" * 64, outcome="o", version=version)
    parcel.answer(Answer(data, found), InvalidSignature)


def divided(draw: st.DataObject, parcel: Parcel) -> list[Parcel]:
    """The parcel, or what it is divided into, several times over."""
    how = draw.draw(st.sampled_from(["whole", "whole", "halves", "contexts"]))
    parts = {"whole": [parcel], "halves": parcel.halves(), "contexts": parcel.by_context()}[how]
    if len(parts) == 1 or not all(part.items for part in parts):
        return [parcel]
    return [last for part in parts for last in divided(draw, part)]


@given(ITEMS, st.integers(1, 10), st.data())
def test_a_batch_is_put_together_again(items: list[tuple[bytes, str]], most: int, data: st.DataObject) -> None:
    """Cut into records, divided, answered in any order by different versions."""
    asyncio.run(_batch(items, most, data))


async def _batch(items: list[tuple[bytes, str]], most: int, data: st.DataObject) -> None:
    future: asyncio.Future[list[bytes | KeyfoldError]] = asyncio.get_running_loop().create_future()
    batch = Batch(future, len(items))
    contexts = [context for _, context in items]
    parts = slices([len(item) for item, _ in items], contexts, Limits(most, 10_000, 1))
    whole = [Slice(batch, part, items[part.start : part.stop], 0.0) for part in parts]
    pieces = data.draw(st.permutations([piece for one in whole for piece in divided(data, one)]))
    versions = {}
    for version, piece in enumerate(pieces, start=1):
        answer(piece, version)
        versions[version] = len(piece.items)
    results = await future
    for (item, _), result in zip(items, results, strict=True):
        assert isinstance(result, InvalidSignature) if item[:1] and item[0] % 2 else result == item
    assert {version: batch.versions.count(version) for version in versions} == versions


@given(ITEMS, st.data())
def test_every_caller_of_a_shared_command_has_its_own_result(
    items: list[tuple[bytes, str]], data: st.DataObject
) -> None:
    """And the version that answered it."""
    asyncio.run(_calls(items, data))


async def _calls(items: list[tuple[bytes, str]], data: st.DataObject) -> None:
    loop = asyncio.get_running_loop()
    calls: list[Any] = [(loop.create_future(), item, context, 0.0) for item, context in items]
    for version, piece in enumerate(divided(data, Calls(calls)), start=1):
        answer(piece, version)
    for (item, _), (future, *_) in zip(items, calls, strict=True):
        error = future.exception()
        if item[:1] and item[0] % 2:
            assert isinstance(error, InvalidSignature)
        else:
            assert future.result()[0] == item
            assert future.result()[1] >= 1


@given(
    st.sampled_from([(verb, usage) for verb, usage in USAGE_OF_VERB.items() if verb != "ReEncrypt"]),
    st.lists(st.integers(0, 3000), min_size=1, max_size=300),
    st.data(),
)
def test_no_record_costs_more_than_the_budget(verb: tuple[str, str], sizes: list[int], data: st.DataObject) -> None:
    """Of whatever spec the key turns out to be, if it has the algorithm."""
    specs = [spec for spec, usage in ALGORITHMS if usage == verb[1]]
    spec = data.draw(st.sampled_from(specs))
    algorithm = data.draw(st.sampled_from(ALGORITHMS[spec, verb[1]]))
    arguments: dict[str, Any] = {"x_algorithm": algorithm}
    if "Pair" in verb[0]:
        spec = data.draw(st.sampled_from(["RSA_2048", "RSA_4096", "ECC_NIST_P256"]))
        arguments = {"key_pair_spec": spec}
    limits = Limits(most_items(Intent(verb[0], "key/k", json.dumps(arguments))), 20_000, 1)
    parts = slices(sizes, ["{}"] * len(sizes), limits)
    assert [place for part in parts for place in part] == list(range(len(sizes)))
    for part in parts:
        assert len(part) == 1 or len(part) * weight_us(verb[0], spec) <= BUDGET_US
        assert len(part) == 1 or sum(sizes[part.start : part.stop]) + ITEM_OVERHEAD * len(part) <= 20_000
