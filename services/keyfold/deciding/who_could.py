"""Who could have done what with a key in a world: every principal asked, by the code that decides. Pure.

Each principal's standing, authorization (Cedar, grants, rights) and what the key's state would have answered are asked
in the order of `decide`. Where only approvals are missing, those are counted who may approve, and how many of them, in
the order of their names, it takes: a quorum that only others of them would meet is not found. Limits, budgets of other
batches, the form and the freshness of a command are not asked about: they depend on the command that never was.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keyfold.deciding import lifecycle, using
from keyfold.deciding.authorizing import DeniedWithoutApproval, authorize
from keyfold.deciding.control import CONTROL
from keyfold.deciding.decide import check_standing
from keyfold.deciding.repair import APPROVERS, MAX_APPROVERS
from keyfold.deciding.requesting import request_of
from keyfold.deciding.world import World
from keyfold.events import errors
from keyfold.events.command_envelope import source_of
from keyfold.events.commands import AnyCommand
from keyfold.events.entities import Key, Principal
from keyfold.events.proposals import NOT_PROPOSABLE

MAX_PROPOSERS: Final = 100
"""So many principals that need approvals are told whose: each of them asks about every approver."""


@dataclass(frozen=True, slots=True)
class Approvals:
    """What a proposal of this command would have met.

    `approvers` may approve it, `needed` is the smallest number of the first of them with which it is permitted; None
    where all of them together do not suffice. `proposable`: the principal may propose on this key.
    """

    proposable: bool
    approvers: tuple[str, ...]
    needed: int | None


@dataclass(frozen=True, slots=True)
class Could:
    """What one principal would have been answered.

    `standing` is why nothing that it signs would have been accepted, None if it may act. `permitted` is the answer of
    authorization alone, by `policies` (`grant/<id>` and `proposal/<id>` are grants and rights), else `code` says why
    not. `afterwards` is the refusal of the key's state or versions, which is asked only of who is permitted.
    """

    principal: str
    principal_type: str
    standing: str | None
    permitted: bool
    policies: tuple[str, ...]
    code: str | None
    afterwards: str | None = None
    approvals: Approvals | None = None

    @property
    def could(self) -> bool:
        """Tell whether the command would have been let through, as far as it was asked."""
        return self.permitted and self.standing is None and self.afterwards is None


def who_could(command: AnyCommand, world: World, only: str | None = None) -> Iterator[Could]:
    """Yield every principal that the registry knows, by name, or one. Its own command is `command` in its name."""
    people = [entity for entity in world.registry.values() if isinstance(entity, Principal)]
    able = [person for person in people if person.may_act(world.now_ms)]
    able.sort(key=lambda person: (APPROVERS not in person.groups, person.principal))
    asked = 0
    for person in sorted(people, key=lambda each: each.principal):
        if only is None or person.principal == only:
            found = _asked(named(command, person), person, world, able if asked < MAX_PROPOSERS else [])
            asked += found.approvals is not None
            yield found


def named(command: AnyCommand, person: Principal) -> AnyCommand:
    """Return the command in somebody's name, from the host that it names."""
    data = command.data.model_copy(update={"principal": person.principal})
    host = source_of(command)
    source = f"principal/{person.principal}" + (f"/{host}" if host else "")
    return command.model_copy(update={"data": data, "source": source})


def state_answer(command: AnyCommand, key: Key, world: World) -> str | None:
    """Return the code with which the key's state refuses the verb at this time, None where it allows it."""
    if command.verb not in lifecycle.ALLOWED:
        return None
    try:
        lifecycle.check_state(command.verb, key, world.now_ms)
    except errors.Refusal as refusal:
        return refusal.code
    return None


def _asked(command: AnyCommand, person: Principal, world: World, able: list[Principal]) -> Could:
    standing = _standing(person, world.now_ms)
    who = (person.principal, person.principal_type, standing)
    try:
        permission = authorize(command, person, world)
    except errors.AccessDenied as refusal:
        policies = getattr(refusal, "policies", ())
        missing = isinstance(refusal, DeniedWithoutApproval) and command.verb not in NOT_PROPOSABLE
        approvals = _approvals(command, person, world, able) if missing and able and standing is None else None
        return Could(*who, False, policies, refusal.code, approvals=approvals)
    return Could(*who, True, permission.policies, None, _afterwards(command, person, world))


def _standing(person: Principal, now_ms: int) -> str | None:
    try:
        check_standing(person, now_ms)
    except errors.Refusal as refusal:
        return refusal.code
    return None if person.usable_keys(now_ms) else "NoUsableSigningKey"


def _afterwards(command: AnyCommand, person: Principal, world: World) -> str | None:
    """Return the code with which a permitted command would have been refused for what the key is."""
    if not command.data_plane or command.verb in CONTROL:
        key = world.entities.get(command.subject)
        return state_answer(command, key, world) if isinstance(key, Key) else None
    try:
        using.use(command, using.Caller(person, ()), world)
    except errors.Refusal as refusal:
        return refusal.code
    return None


def _approvals(command: AnyCommand, person: Principal, world: World, able: list[Principal]) -> Approvals:
    others = [each for each in able if each.principal != person.principal][:MAX_APPROVERS]
    approvers = tuple(each.principal for each in others if _may(each, "ApproveProposal", command, world))
    needed = _needed(command, person, world, approvers)
    return Approvals(_may(person, "ProposeCommand", command, world), approvers, needed)


def _needed(command: AnyCommand, person: Principal, world: World, approvers: tuple[str, ...]) -> int | None:
    counts = range(1, len(approvers) + 1)
    if not approvers or not _permits(command, person, world, approvers):
        return None
    return next((count for count in counts if _permits(command, person, world, approvers[:count])), None)


def _permits(command: AnyCommand, person: Principal, world: World, approvals: tuple[str, ...]) -> bool:
    try:
        authorize(command, person, world, approvals)
    except errors.AccessDenied:
        return False
    return True


def _may(person: Principal, verb: str, command: AnyCommand, world: World) -> bool:
    """Ask policies about a verb on a proposal: no grant covers these."""
    about = command.data.principal if verb == "ApproveProposal" else None
    request = request_of(command, person, world.entities, world.now_ms)._replace(
        action=verb, target=about, creation=None, contexts=[{}], items=0, bytes=0, cause="", source="", algorithm="",
        message_type="", key_version=0, destination="",
        proposes=command.verb if verb == "ProposeCommand" else "",
    )  # fmt: skip
    return world.authorizer.authorize(request, world.registry, world.deployment.policies_revision).allowed
