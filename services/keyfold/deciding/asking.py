"""What a decision in the log asked of authorization, and what is answered to it in a world. Pure.

Explanations and simulations ask the same questions as `decide` did: whether the caller may, with the approvals of the
proposal that a command carries out; of an approval, whether the author of the proposal may with one approval more; and
of a use that met compromised versions, whether the caller may use these.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from keyfold.deciding import proposals
from keyfold.deciding.authorizing import USE_COMPROMISED_VERSION, authorize
from keyfold.deciding.cedar import Request
from keyfold.deciding.replaying import Recorded
from keyfold.deciding.requesting import request_of
from keyfold.deciding.signed import principal_of
from keyfold.deciding.using import touched
from keyfold.deciding.world import World
from keyfold.events import errors, facts
from keyfold.events.commands import AnyCommand, ApproveProposal
from keyfold.events.entities import Key, Principal
from keyfold.events.evolve import PROTECTING
from keyfold.events.proposals import proposed_in
from keyfold.events.specs import USAGE_OF_VERB

_AUTHORIZATION: Final = frozenset(
    kind.code for kind in (errors.AccessDenied, errors.ApprovalRequired, errors.GrantExhausted)
)


class Answer(NamedTuple):
    """What authorization says: by which policies, grants or rights, or the code of the denial."""

    allowed: bool
    policies: tuple[str, ...]
    code: str | None = None


class Question(NamedTuple):
    """One authorization: the command, in whose name, and whose approvals count.

    `action` is the verb, or `UseCompromisedVersion`: that is for policies alone to answer.
    """

    command: AnyCommand
    principal: Principal
    approvals: tuple[str, ...]
    action: str

    def request(self, world: World) -> Request:
        """Return what Cedar is asked in a world."""
        request = request_of(self.command, self.principal, world.entities, world.now_ms, self.approvals)
        return request._replace(action=self.action)

    def answer(self, world: World) -> Answer:
        """Ask in a world."""
        if self.action == USE_COMPROMISED_VERSION:
            verdict = world.authorizer.authorize(
                self.request(world), world.registry, world.deployment.policies_revision
            )
            return Answer(verdict.allowed, verdict.policies, None if verdict.allowed else errors.KeyCompromised.code)
        try:
            return Answer(True, authorize(self.command, self.principal, world, self.approvals).policies)
        except errors.AccessDenied as refusal:
            return Answer(False, getattr(refusal, "policies", ()), refusal.code)


def refused_before(recorded: Recorded) -> str | None:
    """Return the code of a command that was refused before its authorization was asked, else None.

    `InternalError` is no answer to anything; that is said by raising `InternalError`.
    """
    event = recorded.event
    if not isinstance(event, facts.CommandDenied):
        return None
    code = event.data.code
    if code == errors.InternalError.code:
        raise errors.InternalError
    if not event.data.decision.policies and code not in _AUTHORIZATION:
        return code
    try:
        proposals.carried_out(recorded.command, recorded.world)
    except errors.Refusal as refusal:
        return refusal.code
    return None


def questions(recorded: Recorded) -> Iterator[Question]:
    """Yield what was asked of authorization: whether the caller may, or may use compromised versions, or the author of
    what an approval carries out.

    Raises `Refusal` and KeyError where the log cannot be right.
    """
    command, world = recorded.command, recorded.world
    proposal = proposals.carried_out(command, world)
    approvals = proposals.approvers(proposal, world) if proposal else ()
    own = Question(command, principal_of(command, world), approvals, command.verb)
    yield own
    if _met_compromised_versions(recorded):
        yield own._replace(action=USE_COMPROMISED_VERSION)
    if isinstance(command, ApproveProposal) and own.answer(world).allowed:
        wanted = _wanted(command, world)
        if wanted is not None:
            yield wanted


def _met_compromised_versions(recorded: Recorded) -> bool:
    """Tell whether a decision came as far as to ask about compromised versions."""
    event, command = recorded.event, recorded.command
    key = recorded.world.entities.get(command.subject)
    if not isinstance(key, Key) or command.verb not in USAGE_OF_VERB:
        return False
    if isinstance(event, facts.CommandDenied) and event.data.code != errors.KeyCompromised.code:
        return False
    if command.verb in PROTECTING and key.current.compromised:
        return False  # the key's state has refused it before
    return any(version.compromised and version.status == "Active" for version in touched(command, key))


def _wanted(command: ApproveProposal, world: World) -> Question | None:
    """Return the question about the proposed command, if the approval counts."""
    approver = command.data.principal
    try:
        proposal = proposals.agreed_upon(command, world)
    except errors.Refusal:
        return None
    author = world.principal(proposal.proposer)
    if author is None or not author.may_act(world.now_ms) or any(a.principal == approver for a in proposal.approvals):
        return None
    proposed = proposed_in(proposal.command.encode())
    return Question(proposed, author, (*proposals.approvers(proposal, world), approver), proposed.verb)
