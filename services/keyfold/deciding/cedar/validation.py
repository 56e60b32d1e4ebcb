"""Whether a text may be put as a policy: it parses, fits the schema, and asks nothing that could not be answered.

What passes here can be read, indexed and evaluated later. Messages are the same for the same text on every run, as
they become part of the log. Who may put which policy is not asked here.
"""

from typing import Final

import cedarpy

from keyfold.deciding.cedar.mentions import asks_of_another
from keyfold.deciding.cedar.policies import number_of, parse, policy_set, read_policies, say
from keyfold.deciding.cedar.schema import SCHEMA
from keyfold.deciding.cedar.text import Statement, statements_of
from keyfold.events.errors import InvalidPolicy

_CONSEQUENCE: Final = "unable to find an applicable action"  # follows from an unknown name, which says more


def validate_policy(text: str) -> None:
    """Refuse a text that must not be put. Raises `InvalidPolicy`, naming the statement, its line and what is wrong."""
    statements = statements_of(text)
    bodies = parse(text, statements)
    if not bodies:
        raise InvalidPolicy("the text holds no policy; a statement is like: permit(principal, action, resource);")
    _check_schema(text, statements)
    for n, body in enumerate(bodies):
        if asks_of_another(body["conditions"]):
            raise InvalidPolicy(
                f"{_place(statements, n)}: entities that are named in a condition can be compared or looked for in a "
                "set, but nothing is known about them; use the scope, principal, resource, resource.created_by or "
                "context.target"
            )
    try:
        policy_set(read_policies(text, "policy"))
    except ValueError:
        raise InvalidPolicy("the policy cannot be kept in Cedar's JSON form; write it more simply") from None


def _check_schema(text: str, statements: tuple[Statement, ...]) -> None:
    result = cedarpy.validate_policies(text, SCHEMA)
    if result.validation_passed:
        return
    found = sorted(
        (number_of(error.policy_id), _CONSEQUENCE in error.error, error.error)
        for error in result.errors
        if error.policy_id
    )
    if not found:
        raise InvalidPolicy(say(min((error.error for error in result.errors), default="the schema does not allow it")))
    n, _, message = found[0]
    raise InvalidPolicy(f"{_place(statements, n)}: {say(message.removeprefix(f'for policy `policy{n}`, '))}")


def _place(statements: tuple[Statement, ...], n: int) -> str:
    return f"statement {n}, from line {statements[n].line}" if n < len(statements) else f"statement {n}"
