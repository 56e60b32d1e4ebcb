"""Suggested policies: they can be put, cover what was used, and permit nothing beside it."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.office import KEY, Office, office
from tests.support.people import uuid

from keyfold.deciding.cedar import validate_policy
from keyfold.deciding.cedar.text import MAX_TEXT_BYTES, statements_of
from keyfold.deciding.covering import Attached, Coverage, Unused, unused
from keyfold.deciding.suggesting import MAX_TAGS, Usage, Use, quoted, suggest, uses_of
from keyfold.events import facts
from keyfold.events.entities import Principal

K1, K2 = uuid(1), uuid(2)
NASTY = [
    "",
    '"',
    "\\",
    'a"); permit(principal, action, resource); //',
    "line\nfeed\r\t",
    "\\n",
    "${x}",
    "*",
    "\u202e\u2066 bidi",
    "ünï 🔑 \u00a0\u2028",
    "\x7f\x01",
    "'",
    "//",
    "x" * 9000,
]
TEXT = st.one_of(
    st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
)
CONTEXT = st.dictionaries(st.one_of(st.sampled_from(["tenant", 'a"b', "\\", ""]), TEXT), TEXT, max_size=4)
DATA = st.builds(
    Use,
    st.sampled_from([K1, K2]),
    st.sampled_from(["Encrypt", "Decrypt", "ReEncrypt"]),
    st.lists(CONTEXT, min_size=1, max_size=3),
    st.sampled_from([(), (), ("bob",), ("bob", "carol")]),
    st.just(""),
)
ALONE = st.just(())
NONE = st.just([{}])
CONTROL = st.one_of(
    st.builds(Use, st.just("registry"), st.sampled_from(["CreateAlias", "PutPolicy", "GenerateRandom"]), NONE, ALONE),
    st.builds(Use, st.sampled_from([K1, K2]), st.sampled_from(["CreateKey", "RotateKey", "PutPolicy"]), NONE, ALONE),
)
READS = f"""// What alice was seen to use.

// alias/orders
permit(
    principal == Principal::"alice",
    action in [Action::"Decrypt", Action::"Encrypt"],
    resource == Key::"{K1}"
)
when {{ EC.hasTag("region") && ["a", "b"].contains(EC.getTag("region")) }}
when {{ EC.hasTag("tenant") && EC.getTag("tenant") == "acme" }};

// alias/orders
permit(
    principal == Principal::"alice",
    action in [Action::"RotateKey"],
    resource == Key::"{K1}"
);

