"""How proofs and checkpoints are shown. Pure."""

from datetime import UTC, datetime
from typing import Any

from keyfold.auditing.proving import Proven
from keyfold.cli.output import pairs
from keyfold.events.times import to_text


def proven_data(proven: Proven) -> dict[str, Any]:
    """Return what a proof shows, for programs."""
    event = proven.event
    return {
        "origin": proven.checkpoint.origin,
        "index": proven.index,
        "size": proven.checkpoint.size,
        "root": proven.checkpoint.root.hex(),
        "leaf": proven.record.leaf.hex(),
        "signed_at": _instant(proven.signed_at_s),
        "witnesses": {name: _instant(at) for name, at in sorted(proven.witnesses.items())},
        "author": proven.author,
        "event": None if event is None else event.model_dump(mode="json"),
    }


def proven_text(proven: Proven) -> str:
    """Return the same for people."""
    event = proven.event
    known: list[tuple[str, Any]] = [
        ("log", proven.checkpoint.origin),
        ("leaf", f"{proven.index} of {proven.checkpoint.size}"),
        ("signed at", _instant(proven.signed_at_s)),
        ("witnesses", [f"{name} at {_instant(at)}" for name, at in sorted(proven.witnesses.items())]),
        ("author", proven.author or "not checked: that needs --deployment and --certificates"),
    ]
    if event is None:
        return pairs([*known, ("event", "none that is known here; the record is in the log nevertheless")])
    data = event.data
    said = {"principal": "principal", "verb": "verb", "command_id": "command", "code": "code", "key_id": "key"}
    details = [(word, getattr(data, name, None)) for name, word in said.items()]
    told = [("event", event.id), ("type", event.type), ("time", event.time), ("stream", event.subject)]
    return pairs([*known, *told, *((name, value) for name, value in details if value is not None)])


def _instant(at_s: int) -> str | None:
    """Return a time in POSIX seconds as text; None for one that was not told, or is none."""
    try:
        return to_text(at_s * 1000) if at_s and datetime.fromtimestamp(at_s, UTC) else None
    except (OverflowError, ValueError, OSError):
        return None
