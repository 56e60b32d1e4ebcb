"""Control verbs: what changes what exists and who may use it. `control` says what they have in common."""

from keyfold.client.governance_verbs import GovernanceVerbs
from keyfold.client.import_verbs import ImportVerbs
from keyfold.client.incident_verbs import IncidentVerbs
from keyfold.client.key_verbs import KeyVerbs
from keyfold.client.lifecycle_verbs import LifecycleVerbs
from keyfold.client.once import Once
from keyfold.client.principal_verbs import PrincipalVerbs
from keyfold.client.proposal_verbs import ProposalVerbs
from keyfold.client.storage_verbs import StorageVerbs


class ControlVerbs(
    KeyVerbs,
    LifecycleVerbs,
    ImportVerbs,
    StorageVerbs,
    PrincipalVerbs,
    GovernanceVerbs,
    IncidentVerbs,
    ProposalVerbs,
    Once,
):
    """All control verbs of a client."""
