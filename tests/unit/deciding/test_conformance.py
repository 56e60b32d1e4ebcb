"""Conformance: who may do what, in tables that were written by hand from the documents and not from the code.

Every line says what one command becomes, or why it is refused, and which policies determined that.
"""

from functools import cache
from typing import Any, get_args

import pytest
from tests.unit.deciding.cases import Case, cases_of, read_tables
from tests.unit.deciding.stage import Stage

from keyfold.deciding.cedar import validate_policy
from keyfold.events import errors, facts
from keyfold.events.commands import COMMANDS
from keyfold.events.key_states import KeyState

TABLES = read_tables()
CASES = [case for name, table in TABLES.items() for case in cases_of(name, table)]
LEAST = 200


@cache
def world(table: str) -> Stage:
    return Stage(TABLES[table])


@pytest.mark.parametrize("case", CASES, ids=[case.identifier for case in CASES])
def test_conformance(case: Case) -> None:
    """The command becomes what its line says, by the policies that its line names."""
    stage = world(case.table).another()
    for step in case.given:
        stage.do(step)
    assert stage.answer(case.asked) == stage.resolved(case.expected)


def commands_of(case: Case) -> list[dict[str, Any]]:
    steps = [TABLES[case.table]["steps"][step] if isinstance(step, str) else step for step in case.given]
    return [*steps, dict(case.asked)]


def test_there_are_enough_and_no_two_are_the_same() -> None:
    """At least two hundred, with ids of their own, and each asks something else in its world."""
    assert len(CASES) >= LEAST
    assert len({case.identifier for case in CASES}) == len(CASES)
    assert len({(case.table, repr(commands_of(case))) for case in CASES}) == len(CASES)


def test_every_verb_is_asked_for_and_comes_to_both_ends() -> None:
    """For every verb there is a line that is carried out, and one that is not."""
    done = {case.asked["verb"] for case in CASES if "becomes" in case.expected and "dry_run" not in case.asked}
    refused = {case.asked["verb"] for case in CASES if "denied" in case.expected}
    assert done == refused == {command.verb for command in COMMANDS}


def test_every_state_of_a_key_is_met() -> None:
    """A command is asked on a key of every state, and on one that does not exist."""
    met = set()
    for case in CASES:
        about = TABLES[case.table].get("keys", {}).get(case.asked["on"])
        if about is not None:
            met.add(about.get("status", "Enabled"))
    assert met == {*get_args(KeyState), "absent"}


def test_what_is_expected_exists() -> None:
    """Every line expects one thing in the words of the vocabulary, and says which policies decided where any did."""
    known = {kind.__name__ for kind in facts.EVENT_TYPES if issubclass(kind, facts.PolicyEvent)}
    for case in CASES:
        expected = case.expected
        assert sum(name in expected for name in ("becomes", "denied", "rejected")) == 1, case.identifier
        assert ("rejected" in expected) != ("policies" in expected), case.identifier
        assert expected.get("becomes", "KeyCreated") in known, case.identifier
        code = expected.get("denied") or expected.get("rejected") or "AccessDenied"
        assert errors.refusal_by_code(code) is not errors.Refusal, case.identifier


@pytest.mark.parametrize("name", TABLES)
def test_no_policy_of_a_table_goes_unused(name: str) -> None:
    """Every registry policy of a table determines at least one of its answers, and is one that may be put."""
    named = [policy for case in cases_of(name, TABLES[name]) for policy in case.expected.get("policies", ())]
    for policy, text in TABLES[name].get("policies", {}).items():
        validate_policy(text)
        assert any(f"registry/{policy}#" in each for each in named), policy
