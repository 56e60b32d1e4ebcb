"""Who may do what in the database: one role for each service, as one table. Pure: `store.access` runs what it says.

| role | may |
|---|---|
| `keyfold_owner` | own the schemas `keyfold`, `keyfold_alerts` and those of the past: migrations, and nothing daily |
| `keyfold_projector` | own the two schemas that it fills and the views on them, and keep the control row |
| `keyfold_scheduler` | read the views that duties are found in; no audit |
| `keyfold_analytics` | add and revise alerts and responses; no deletion, and nothing of the projections |
| `keyfold_operator` | ask for a rebuild, and see how it goes |
| `keyfold_auditor` | read every view, and alerts; nothing else |

Policy, HSM worker, notary and witnesses have no role, for they meet no database. A deployment may as well have one role
that owns everything: then this table is not used, except for the auditor.
"""

from dataclasses import dataclass
from typing import Final, Literal

OWNER: Final = "keyfold_owner"
PROJECTOR: Final = "keyfold_projector"
SCHEDULER: Final = "keyfold_scheduler"
ANALYTICS: Final = "keyfold_analytics"
OPERATOR: Final = "keyfold_operator"
AUDITOR: Final = "keyfold_auditor"

ROLES: Final = (OWNER, PROJECTOR, SCHEDULER, ANALYTICS, OPERATOR, AUDITOR)

Kind = Literal["DATABASE", "SCHEMA", "TABLE"]
VIEWS: Final = "keyfold.*"
"""Stands for every view of the schema `keyfold`."""


@dataclass(frozen=True, slots=True)
class Grant:
    """`role` has `privileges` on an object: the database (whose name is left out), a schema, a table or a view.

    `columns` narrows a privilege on a table to some of its columns.
    """

    role: str
    privileges: tuple[str, ...]
    kind: Kind
    name: str = ""
    columns: tuple[str, ...] = ()

    def statement(self, database: str = "") -> str:
        """Return the SQL that grants it. `database` is the name of the database, quoted where it must be."""
        columns = f" ({', '.join(self.columns)})" if self.columns else ""
        privileges = ", ".join(f"{privilege}{columns}" for privilege in self.privileges)
        return f"GRANT {privileges} ON {self.kind} {self.name or database} TO {self.role}"


# What duties are found in (`keyfold.scheduler`), and no more: who did what is none of the scheduler's business.
_DUTIES: Final = (
    "keys", "key_versions", "deployment", "deployment_entities", "issuer_entities", "storage_epochs",
    "storage_epoch_turns",
)  # fmt: skip
_ALERTS: Final = ("findings", "incidents", "incident_findings", "acts", "responses")

# Of the database, by its administrator: everything else follows from owning a schema.
DATABASE_GRANTS: Final = (
    *(Grant(role, ("CONNECT",), "DATABASE") for role in ROLES),
    Grant(OWNER, ("CREATE",), "DATABASE"),
    # It makes and drops the schema that a rebuild fills, and stages rows in a temporary table.
    Grant(PROJECTOR, ("CREATE", "TEMPORARY"), "DATABASE"),
)

# Of what migrations make, by the owner.
SCHEMA_GRANTS: Final = (
    *(Grant(role, ("USAGE",), "SCHEMA", "keyfold") for role in ROLES if role != OWNER),
    Grant(PROJECTOR, ("CREATE",), "SCHEMA", "keyfold"),
    Grant(PROJECTOR, ("SELECT", "UPDATE"), "TABLE", "keyfold.control"),
    *(Grant(role, ("SELECT",), "TABLE", "keyfold.control") for role in (SCHEDULER, OPERATOR, AUDITOR)),
    Grant(OPERATOR, ("UPDATE",), "TABLE", "keyfold.control", ("requested", "changed_at")),
    *(Grant(role, ("SELECT",), "TABLE", "keyfold.migrations") for role in (PROJECTOR, OPERATOR, AUDITOR)),
    Grant(AUDITOR, ("SELECT",), "TABLE", "keyfold.past_schemas"),
    *(Grant(role, ("USAGE",), "SCHEMA", "keyfold_alerts") for role in (ANALYTICS, AUDITOR)),
    *(Grant(ANALYTICS, ("SELECT", "INSERT", "UPDATE"), "TABLE", f"keyfold_alerts.{name}") for name in _ALERTS),
    *(Grant(AUDITOR, ("SELECT",), "TABLE", f"keyfold_alerts.{name}") for name in _ALERTS),
)

# Of the views, by whoever makes them anew in each swap.
VIEW_GRANTS: Final = (
    Grant(AUDITOR, ("SELECT",), "TABLE", VIEWS),
    *(Grant(SCHEDULER, ("SELECT",), "TABLE", f"keyfold.{name}") for name in _DUTIES),
    *(Grant(OPERATOR, ("SELECT",), "TABLE", f"keyfold.{name}") for name in ("offsets", "reports")),
)
