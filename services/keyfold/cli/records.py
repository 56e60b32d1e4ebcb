"""How events look: one line for people, whole documents for programs. Pure."""

import json
from typing import Any

from keyfold.cli.output import plain
from keyfold.projections.rows import AuditRow


def as_data(row: AuditRow) -> dict[str, Any]:
    """Return an audit row with its event as a document instead of bytes."""
    facts: dict[str, Any] = plain(row)
    facts["event"] = json.loads(row.value)
    facts["contexts"] = json.loads(row.contexts) if row.contexts else None
    del facts["value"]
    return facts


def as_line(row: AuditRow) -> str:
    """Return one line: when, where in the log, what, on what, who, and what was special about it."""
    more = [
        f"v{row.key_version}" if row.key_version else None,
        f"items={row.items}" if row.items else None,
        f"bytes={row.payload_bytes}" if row.payload_bytes else None,
        row.code,
        "dry-run" if row.dry_run else None,
        f"grant={row.grant_id}" if row.grant_id else None,
        f"proposal={row.proposal_id}" if row.proposal_id else None,
        f"from {row.source}" if row.source else None,
        f"because {json.dumps(row.reason, ensure_ascii=False)}" if row.reason else None,
        "by " + ",".join(row.policies) if row.policies else None,
    ]
    place = f"{row.partition}/{row.position}"
    words = [
        row.time,
        place.rjust(8),
        short_type(row.event_type).ljust(22),
        short_stream(row.stream).ljust(13),
        (row.principal or row.role).ljust(11),
        (row.verb or "").ljust(15),
        " ".join(word for word in more if word),
    ]
    return " ".join(words).rstrip()


def short_type(event_type: str) -> str:
    """Return a type without what all types have in common."""
    return event_type.removeprefix("keyfold.").removesuffix(".v1")


def short_stream(stream: str) -> str:
    """Return a stream so that a person can tell it from its neighbours: the end of a key id, not its time."""
    return f"key/…{stream[-8:]}" if stream.startswith("key/") else stream.removeprefix("principal/")
