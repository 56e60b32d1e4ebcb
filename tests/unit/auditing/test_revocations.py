"""Keys of services that root takes back: what they signed before counts, what they signed later is named."""

from dataclasses import replace
from hashlib import sha256

from tests.support.audited_log import AuditedLog, authors, honest
from tests.support.people import DEPLOYMENT, START_MS, signer
from tests.unit.auditing.test_verifying import LOG, first, verified

from keyfold.events import facts, topics
from keyfold.events.signatures import Signer
from keyfold.events.statements import STATEMENT_HEADER, ChainHead, Entry, parse_statement
from keyfold.events.streams import REGISTRY
from keyfold.events.times import to_text
from keyfold.log import Author


def last_statements(log: AuditedLog, role: str) -> dict[int, ChainHead]:
    """Where a role's chain ends in each partition that it wrote."""
    ends: dict[int, ChainHead] = {}
    for partition, records in log.kept.items():
        for record in records:
            document = record.header(STATEMENT_HEADER) or b""
            if parse_statement(document).role == role:
                ends[partition] = ChainHead(parse_statement(document).n, sha256(document).hexdigest())
    return ends


def written(
    log: AuditedLog,
    partition: int,
    role: str,
    event: facts.Event,
    *,
    by: Signer | None = None,
    head: ChainHead | None = None,
) -> int:
    """Append an event as the role's next statement (default: by its usual key); return its leaf."""
    author = authors()[role] if by is None else Author(DEPLOYMENT, role, by.fingerprint, by.sign)
    entry = Entry(event.subject.encode(), event.to_value())
    _, (made,) = author.records(topics.EVENTS, partition, head or last_statements(log, role)[partition], [entry])
    leaf, before = len(log.kept[partition]), log.kept[partition][-1]
    log.kept[partition].append(replace(before, offset=leaf, key=made.key, value=made.value, headers=made.headers))
    return leaf


def test_a_revoked_key_signs_no_more() -> None:
    """What root had not taken back holds; what is signed with the key afterwards is named."""
    log = honest(*LOG).copy()
    ends = last_statements(log, "policy")
    key = signer("policy").public_key.hex()
    last_valid = {f"{topics.EVENTS}/{partition}": end.n for partition, end in ends.items()}
    revoked = facts.ServiceKeyRevoked.new("r", REGISTRY, to_text(START_MS), public_key=key, last_valid=last_valid)
    written(log, 0, "root", revoked)
    assert verified(log).findings == []
    (decision, *_) = [event for event in log.events(1)[::-1] if isinstance(event, facts.PolicyEvent)]
    leaf = written(log, 1, "policy", decision)
    found = first(verified(log))
    assert (found.partition, found.leaf, found.code) == (1, leaf, "UntrustedRecord")
    assert "revoked" in found.found


def test_a_revocation_reaches_back() -> None:
    """Statements that root takes back are named, although they were believed when they were written."""
    log = honest(*LOG).copy()
    ends = last_statements(log, "policy")
    key = signer("policy").public_key.hex()
    last_valid = {f"{topics.EVENTS}/{partition}": end.n - (partition == 1) for partition, end in ends.items()}
    revoked = facts.ServiceKeyRevoked.new("r", REGISTRY, to_text(START_MS), public_key=key, last_valid=last_valid)
    written(log, 0, "root", revoked)
    found = first(verified(log))
    assert (found.partition, found.code) == (1, "UntrustedRecord")
    assert parse_statement(log.kept[1][found.leaf or 0].header(STATEMENT_HEADER) or b"").n == ends[1].n
