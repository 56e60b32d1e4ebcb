"""Suggesting and simulating over a whole deployment in memory: what is read, what is proved, what is told."""

import pytest
from tests.support.archive import ONLY_ADMINISTRATORS, Archive
from tests.unit.cli.policy_world import World, world
from tests.unit.deciding.replays import KEY_ID, ONE, asked, put, quiet, read
from tests.unit.deciding.test_explaining import proposed

from keyfold.cli import policy_suggest
from keyfold.cli.exits import UsageError
from keyfold.cli.policy_simulate import Span, _words, simulated
from keyfold.cli.policy_suggest import Suggestion, suggested
from keyfold.deciding.covering import Unused
from keyfold.deciding.supposing import Proposed
from keyfold.events.errors import NotFound
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text

ALWAYS = Span()
FORBID_CAROL = 'forbid (principal == Principal::"carol", action, resource);'


def busy() -> Archive:
    """A key with an alias that carol uses for one tenant, an hour after another one."""
    made = quiet()
    asked(made, ("CreateKey", ONE, {}))
    asked(made, ("CreateAlias", REGISTRY, {"arguments": {"alias": "alias/orders", "key_id": KEY_ID}}))
    asked(made, ("Encrypt", ONE, {"contexts": [{"tenant": "a"}]}), by="carol")
    made.now_ms += 3_600_000
    for _ in range(3):
        asked(made, ("Decrypt", ONE, {"contexts": [{"tenant": "b"}]}), by="carol")
    asked(made, ("Encrypt", ONE, {"items": 1001}), ("ReEncrypt", ONE, {"dry_run": True}), by="carol")
    return made


async def suggestion(
    made: World, principal: str = "carol", key_id: str | None = None, span: Span = ALWAYS
) -> Suggestion:
    return await suggested(made.queries, principal, key_id, span)


async def test_a_suggestion_covers_what_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs with their contexts, the key's alias as a comment; denied commands and dry runs leave no trace."""
    monkeypatch.setattr(policy_suggest, "_PAGE", 2)
    found = await suggestion(await world(busy()))
    (text,) = found.texts
    assert (found.commands, found.uncovered) == (4, [])
    assert text.count("permit(") == 2
    assert "// alias/orders" in text
    assert 'action in [Action::"Decrypt"]' in text
    assert 'getTag("tenant") == "b"' in text
    assert "ReEncrypt" not in text


async def test_what_is_permitted_and_never_used_is_told() -> None:
    """By the permits in force whose scope names the principal."""
    found = await suggestion(await world(busy()))
    unused = ("GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "GenerateRandom", "ReEncrypt")
    assert found.unused == [Unused("registry/rules#1", unused, False)]


async def test_only_of_a_time_or_a_key() -> None:
    """What lies outside is not suggested."""
    archive = busy()
    made = await world(archive)
    since = Span(since=to_text(archive.now_ms))
    assert (await suggestion(made, span=since)).commands == 3
    assert "Encrypt" not in (await suggestion(made, span=since)).texts[0]
    assert (await suggestion(made, key_id=KEY_ID)).commands == 4
    other = "01890000-0000-7000-8000-000000000009"
    assert (await suggestion(made, key_id=other)).texts == ()
    assert await suggestion(made, "alice", KEY_ID) != await suggestion(made, "alice")


async def test_what_is_not_covered_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof is held against every command again: a suggestion that misses one says which."""
    monkeypatch.setattr(policy_suggest, "suggest", lambda *_: (FORBID_CAROL,))
    archive = busy()
    found = await suggestion(await world(archive))
    assert len(found.uncovered) == 4
    assert found.uncovered[0] == archive.log[1][1].event.id


async def test_approvals_and_what_they_carry_out() -> None:
    """The trail shows an executed proposal under its author; who approved it has used `ApproveProposal`."""
    archive = quiet()
    asked(archive, ("CreateKey", ONE, {}))
    asked(archive, ("ApproveProposal", ONE, {"arguments": proposed(archive)}), by="bob")
    made = await world(archive)
    bobs, alices = await suggestion(made, "bob"), await suggestion(made, "alice")
    assert (bobs.commands, bobs.uncovered, alices.uncovered) == (1, [], [])
    assert 'action in [Action::"ApproveProposal"]' in bobs.texts[0]
    assert "when { context.approvals.count >= 1 };" in alices.texts[0]
    assert "DestroyKeyNow" in alices.texts[0]


async def test_who_is_not_known_is_not_found() -> None:
    """A name that is not registered; one that used nothing is no error."""
    made = await world(busy())
    with pytest.raises(NotFound, match="no principal mallory"):
        await suggestion(made, "mallory")
    assert (await suggestion(made, "dave")).texts == ()


async def test_a_simulation_in_a_span() -> None:
    """Only what lies in it is asked; the state is that of the time all the same. Totals and rows are told."""
    archive = busy()
    made = await world(archive)
    told: list[str] = []
    proposed_ = Proposed({"carol": FORBID_CAROL}, {})
    whole = await simulated(made.audit(), proposed_, ALWAYS, told.append)
    late = await simulated(await made.log(), proposed_, Span(since=to_text(archive.now_ms)), told.append)
    early = await simulated(made.audit(), proposed_, Span(until=to_text(archive.now_ms)), told.append)
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
