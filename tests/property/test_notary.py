"""The notary over any history of writes, failures and restarts: what it published is one history, always.

And the trees themselves: however a log is cut into batches, hashes, proofs and positions are the same.
"""

import asyncio
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.notary_office import ID, SETTINGS, Office
from tests.support.notary_token import failing

from keyfold.bus import Fault
from keyfold.events.merkle import root_of
from keyfold.events.tree import CompactRange, verify_consistency
from keyfold.notary import settling
from keyfold.notary.growing import Anchor, grow
from keyfold.notary.position import Batch, Expected, Position, advance, parse_position

LEAVES = [sha256(b"leaf %d" % number).digest() for number in range(2000)]
BATCHES = st.lists(st.integers(1, 300), min_size=1, max_size=12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 3), st.integers(1, 40)),
        st.tuples(st.just("forge"), st.integers(1, 3), st.integers(1, 3)),
        st.tuples(st.just("commit"), st.sampled_from(list(Fault)), st.just(0)),
        st.tuples(st.just("token"), st.sampled_from(["before", "after"]), st.integers(0, 2)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
        st.tuples(st.just("wait"), st.just(0), st.integers(1, 20)),
    ),
    max_size=12,
)


async def live(steps: list[tuple[str, object, int]], round_records: int) -> Office:
    """Live through the steps; afterwards everything is signed."""
    office = Office()
    await office.begin()
    known = SETTINGS.model_copy(update={"round_records": round_records})
    rest = list(steps)
    while True:
        async with office.notary(settings=known):
            while rest and rest[0][0] != "restart":
                await _step(office, *rest.pop(0))
            if not rest:
                await office.signed()
                return office
            rest.pop(0)


async def _step(office: Office, kind: str, what: object, count: int) -> None:
    if kind == "write":
        await office.write(int(str(what)), count)
    elif kind == "forge":
        await office.forge(int(str(what)), count)
    elif kind == "commit":
        assert isinstance(what, Fault)
        office.cluster.fail_next_commit(what, ID)
    elif kind == "token":
        office.token.fail = failing(count, str(what))
    else:
        await asyncio.sleep(count / 1000)


@given(STEPS, st.sampled_from([3, 10_000]))
@settings(max_examples=40, deadline=None)
def test_what_is_published_is_one_history(steps: list[tuple[str, object, int]], round_records: int) -> None:
    """Whatever fails in between: consistent with all before, equal to the log, and complete in the end."""
    before = settling.WAIT_SECONDS, settling._LOOK_SECONDS
    settling.__dict__.update(WAIT_SECONDS=0.02, _LOOK_SECONDS=0.005)
    try:
        asyncio.run(live(steps, round_records)).assert_proven()
    finally:
        settling.__dict__.update(WAIT_SECONDS=before[0], _LOOK_SECONDS=before[1])


@given(BATCHES)
def test_batches_do_not_change_a_tree(batches: list[int]) -> None:
    """Growing by batches gives the tree of all leaves, and each hash of each height once."""
    tree, seen = CompactRange(), dict[tuple[int, int], bytes]()
    for count in batches:
        growth = grow(tree, LEAVES[tree.size : tree.size + count])
        for level in growth.levels:
            for place, node in enumerate(level.hashes):
                assert (level.height, level.first + place) not in seen
                seen[level.height, level.first + place] = node
        tree = growth.after
    reference = CompactRange()
    reference.extend(LEAVES[: tree.size])
    assert (tree.size, tree.peaks) == (reference.size, reference.peaks)
    for (height, index), node in seen.items():
        assert node == root_of(LEAVES[index << height : (index + 1) << height])
    assert sum(1 for height, _ in seen if height == 0) == tree.size


@given(BATCHES, st.integers(0, 11))
def test_an_anchor_proves_every_later_tree(batches: list[int], at: int) -> None:
    """From a checkpoint, any number of batches later, the proof of consistency is the one that verifies."""
    tree, anchor = CompactRange(), Anchor()
    for number, count in enumerate(batches):
        growth = grow(tree, LEAVES[tree.size : tree.size + count])
        tree, anchor = growth.after, anchor.grown(growth)
        verify_consistency(anchor.tree.size, tree.size, anchor.tree.root(), tree.root(), anchor.path(tree))
        if number == at:
            anchor = Anchor(tree)
    assert len(anchor.siblings) <= 64


@given(BATCHES, st.integers(0, 1500))
def test_a_position_survives_its_record(batches: list[int], published: int) -> None:
    """What is stored is what is read, also between a checkpoint and the head that is yet to be reached."""
    heads = ((10**9, bytes(32)),)
    position, expected = Position(signed=heads), Expected(0, heads)
    for count in batches:
        start = position.tree.size
        batch = Batch(LEAVES[start : start + count], range(start, start + count), {}, {"signer": 1}, untrusted=2)
        position, _ = advance(1, position, batch, expected)
        if position.tree.size > published and not position.anchor.tree.size:
            position = position.published()
        again = parse_position(position.to_bytes())
        assert again.to_bytes() == position.to_bytes()
        assert (again.head, again.next, again.signed) == (position.head, position.next, position.signed)
        assert again.anchor.path(again.tree) == position.anchor.path(position.tree)
