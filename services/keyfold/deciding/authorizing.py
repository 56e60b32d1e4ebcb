"""Whether a command may be carried out: by Cedar, by a grant where no policy says anything, or by right. Pure.

An explicit `forbid`, or a policy in error, is final. Where nothing permits and nothing forbids, a grant may cover the
command; and who was given, made or proposed something may end it without a policy.
"""

from dataclasses import dataclass
from typing import Final

from keyfold.deciding import grants
from keyfold.deciding.requesting import request_of
from keyfold.deciding.world import World
from keyfold.events import errors
from keyfold.events.commands import AnyCommand
from keyfold.events.entities import Principal, Proposal

USE_COMPROMISED_VERSION: Final = "UseCompromisedVersion"
"""An action that policies permit beside a verb."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What determined that a command is permitted: ids of policies, and the grant if one was needed."""

    policies: tuple[str, ...]
    grant: str | None = None


class Denied(errors.AccessDenied):
    """Cedar's denial, with the policies that determined it."""

    def __init__(self, policies: tuple[str, ...]) -> None:
        self.policies = policies
        super().__init__()


class DeniedWithoutApproval(errors.ApprovalRequired):
    """A denial by policies that ask for approvals: with more of them the answer may be another."""

    def __init__(self, policies: tuple[str, ...]) -> None:
        self.policies = policies
        super().__init__()


def authorize(command: AnyCommand, principal: Principal, world: World, approvals: tuple[str, ...] = ()) -> Permission:
    """Return why the principal may, or raise a kind of `AccessDenied`."""
    request = request_of(command, principal, world.entities, world.now_ms, approvals)
    verdict = world.authorizer.authorize(request, world.registry, world.deployment.policies_revision)
    if verdict.allowed:
        return Permission(verdict.policies)
    if not verdict.policies:
        permission = _without_policy(command, verdict.uncovered, world)
        if permission is not None:
            return permission
    raise DeniedWithoutApproval(verdict.policies) if verdict.approvals else Denied(verdict.policies)


def may_use_compromised(
    command: AnyCommand, principal: Principal, world: World, approvals: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Return the policies by which a principal may use compromised versions for this command, or None.

    Only a policy names them: neither a grant nor a right does.
    """
    request = request_of(command, principal, world.entities, world.now_ms, approvals)
    asked = request._replace(action=USE_COMPROMISED_VERSION)
    verdict = world.authorizer.authorize(asked, world.registry, world.deployment.policies_revision)
    return verdict.policies if verdict.allowed else None


def _without_policy(command: AnyCommand, uncovered: tuple[int, ...], world: World) -> Permission | None:
    grant = grants.covering(command, uncovered, world.entities, world.now_ms)
    if grant is not None:
        return Permission((f"grant/{grant.grant}",), grant.grant)
    by_right = grants.ended_by_right(command, world) or _cancelled_by_right(command, world)
    return Permission(by_right) if by_right else None


def _cancelled_by_right(command: AnyCommand, world: World) -> tuple[str, ...]:
    if command.verb != "CancelProposal":
        return ()
    name = f"proposal/{command.data.arguments.proposal}"
    proposal = world.entities.get(name)
    own = isinstance(proposal, Proposal) and proposal.proposer == command.data.principal
    return (name,) if own else ()
