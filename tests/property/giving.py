"""Grants that a few people give parts of on and use, as a plain count beside the office that decides it.

The count knows who was given how much of what, and what was taken out of it for others. It says of every command
whether it must be authorized, before it is decided.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.property.crowd import OTHER
from tests.support.forks import fork
from tests.support.office import KEY, Office, bare
from tests.support.people import START_MS, Signed, command, uuid

from keyfold.events.times import HOUR_MS, to_text

PEOPLE = ("carol", "dave", "erin")
MAX_DEPTH = 5
Bounds = tuple[int | None, int | None]


@cache
def lab(rules: str = "") -> Office:
    """An office with two keys and people who may do what these rules permit."""
    made = bare(rules)
    made.ask("CreateKey", OTHER)
    for name in PEOPLE:
        made.register(name)
    return made


@dataclass
class Given:
    """One grant: how many operations and items at most, what was used, and what was given on of it."""

    name: str
    grantee: str
    parent: "Given | None"
    most: Bounds
    delegable: bool
    ends_ms: int
    used: tuple[int, int] = (0, 0)
    given_on: tuple[int, int] = (0, 0)
    revoked: bool = False

    @property
    def taken(self) -> tuple[int, int]:
        return self.used[0] + self.given_on[0], self.used[1] + self.given_on[1]

    def holds(self, now_ms: int) -> bool:
        alone = not self.revoked and now_ms < self.ends_ms
        return alone and (self.parent is None or self.parent.holds(now_ms))

    def has_room(self, more: tuple[int, int]) -> bool:
        together = zip(self.most, self.taken, more, strict=True)
        return all(most is None or taken + extra <= most for most, taken, extra in together)

    def depth(self) -> int:
        return 0 if self.parent is None else 1 + self.parent.depth()


class Giving:
    """The office and the count. A step is one of: use, give, give on, revoke."""

    def __init__(self) -> None:
        self.made = fork(lab())
        self.grants: list[Given] = []

    def step(self, kind: str, who: int, which: int, most: Bounds, items: int) -> tuple[Signed, bool]:
        """Return one command, and whether it must be authorized."""
        self.made.number += 1
        parent = self.grants[which % len(self.grants)] if self.grants else None
        if kind == "use":
            return self._ask("Encrypt", PEOPLE[who], items=items), self._used(PEOPLE[who], items)
        if kind == "revoke" and parent is not None:
            possible, parent.revoked = not parent.revoked, True
            return self._ask("RevokeGrant", "alice", arguments={"grant": parent.name}), possible
        if kind == "give":
            parent = None
        ends_ms = START_MS + HOUR_MS * (1 if which == 0 else 2)
        grant = Given(uuid(self.made.number), PEOPLE[who], parent, most, items > 1, ends_ms)
        return self._given(grant, parent)

    def _given(self, grant: Given, parent: Given | None) -> tuple[Signed, bool]:
        possible = grant.ends_ms > self.made.now_ms and (parent is None or self._within(grant, parent))
        if possible:
            self.grants.append(grant)
        if possible and parent is not None:
            parent.given_on = (
                parent.given_on[0] + (grant.most[0] or 0),
                parent.given_on[1] + (grant.most[1] or 0),
            )
        arguments = {
            "grantee": grant.grantee,
            "verbs": ["Encrypt", "CreateGrant"] if grant.delegable else ["Encrypt"],
            "delegable": grant.delegable,
            "expires_at": to_text(grant.ends_ms),
            "max_operations": grant.most[0],
            "max_items": grant.most[1],
            "parent": parent.name if parent else None,
        }
        return self._ask("CreateGrant", parent.grantee if parent else "alice", arguments=arguments), possible

    def _within(self, grant: Given, parent: Given) -> bool:
        bounded = all(most is None or part is not None for most, part in zip(parent.most, grant.most, strict=True))
        shallow = not grant.delegable or parent.depth() + 1 < MAX_DEPTH
        room = parent.has_room((grant.most[0] or 0, grant.most[1] or 0))
        mine = parent.delegable and parent.holds(self.made.now_ms)
        return mine and bounded and shallow and room and grant.ends_ms <= parent.ends_ms

    def _used(self, person: str, items: int) -> bool:
        for grant in self.grants:
            if grant.grantee == person and grant.holds(self.made.now_ms) and grant.has_room((1, items)):
                grant.used = (grant.used[0] + 1, grant.used[1] + items)
                return True
        return False

    def below(self, grant: Given) -> tuple[int, int]:
        """Return what was used of a grant and of everything that was given on of it."""
        parts = [grant.used, *(self.below(each) for each in self.grants if each.parent is grant)]
        return sum(operations for operations, _ in parts), sum(items for _, items in parts)

    def _ask(self, verb: str, by: str, **options: Any) -> Signed:
        return command(verb, KEY, self.made.number, principal=by, issued_ms=self.made.now_ms, **options)