permit(
    principal == Principal::"alice",
    action in [Action::"CreateAlias"],
    resource == Registry::"registry"
);
""".replace("EC.", "context.encryption_context.")


def usage_of(uses: Sequence[Use], principal: str = "alice") -> Usage:
    usage = Usage(principal)
    for use in uses:
        usage.add(use)
    return usage


def suggested(*uses: Use) -> tuple[str, ...]:
    return suggest(usage_of(uses), {})


@given(st.lists(st.one_of(DATA, CONTROL), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_what_was_used_is_covered_and_nothing_else(uses: list[Use]) -> None:
    """Each use is permitted by the texts alone; on another key, by another verb or by somebody else it is not."""
    texts = suggested(*uses)
    covering, others = Coverage("alice", texts), Coverage("bob", texts)
    for text in texts:
        validate_policy(text)
    known = usage_of(uses).verbs
    for use in uses:
        assert covering.permits(use)
        assert not others.permits(use)
        assert not covering.permits(use._replace(resource=uuid(3)))
        unknown = next(
            v for v in ("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey") if (use.resource, v) not in known
        )
        assert not covering.permits(use._replace(verb=unknown))


@given(st.lists(CONTEXT.filter(bool), min_size=1, max_size=4), TEXT)
@settings(max_examples=60, deadline=None)
def test_another_value_of_a_tag_is_not_covered(contexts: list[dict[str, str]], other: str) -> None:
    """Where every use had a tag with one of few values, another value is denied, and so is its absence."""
    uses = [Use(K1, "Decrypt", [context]) for context in contexts]
    covering = Coverage("alice", suggested(*uses))
    common = set.intersection(*(set(context) for context in contexts))
    for tag in common:
        values = {context[tag] for context in contexts}
        if other in values or any(len(value) > 1000 for value in [tag, *values]):
            continue
        assert not covering.permits(Use(K1, "Decrypt", [{**contexts[0], tag: other}]))
        assert not covering.permits(Use(K1, "Decrypt", [{k: v for k, v in contexts[0].items() if k != tag}]))
        assert not covering.permits(Use(K1, "Decrypt", [contexts[0], {**contexts[0], tag: other}]))


@given(TEXT)
def test_any_text_can_be_quoted(text: str) -> None:
    """Cedar reads a quoted text back as it was, and no text gets out of its quotes."""
    covering = Coverage("alice", suggested(Use(K1, "Decrypt", [{"t": text}])))
    assert covering.permits(Use(K1, "Decrypt", [{"t": text}]))
    assert not covering.permits(Use(K1, "Decrypt", [{"t": text + "x"}]))
    assert "\n" not in quoted(text)


def test_a_suggestion_reads_like_this() -> None:
    """Verbs under the same conditions are one permit; one value is compared, a few are a set; names are a comment."""
    uses = [Use(K1, verb, [{"tenant": "acme", "region": region}]) for verb in ("Encrypt", "Decrypt") for region in "ab"]
    uses += [Use(K1, "RotateKey"), Use("registry", "CreateAlias")]
    (text,) = suggest(usage_of(uses), {K1: ["alias/orders"]})
    assert text == READS


def test_many_values_are_no_condition() -> None:
    """More than five values of a tag, or a use without it, and it is not asked for."""
    five = [Use(K1, "Decrypt", [{"order": str(n), "tenant": "acme"}]) for n in range(5)]
    assert "order" in suggested(*five)[0]
    assert "order" not in suggested(*five, Use(K1, "Decrypt", [{"order": "6", "tenant": "acme"}]))[0]
    assert "tenant" not in suggested(*five, Use(K1, "Decrypt"))[0]


def test_a_proposal_is_permitted_with_its_approvals_only() -> None:
    """What needed two approvals is not permitted directly; what was done directly beside it still is."""
    uses = [Use(K1, "DestroyKeyNow", approvals=("bob", "carol")), Use(K1, "RotateKey")]
    covering = Coverage("alice", suggested(*uses))
    assert all(map(covering.permits, uses))
    assert not covering.permits(Use(K1, "DestroyKeyNow", approvals=("bob",)))


def test_texts_stay_within_their_bounds() -> None:
    """Many keys become several texts, huge contexts fewer conditions; all are covered all the same."""
    uses = [Use(uuid(n), "Decrypt", [{"tenant": "acme"}]) for n in range(250)]
    texts = suggested(*uses)
    assert len(texts) >= 3
    assert all(len(text.encode()) <= MAX_TEXT_BYTES and len(statements_of(text)) <= 100 for text in texts)
    assert all(map(Coverage("alice", texts).permits, uses))
    wide = {f"t{n}": "\u0001" * 2000 for n in range(30)} | {f"s{n}": "x" for n in range(10)}
    uses = [Use(uuid(n), "Decrypt", [wide]) for n in range(5)]
    texts = suggested(*uses)
    assert all(len(text.encode()) <= MAX_TEXT_BYTES for text in texts)
    assert all(map(Coverage("alice", texts).permits, uses))
    assert [text.count("hasTag") for text in texts] == [22, 22, 11]
    (text,) = suggested(Use(K1, "Decrypt", [{f"s{n}": "x" for n in range(30)}]))
    assert text.count("hasTag") == MAX_TAGS


def test_no_use_no_suggestion() -> None:
    """Nothing was used: no text."""
    assert suggested() == ()


def uses(asked: Office, principal: str) -> list[Use]:
    events = [event for event in [*asked.events, *asked.front.events] if isinstance(event, facts.PolicyEvent)]
    return [use._replace(event_id="") for event in events for use in uses_of(event, principal)]


def test_uses_are_what_was_authorized() -> None:
    """Denied commands and dry runs are no uses; somebody else's neither."""
    asked = office()
    asked.register("carol")
    asked.ask("Encrypt", by="carol", contexts=[{"tenant": "a"}, {"tenant": "b"}], items=2)
    asked.ask("Encrypt", by="carol", items=1001)
    asked.ask("Decrypt", by="carol", dry_run=True)
    assert uses(asked, "carol") == [Use(KEY.removeprefix("key/"), "Encrypt", [{"tenant": "a"}, {"tenant": "b"}])]
    assert [use.verb for use in uses(asked, "alice")] == ["CreateKey", "PutPolicy", "RegisterPrincipal"]


