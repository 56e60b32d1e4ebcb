"""Plans: which policies apply to a principal, action and resource, and what has to be known of a command to decide.

A plan is valid while the principal, the resource and, if policies ask about her, the key's creator are as they were.
Nothing is evaluated here, and nothing is remembered.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final

from keyfold.deciding.cedar.mentions import NOTHING, PLAIN, Mentions
from keyfold.deciding.cedar.policies import Policy
from keyfold.deciding.cedar.requests import Request, Verdict
from keyfold.events.entities import Entity, Principal

Slice = tuple[object, ...]
Projection = tuple[object, ...]
_FIELDS: Final = (*PLAIN, "target")  # of a request, beside the context's tags


class Plan:
    """What is needed to decide for one principal, action and resource as they were when it was made.

    `constant` is the verdict on one context where nothing of the command can change it. `fresh` says that no verdict
    may be remembered: time passes by itself, and approvals are counted each time.
    """

    __slots__ = (
        "about", "constant", "creator", "fresh", "mentions", "policies",
        "principal", "resource", "tags", "target", "who",
    )  # fmt: skip

    def __init__(
        self, request: Request, policies: tuple[Policy, ...], mentions: Mentions, creator: Principal | None
    ) -> None:
        self.principal = request.principal
        self.who = _who(request.principal)
        self.resource = _resource(request)
        self.policies = policies
        self.mentions = mentions
        self.tags = None if mentions.tags is None else tuple(sorted(mentions.tags))
        fields = [name for name in _FIELDS if getattr(mentions, name)]
        self.about: Callable[[Request], Any] | None = attrgetter(*fields) if fields else None
        self.target = mentions.target
        self.fresh = mentions.time or mentions.approvals
        self.creator = creator
        self.constant: Verdict | None = None

    def holds(self, request: Request, registry: Mapping[str, Entity]) -> bool:
        """Tell whether a request with the same principal's name, action and resource id can be decided by this plan."""
        return (
            (request.principal is self.principal or self.who == _who(request.principal))
            and self.resource == _resource(request)
            and (not self.mentions.creator or _same(self.creator, creator_of(request, registry)))
        )

    def independent(self) -> bool:
        """Tell whether one verdict answers for every command that the plan holds for."""
        return self.mentions == NOTHING._replace(creator=self.mentions.creator)

    def projection(self, request: Request, context: Mapping[str, str], target: Principal | None) -> Projection:
        """Take exactly what the policies ask for of a command, one of its contexts and the principal it is about."""
        tags = self.tags
        asked: Projection = (frozenset(context.items()),) if tags is None else tuple(map(context.get, tags))
        if self.about is None:
            return asked
        return (*asked, self.about(request), None if target is None else _who(target))


def creator_of(request: Request, registry: Mapping[str, Entity]) -> Principal | None:
    """Return the principal that created the request's key, if it is registered."""
    return None if request.key is None else registered(request.key.created_by, registry)


def registered(name: str | None, registry: Mapping[str, Entity]) -> Principal | None:
    """Return the principal of this name."""
    found = None if name is None else registry.get(f"principal/{name}")
    return found if isinstance(found, Principal) else None


def _who(principal: Principal) -> Slice:
    """Take of a principal what policies can ask for beside its name."""
    return (principal.groups, frozenset(principal.tags.items()), principal.principal_type)


def _resource(request: Request) -> Slice:
    """Take of a resource what policies can ask for, and the revision of its own policies with their texts.

    The state that a key comes into by time alone is among it: a plan ends with it.
    """
    key = request.key
    if key is None:
        return (request.is_key, request.creation)
    return (request.traits(), key.policy_revision, key.policies, key.tags, key.created_by)


def _same(one: Principal | None, other: Principal | None) -> bool:
    return one is other or one == other
