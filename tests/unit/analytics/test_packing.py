"""Records between the stages: what is written is read again, and nothing else is."""

import json

import pytest
from tests.unit.analytics.seen import BASE_MS, seen

from keyfold.analytics import packing
from keyfold.analytics.acts import Act, Suppression
from keyfold.analytics.findings import Signal, finding
from keyfold.analytics.observations import Ref
from keyfold.analytics.packing import Unreadable, pack, pack_act, pack_findings, targets, unpack, unpack_found, write

OBSERVATIONS = [
    seen(),
    seen(offset=1, principal=None, result="failed", code="InvalidCiphertext", items=7, failures=3),
    seen(offset=2, key=None, verb="PutPolicy", administrative=True, target="rules"),
    seen(offset=3, contexts=('tenant=a"b', "purpose=ünïcode\u2028")),
]


def test_observations_come_out_as_they_went_in() -> None:
    """All fields, and the watermarks."""
    (content,) = pack([write(each) for each in OBSERVATIONS], {0: 5, 4: BASE_MS})
    assert unpack(content).observations == OBSERVATIONS
    assert unpack(content).marks == {0: 5, 4: BASE_MS}


def test_many_are_cut_into_records_and_watermarks_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has read a watermark has read all that was before it."""
    monkeypatch.setattr(packing, "MAX_BYTES", 400)
    contents = list(pack([write(seen(offset=number)) for number in range(10)], {1: 7}))
    assert len(contents) > 2
    assert all(len(content) < 600 for content in contents)
    assert [unpack(content).marks for content in contents] == [{}] * (len(contents) - 1) + [{1: 7}]
    assert [each.ref.offset for content in contents for each in unpack(content).observations] == list(range(10))


def test_without_observations_watermarks_are_sent_all_the_same() -> None:
    """A heartbeat."""
    assert [unpack(content) for content in pack([], {2: 3})] == [packing.Packed([], {2: 3})]


def test_an_observation_goes_to_each_partition_of_its_entities_once() -> None:
    """To one, if both of its entities are there."""
    found = {targets(seen(principal=name), 4) for name in "abcdefgh"}
    assert {len(each) for each in found} == {1, 2}
    assert len(targets(seen(key=None), 4)) == 1


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"v":2,"w":[],"o":[]}',
        b'{"v":1,"w":[]}',
        b'{"v":1,"w":[[1]],"o":[]}',
        b'{"v":1,"w":[],"o":[[1]]}',
        b'{"v":1,"w":[],"o":[3]}',
        b'{"v":1,"w":[],"o":[[1,1,1,"e","wished","Decrypt",null,null,1,0,null,[],false,null]]}',
        b'{"v":1,"w":[],"o":[["x",1,1,"e","denied","Decrypt",null,null,1,0,null,[],false,null]]}',
        b"[" * 100_000,
    ],
)
def test_anything_else_is_refused(content: bytes | None) -> None:
    """Another version, another shape, no JSON."""
    with pytest.raises(Unreadable):
        unpack(content)
    with pytest.raises(Unreadable):
        unpack_found(content)


def test_findings_and_acts_come_out_as_they_went_in() -> None:
    """With all their evidence; the finding's id is the same."""
    signal = Signal(
        "high", BASE_MS, BASE_MS + 10, 4120.0, 35.5, "items", "decrypted", "Decrypt", (Ref(1, 2, 3, "e"),), "k", "p"
    )
    made = finding("usage-rate", "principal/alice", signal)
    (content,) = pack_findings([made])
    read = unpack_found(content)
    assert (read, getattr(read, "signal", None), getattr(read, "id", None)) == (made, signal, made.id)
    acts = [
        Act("e1", 5, "ann", "close", "i1", "BENIGN", "known"),
        Act("e2", 6, "ann", "suppress", suppression=Suppression("night", "usage-rate", "key/1", 9)),
    ]
    assert [unpack_found(pack_act(act)) for act in acts] == acts


@pytest.mark.parametrize("change", [{"kind": "wish"}, {"when": 1}, {"suppression": {"title": 1}}])
def test_an_act_of_another_shape_is_refused(change: dict[str, object]) -> None:
    """Unknown kinds and fields."""
    document = json.loads(pack_act(Act("e1", 5, "ann", "close")))
    document["act"] |= change
    with pytest.raises(Unreadable):
        unpack_found(json.dumps(document).encode())
