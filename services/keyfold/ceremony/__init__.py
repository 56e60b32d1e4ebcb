"""The root ceremonies: how a deployment begins, how its service keys are licensed again, how its policies are reset.

Everything else exists because of an event; what is made here stands at the head of the log, signed by the root
identity, which is opened in ceremonies only. It serves nothing and decides nothing.
"""

from keyfold.ceremony.errors import CeremonyIncomplete, CeremonyRefused
from keyfold.ceremony.identities import ADMINISTRATORS, SCHEDULER, SERVICE_ROLES
from keyfold.ceremony.reset import PoliciesReset, reset_policies
from keyfold.ceremony.root import Initialised, Renewed, initialise, renew

__all__ = [
    "ADMINISTRATORS",
    "SCHEDULER",
    "SERVICE_ROLES",
    "CeremonyIncomplete",
    "CeremonyRefused",
    "Initialised",
    "PoliciesReset",
    "Renewed",
    "initialise",
    "renew",
    "reset_policies",
]
