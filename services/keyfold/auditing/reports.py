"""The result of a verification, as data and in words: what was checked, what is wrong, what was not checked. Pure."""

from collections.abc import Iterator
from typing import Any

from keyfold.auditing.findings import Finding
from keyfold.auditing.partition import Verified
from keyfold.auditing.verifying import Report


def as_data(report: Report) -> dict[str, Any]:
    """Return the whole report for programs."""
    first = report.first
    return {
        "deployment": report.deployment,
        "holds": report.count == 0,
        "first": None if first is None else finding_data(first),
        "findings": report.count,
        "shown": [finding_data(each) for each in report.findings],
        "checked": totals(report),
        "partitions": [partition_data(told) for told in report.partitions],
        "cosigned": {name.partition("+")[0]: sizes for name, sizes in report.heads.cosigned.items()},
        "not_checked": list(not_checked(report)),
    }


def finding_data(finding: Finding) -> dict[str, Any]:
    """Return a finding for programs."""
    return {name: getattr(finding, name) for name in Finding.__slots__}


def partition_data(told: Verified) -> dict[str, Any]:
    """Return what was found in a partition."""
    names = ("partition", "leaves", "position", "full", "decisions", "outcomes", "waiting", "checkpoints", "covered")
    first = told.findings.kept[0] if told.findings.kept else None
    return {
        **{name: getattr(told, name) for name in names},
        "root": told.root.hex(),
        "findings": told.findings.count,
        "first": None if first is None else finding_data(first),
    }


def totals(report: Report) -> dict[str, int]:
    """Return how much of each was checked."""
    parts, heads = report.partitions, report.heads
    names = ("leaves", "full", "statements", "decisions", "signatures", "outcomes", "checkpoints")
    found = {name: sum(getattr(told, name) for told in parts) for name in names}
    return {**found, "checkpoint_signatures": heads.signatures, "cosignatures": heads.cosignatures, "rows": report.rows}


def not_checked(report: Report) -> Iterator[str]:
    """Yield what the report says nothing about."""
    left_out = sorted(set(range(report.heads.partitions)) - {told.partition for told in report.partitions})
    if left_out:
        yield f"partitions {', '.join(map(str, left_out))}: they were not asked for"
    for told in report.partitions:
        place = f"partition {told.partition}"
        if told.unread is not None:
            yield f"{place}: contents from leaf {told.unread} on, because a chain breaks there; the tree was"
        if told.full < told.leaves and told.unread is None:
            yield f"{place}: signatures and rules of {told.leaves - told.full} leaves outside of what was asked for"
        if told.covered < told.leaves and told.differs is None:
            yield f"{place}: {told.leaves - told.covered} leaves behind the last checkpoint could still be exchanged"
        for witness in report.heads.witnesses:
            behind = report.heads.uncosigned(witness, told.partition, told.leaves)
            if behind:
                yield f"{place}: {behind} leaves that {witness.name} has not cosigned"
    if report.heads.revoked:
        yield f"{report.heads.revoked} checkpoints by notary keys that were revoked since"


def as_text(report: Report) -> str:
    """Return the whole report for people."""
    checked, lines = totals(report), []
    first = report.first
    if first is not None:
        lines += [f"FIRST  {first}", ""]
        lines += [f"       {each}" for each in report.findings if each is not first]
        lines += ["", f"{report.count} findings: what is there is not what was signed"]
    else:
        lines.append("the log holds: every record is in its place, signed by who may, and follows from what is before")
    lines.append(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in checked.items() if count))
    lines += [f"partition {p.partition}: {p.leaves} leaves, {p.covered} under a checkpoint" for p in report.partitions]
    lines += [f"not checked: {what}" for what in not_checked(report)]
    return "\n".join(lines)
