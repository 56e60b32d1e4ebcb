"""`keyfold audit`: the log proves itself. Each command is in a module of its own, imported when it is used."""

from typing import Final

import typer

from keyfold.cli.lazy import Lazy, group_of

_TABLE: Final = (
    Lazy(
        "verify",
        "audit.verify:verify",
        "Verify the log from the pinned fingerprint: trees, signatures, chains, decisions, outcomes.",
    ),
    Lazy(
        "prove",
        "audit.prove:prove",
        "Prove that an event is in the log: writes a C2SP tlog-proof, which holds the event and its checkpoint.",
    ),
    Lazy(
        "check-proof",
        "audit.check_proof:check_proof",
        "Check that a proof is good: leaf, path, the log's signatures, cosignatures.",
    ),
    Lazy(
        "keys",
        "audit.keys:keys",
        "Print the verifier keys (vkeys) of the log, from root's certificates as the verified log has them.",
    ),
    Lazy(
        "checkpoints",
        "audit.checkpoints:checkpoints",
        "Show the latest checkpoint of each partition; the log's signatures are checked, cosignatures are named.",
    ),
    Lazy(
        "query",
        "audit.query:query",
        "Ask the audit trail: which events pass all filters, newest first; or one of the auditors' views.",
    ),
    Lazy(
        "export",
        "audit.export:export",
        "Write the log into an archive, up to the newest checkpoint of each partition, or go on with one.",
    ),
    Lazy(
        "context-digest",
        "audit.context_digest:context_digest",
        "Print the digest of a protected value, as contexts in the log have it.",
    ),
)

app = typer.Typer(
    name="audit",
    help="What the log proves: verify it, prove events, keep copies.",
    no_args_is_help=True,
    cls=group_of(*_TABLE),
)
