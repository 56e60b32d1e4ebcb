"""Deciding under random commands of every verb: what no policy, one more `forbid`, or deciding again may never change.

Also that what is taken away is gone for exactly the commands behind it, on a key's partition, on the registry's, and
for those who follow the registry. What is counted (grants, limits, budgets) is in `test_deciding_counts`.
"""

from functools import cache
from random import Random
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.crowd import TEXTS, crowd, settle, wish
from tests.property.taking import Taking, batches
from tests.support.desk import Desk
from tests.support.forks import answered, desk_of, fork, put, restarted, tried
from tests.support.office import KEY, WEEK, Office
from tests.unit.deciding.test_cedar_properties import clauses

from keyfold.events import facts
from keyfold.events.commands import BY_VERB
from keyfold.events.entities import KeyStatus
from keyfold.events.streams import REGISTRY
from keyfold.policy.batch import Batch
from keyfold.policy.state import State

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
WHO = (
    "principal",
    'principal == Principal::"carol"',
    'principal in Group::"users"',
    'principal in Group::"administrators"',
)
WHAT = (*["action"] * 20, *(f'action == Action::"{verb}"' for verb in sorted(BY_VERB)))
ON = ("resource", f'resource == Key::"{KEY.removeprefix("key/")}"', "resource is Key", "resource is Registry")
choices = st.integers(0, 2**32).map(Random)
forbids = st.tuples(*map(st.sampled_from, (WHO, WHAT, ON)), clauses).map(
    lambda parts: "forbid({}, {}, {}){};".format(*parts)
)
base = cache(crowd)


def lawless(*forbids: str) -> Office:
    """A crowd without any policy but these."""
    made = fork(base())
    for view in (made.registry, made.front.state.entities):
        for name in [name for name in view if name.startswith("policy/")]:
            del view[name]
    for n, text in enumerate(forbids):
        put(made, f"forbid{n}", text)
    return made


@pytest.mark.parametrize("verb", sorted(BY_VERB))
@settings(max_examples=15, deadline=None, suppress_health_check=SLOW)
@given(r=choices, status=st.sampled_from(get_args(KeyStatus)), laws=st.lists(forbids, max_size=2))
def test_nothing_is_authorized_by_default(verb: str, r: Random, status: KeyStatus, laws: list[str]) -> None:
    """Where no policy permits and nothing was granted or proposed, every verb is denied to everybody on every key."""
    made = lawless(*laws)
    made.state.entities[KEY] = made.key().model_copy(update={"status": status})
    event = answered(made, wish(r, made, verb))
    assert isinstance(event, facts.CommandDenied)
    assert event.data.code in {"AccessDenied", "ApprovalRequired"}
    assert laws or (event.data.code, event.data.decision.policies) == ("AccessDenied", [])


def go_on(made: Office, r: Random, commands: int) -> None:
    """Let some commands be decided, and time pass between them."""
    for _ in range(commands):
        made.now_ms += r.choice([0, 1, 1_000, 60_000])
        asked = wish(r, made)
        desk_of(made, asked.stream).decide(asked)
        if r.random() < 0.3:
            settle(r, made)


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(
    r=choices,
    laws=st.lists(st.sampled_from(TEXTS), unique=True),
    forbid=forbids,
    stream=st.sampled_from((KEY, REGISTRY)),
)
def test_one_more_forbid_never_authorizes(r: Random, laws: list[str], forbid: str, stream: str) -> None:
    """With the same history behind, whatever is done under one `forbid` more would be done without it as well."""
    made = fork(base())
    for n, text in enumerate(laws):
        put(made, f"law{n}", text)
    for _ in range(3):
        made.decide(wish(r, made, "CreateGrant", principal="alice"))
    go_on(made, r, 8)
    settle(r, made)
    stricter = fork(made)
    put(stricter, "more", forbid, stream)
    for verb in (*[None] * 4, *["Encrypt", "Decrypt"] * 4):
        asked = wish(r, made, verb)
        before, after = answered(made, asked), answered(stricter, asked)
        assert (before is None) == (after is None)
        if not isinstance(after, facts.CommandDenied | facts.ProposalApproved):
            assert type(after) is type(before)
        assert isinstance(after, facts.CommandDenied) or not isinstance(before, facts.CommandDenied)
        if isinstance(before, facts.CommandAuthorized) and isinstance(after, facts.CommandAuthorized):
            assert set(before.data.refused_versions) <= set(after.data.refused_versions)


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(batches)
def test_what_is_taken_away_is_gone_for_what_comes_behind(story: list[tuple[str, list[str]]]) -> None:
    """Suspending, revoking, disabling and forbidding count from the next command on, and for none before.

    On a key's partition what the registry says counts as far as it was followed when the batch is decided.
    """
    taking = Taking()
    for place, tokens in story:
        expected = [taking.expected(place, token) for token in tokens]
        assert taking.decide(place) == expected


@settings(max_examples=15, deadline=None, suppress_health_check=SLOW)
@given(r=choices, laws=st.lists(st.sampled_from(TEXTS), unique=True))
def test_deciding_again_gives_the_same_bytes(r: Random, laws: list[str]) -> None:
    """Who has learnt nothing, and who reads the state from its records, decides every command to the same bytes."""
    made = fork(base())
    for n, text in enumerate(laws):
        put(made, f"law{n}", text)
    for _ in range(25):
        made.now_ms += r.choice([0, 1, 1_000, 60_000] * 5 + [WEEK * 1_000])
        asked = wish(r, made)
        desk = desk_of(made, asked.stream)
        first = said(tried(desk, asked))
        assert said(tried(fresh(desk), asked)) == first
        assert said(tried(fresh(desk, restarted(desk)), asked)) == first
        assert said(desk.decide(asked)) == first
        if r.random() < 0.3:
            settle(r, made)


def said(batch: Batch) -> tuple[object, ...]:
    return batch.events, batch.tickets, batch.replies, [letter.reason for letter in batch.dead_letters]


def fresh(desk: Desk, state: State | None = None) -> Desk:
    """The same desk, of somebody who has learnt nothing of policies yet."""
    other = Desk(desk.partition, desk.registry, desk.now_ms, desk.offset)
    other.state = state or desk.state
    return other