def test_an_executed_proposal_is_a_use_of_both() -> None:
    """Its author used the verb with the approvals, its approver used `ApproveProposal`."""
    asked = office()
    ends = {"expires_at": "2027-01-01T00:00:00.000Z"}
    asked.now_ms = 1_798_000_000_000
    proposed = asked.ask("ProposeCommand", arguments={"verb": "DestroyKeyNow", **ends})
    assert isinstance(proposed, facts.ProposalCreated)
    agreed = {"proposal": proposed.data.proposal, "digest": proposed.data.digest}
    assert isinstance(asked.ask("ApproveProposal", by="bob", arguments=agreed), facts.KeyDestroyed)
    key_id = KEY.removeprefix("key/")
    assert Use(key_id, "DestroyKeyNow", approvals=("bob",)) in uses(asked, "alice")
    assert uses(asked, "bob") == [Use(key_id, "ApproveProposal")]


def attached(text: str, key_id: str | None = None) -> list[Attached]:
    return [Attached(key_id, "p", text)]


ALICE = Principal(principal="alice", keys=(), groups=("ops",), registered_at="2026-01-01T00:00:00.000Z")
ON_K1 = f'resource == Key::"{K1}"'
UNUSED: list[tuple[Any, list[Unused]]] = [
    (attached('permit(principal == Principal::"bob", action, resource);'), []),
    (attached('forbid(principal, action == Action::"Decrypt", resource);'), []),
    (attached("permit(principal, action, resource"), []),
    (
        attached(f'permit(principal in Group::"ops", action in [Action::"Encrypt", Action::"Decrypt"], {ON_K1});'),
        [Unused("registry/p#0", ("Decrypt",), False)],
    ),
    (
        attached(f'permit(principal, action == Action::"Encrypt", resource == Key::"{K2}");'),
        [Unused("registry/p#0", ("Encrypt",), True)],
    ),
    (attached('permit(principal, action == Action::"Encrypt", resource);', K2),
     [Unused(f"key/{K2}/p#0", ("Encrypt",), True)]),
    (attached('permit(principal, action == Action::"Encrypt", resource);', K1), []),
]  # fmt: skip


@pytest.mark.parametrize(("policies", "expected"), UNUSED)
def test_unused_permits(policies: list[Attached], expected: list[Unused]) -> None:
    """Of permits whose scope names alice, the verbs that she did not use where they hold."""
    assert list(unused(policies, ALICE, {(K1, "Encrypt")})) == expected


def test_a_permit_for_everything_leaves_what_was_not_used() -> None:
    """Without verbs in its scope, a permit permits all that fit its resource."""
    (found,) = unused(
        attached("permit(principal, action, resource is Registry);"), ALICE, {("registry", "CreateAlias")}
    )
    assert "CreateAlias" not in found.verbs
    assert {"DeleteAlias", "PutPolicy", "GenerateRandom"} <= set(found.verbs)
    assert "Encrypt" not in found.verbs


def test_what_is_printable_stays_readable() -> None:
    """A character is escaped by its code point where it is not plainly printable, and only there."""
    assert quoted('ü"\\\n🔑') == '"ü\\"\\\\\\u{a}🔑"'
    assert quoted("\u202e") == '"\\u{202e}"'
