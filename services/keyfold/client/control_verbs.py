"""Control verbs: what changes what exists and who may use it. `control` says what they have in common."""

from keyfold.client.governance_verbs import GovernanceVerbs
from keyfold.client.key_verbs import KeyVerbs
from keyfold.client.principal_verbs import PrincipalVerbs
from keyfold.client.proposal_verbs import ProposalVerbs


class ControlVerbs(KeyVerbs, PrincipalVerbs, GovernanceVerbs, ProposalVerbs):
    """All control verbs of a client."""
