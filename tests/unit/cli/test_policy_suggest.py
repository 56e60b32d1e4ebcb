"""Suggesting over a whole deployment in memory: what is read, what is proved, what is told."""

import pytest
from tests.support.archive import Archive
from tests.unit.cli.policy_world import World, world
from tests.unit.deciding.replays import KEY_ID, ONE, asked, quiet
from tests.unit.deciding.test_explaining import proposed

from keyfold.cli import policy_suggest
from keyfold.cli.policy_simulate import Span
from keyfold.cli.policy_suggest import Suggestion, suggested
from keyfold.deciding.covering import Unused
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
