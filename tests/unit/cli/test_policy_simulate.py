"""Simulating over a whole deployment in memory: what is asked, what is told, what cannot be read."""

import pytest
from tests.support.archive import ONLY_ADMINISTRATORS
from tests.unit.cli.policy_world import world
from tests.unit.cli.test_policy_suggest import FORBID_CAROL, busy
from tests.unit.deciding.replays import KEY_ID, ONE, asked, put, read

from keyfold.cli.exits import UsageError
from keyfold.cli.policy_files import PolicyFiles
from keyfold.cli.policy_simulate import Span, _words, proposed, simulated
from keyfold.client import InvalidArgument
from keyfold.deciding.supposing import Proposed
from keyfold.events.errors import NotFound
from keyfold.events.times import to_text

ALWAYS = Span()


async def test_keys_are_found_by_id_and_alias() -> None:
    """From the trail and from the log alike; one that is named twice, or is not there, is refused."""
    made = await world(busy())
    texts = {"p": FORBID_CAROL}
    for source in (made.audit(), await made.log()):
        for name in (KEY_ID, "alias/orders"):
            found = await proposed(source, PolicyFiles({}, {name: texts}), replace=True)
            assert found == Proposed({}, {KEY_ID: texts}, True)
        with pytest.raises(UsageError, match="the same key"):
            await proposed(source, PolicyFiles({}, {KEY_ID: texts, "alias/orders": texts}), replace=False)
        with pytest.raises(NotFound, match="there is no alias/nowhere"):
            await proposed(source, PolicyFiles({}, {"alias/nowhere": texts}), replace=False)
        with pytest.raises(InvalidArgument):
            await proposed(source, PolicyFiles({}, {"orders": texts}), replace=False)


async def test_a_simulation_in_a_span() -> None:
    """Only what lies in it is asked; the state is that of the time all the same. Totals and rows are told."""
    archive = busy()
    made = await world(archive)
    told: list[str] = []
    policies = Proposed({"carol": FORBID_CAROL}, {})
    whole = await simulated(made.audit(), policies, ALWAYS, told.append)
    late = await simulated(await made.log(), policies, Span(since=to_text(archive.now_ms)), told.append)
    early = await simulated(made.audit(), policies, Span(until=to_text(archive.now_ms)), told.append)
    assert [each.totals.newly_denied for each in (whole, late, early)] == [4, 3, 1]
    assert told == []
    words = _words(late).splitlines()
    assert words[1].split()[:5] == ["newly", "denied", "carol", "Decrypt", f"key/…{KEY_ID[-8:]}"]
    assert "not asked: refused before   BatchTooLarge=1" in "\n".join(words)
    assert _words(await simulated(made.audit(), Proposed({}, {}), ALWAYS, told.append)).startswith(
        "nothing would change"
    )


async def test_a_simulation_says_what_it_could_not_read() -> None:
    """Decisions that knew more of the registry than the projections hold are left out, and that is said."""
    archive = busy()
    asked(archive, put("one", ONLY_ADMINISTRATORS))
    read(archive)
    asked(archive, ("Decrypt", ONE, {"contexts": [{"tenant": "b"}]}), by="carol")
    made = await world(archive)
    await made.project({0: 8})
    told: list[str] = []
    found = await simulated(made.audit(), Proposed({"carol": FORBID_CAROL}, {}), ALWAYS, told.append)
    assert found.totals.newly_denied == 4
    assert len(told) == 1
    assert "partition 1 is not in the projections yet" in told[0]


@pytest.mark.parametrize("time", ["2026-01-31", "yesterday", "2026-13-01T00:00:00.000Z"])
def test_times_are_checked(time: str) -> None:
    """The one form that events have."""
    with pytest.raises(UsageError, match="times are UTC"):
        Span(since=time)
    with pytest.raises(UsageError, match="times are UTC"):
        Span(until=time)
