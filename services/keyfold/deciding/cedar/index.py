"""Policies by scope, so that of a thousand only those that can match a request are evaluated.

The index may offer too much, never too little: Cedar still checks the scope of whatever it is given.
"""

from collections.abc import Iterable, Iterator

from keyfold.deciding.cedar.policies import ANY, Part, Policy


class Index:
    """A fixed set of policies. Looking up costs by the principal's groups, not by the number of policies."""

    __slots__ = ("_by_scope",)

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._by_scope: dict[tuple[Part, Part, Part], list[Policy]] = {}
        for policy in policies:
            for action in policy.actions:
                self._by_scope.setdefault((policy.principal, action, policy.resource), []).append(policy)

    def matching(self, principal: str, groups: Iterable[str], verb: str, resource: Part) -> Iterator[Policy]:
        """Return the policies that can match; `resource` is (type, id)."""
        if not self._by_scope:
            return
        who: list[Part] = [("Principal", principal), *(("Group", group) for group in dict.fromkeys(groups)), ANY]
        for part in who:
            for action in ((verb,), ANY):
                for what in (resource, resource[:1], ANY):
                    yield from self._by_scope.get((part, action, what), ())
