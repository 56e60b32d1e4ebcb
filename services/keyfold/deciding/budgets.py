"""Usage budgets of key versions: warnings when parts of one are used up. Pure.

Counting is `evolve`'s: items are charged at authorization, so the count is exact across restarts and is never too low.
The hard stop is in `decide`. A warning is said by the command that crosses its percentage, so exactly once a version.
"""

from collections.abc import Iterator
from typing import Final

from keyfold.events import facts
from keyfold.events.entities import Key
from keyfold.events.evolve import PROTECTING, View

WARNINGS: Final = (50, 80, 95)


def warnings(event: facts.PolicyEvent, before: View) -> Iterator[facts.UsageBudgetWarning]:
    """Yield the warnings that an authorized command causes; `before` is the view without it."""
    if not isinstance(event, facts.CommandAuthorized) or event.data.verb not in PROTECTING:
        return
    key, version = before.get(event.subject), event.data.key_version
    if not isinstance(key, Key) or version is None:
        return
    used = key.version(version).protected_items
    after, budget = used + event.data.items, key.usage_budget
    for percent in sorted({*WARNINGS, key.rotate_at_percent or WARNINGS[-1]}):
        if used * 100 < budget * percent <= after * 100:
            yield _warning(event, key, version, percent, after)


def _warning(
    event: facts.CommandAuthorized, key: Key, version: int, percent: int, after: int
) -> facts.UsageBudgetWarning:
    offset = event.data.decision.offset
    warning = facts.UsageBudgetWarning.new(
        event.id.replace(".decision", f".budget-{percent}"),
        event.subject,
        event.time,
        key_id=key.key_id,
        version=version,
        percent=percent,
        protected_items=after,
        usage_budget=key.usage_budget,
        offset=offset,
    )
    assert isinstance(warning, facts.UsageBudgetWarning)  # noqa: S101 - `new` returns its own class
    return warning
