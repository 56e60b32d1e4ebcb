"""The life of one key as policy sees it: what it may decide, and the worker's outcomes, which it reads late.

Legal by a plain table, without the code that decides. Every event has a time of its own, so that nothing that is taken
from the wrong event goes unseen. `orders` gives every order in which others can read the same life in the log.
"""

import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from keyfold.events import facts
from keyfold.events.entities import Entity, Key
from keyfold.events.evolve import evolve, get
from keyfold.events.times import to_milliseconds, to_text

EXAMPLES = runpy.run_path(str(Path(__file__).resolve().parents[1] / "vectors" / "examples.py"))
KEY_ID, STREAM = EXAMPLES["KEY_ID"], EXAMPLES["KEY_STREAM"]
SPEC: Final = {"key_spec": "SYMMETRIC_DEFAULT", "protection": "SOFTWARE"}
DIGEST: Final = "0" * 64
_DECISION = EXAMPLES["decision"]("CreateKey")
_START_MS = to_milliseconds(EXAMPLES["TIME"])
_LIVE: Final = {"Enabled", "Disabled", "Failed"}

Fact = tuple[type[facts.Event], dict[str, Any]]


@dataclass(frozen=True)
class Read:
    """An outcome, and how many decisions lie before it: at least (its command's) and at most (when policy read it)."""

    event: facts.Event
    earliest: int
    latest: int


@dataclass(frozen=True)
class Ticket:
    """A command that the worker will execute: what it is about, and how many decisions there were with its own."""

    verb: str
    offset: int
    version: int
    earliest: int


def _on_version(kind: type[facts.Event], *statuses: str, marked: bool = False) -> Callable[[Key, int], Fact | None]:
    """A change of a version that is not current and has one of these statuses, or is marked where that is enough."""

    def move(key: Key, number: int) -> Fact | None:
        version = key.version(number)
        fits = version.status in statuses or (marked and version.compromised and version.status != "Destroyed")
        legal = key.status != "Destroyed" and number != key.current_version and fits
        return (kind, {"version": number, "reason": f"r{number}"}) if legal else None

    return move


def _on_key(kind: type[facts.Event], *statuses: str, **data: Any) -> Callable[[Key, int], Fact | None]:
    return lambda key, _number: (kind, data) if key.status in statuses else None


def _rotate(key: Key, _number: int) -> Fact | None:
    data = {**SPEC, "origin": key.origin, "version": len(key.versions) + 1, "cause": "requested"}
    return (facts.KeyRotated, data) if key.status in {"Enabled", "Failed"} else None


def _destroy(key: Key, _number: int) -> Fact | None:
    return None if key.status == "Destroyed" else (facts.KeyDestroyed, {"versions": [v.version for v in key.versions]})


def _mark(key: Key, number: int) -> Fact | None:
    told = {"versions": [number], "occurred_at": EXAMPLES["TIME"], "reason": "incident"}
    return None if key.status == "Destroyed" else (facts.KeyCompromised, told)


def _issue(key: Key, number: int) -> Fact | None:
    wrapping = {"wrapping_algorithm": "RSAES_OAEP_SHA_256", "wrapping_key_spec": "RSA_3072"}
    told = {
        **SPEC,
        "key_usage": "ENCRYPT_DECRYPT",
        "import_token": KEY_ID,
        "version": number,
        "expires_at": EXAMPLES["LATER"],
        **wrapping,
    }
    legal = key.origin == "EXTERNAL" and key.status in _LIVE and key.version(number).status in {"Active", "Disabled"}
    return (facts.ImportParametersIssued, told) if legal else None


def _import(key: Key, _number: int) -> Fact | None:
    use = {"verb": "ImportKeyMaterial", "principal": "alice", "protection": "SOFTWARE", "items": 1, "bytes": 1}
    parameters = key.import_parameters
    legal = parameters is not None and key.status in _LIVE
    return (facts.CommandAuthorized, {**use, "key_version": parameters.version}) if legal and parameters else None


def _delete(key: Key, number: int) -> Fact | None:
    legal = key.origin == "EXTERNAL" and key.status in _LIVE and key.version(number).material
    return (facts.ImportedKeyMaterialDeleted, {"version": number, "cause": "requested"}) if legal else None


def _use(key: Key, _number: int) -> Fact | None:
    use = {"verb": "Encrypt", "principal": "alice", "protection": "SOFTWARE", "items": 2, "bytes": 1}
    return (facts.CommandAuthorized, {**use, "key_version": key.current_version}) if key.status == "Enabled" else None


DECISIONS: Final[dict[str, Callable[[Key, int], Fact | None]]] = {
    "rotate": _rotate,
    "enable": _on_key(facts.KeyEnabled, "Enabled", "Disabled"),
    "disable": _on_key(facts.KeyDisabled, "Enabled", "Disabled", reason="audit"),
    "schedule": _on_key(facts.KeyDeletionScheduled, "Enabled", "Disabled", deletion_date=EXAMPLES["LATER"]),
    "cancel": _on_key(facts.KeyDeletionCancelled, "PendingDeletion"),
    "destroy": _destroy,
    "disable version": _on_version(facts.KeyVersionDisabled, "Active"),
    "enable version": _on_version(facts.KeyVersionEnabled, "Disabled"),
    "destroy version": _on_version(facts.KeyVersionDestroyed, "Disabled", marked=True),
    "mark": _mark,
    "issue": _issue,
    "import": _import,
    "delete": _delete,
    "use": _use,
    "tag": _on_key(facts.KeyTagged, "Enabled", "Disabled", tags={"a": "b"}),
    "period": _on_key(facts.KeyRotationEnabled, "Enabled", "Disabled", rotation_period_seconds=86_400),
    "validity": _on_key(facts.KeyValidityUpdated, "Enabled", "Disabled", not_before=None, not_after=EXAMPLES["LATER"]),
}
READINGS: Final = ("done", "failed", "erased")


class Life:
    """What policy decided about one key, and which outcomes it read when. `view` is what policy folded."""

    def __init__(self, origin: str = "KEYFOLD") -> None:
        self.view: dict[str, Entity] = {}
        self.decisions: list[facts.Event] = []
        self.outcomes: list[Read] = []
        self.tickets: list[Ticket] = []
        self.destroyed: list[Ticket] = []
        self.clock = 0
        self._decide(facts.KeyCreated, {**SPEC, "origin": origin, "description": "", "tags": {}, "created_by": "alice"})

    @property
    def key(self) -> Key:
        return get(self.view, STREAM, Key)

    def step(self, move: str, number: int = 0) -> bool:
        """Decide something, or read the worker's next outcome; False where that cannot be."""
        if move in READINGS:
            return self._read(move)
        fact = DECISIONS[move](self.key, 1 + number % len(self.key.versions))
        if fact is not None:
            self._decide(*fact)
        return fact is not None

    def orders(self) -> Iterator[list[facts.Event]]:
        """Return the life in every order that the log can have it in: outcomes no later than policy read them."""
        for places in self._places(0, 0):
            yield self.in_order(places)

    def in_order(self, places: list[int]) -> list[facts.Event]:
        """Return the life with each outcome behind so many decisions."""
        told = [
            [read.event for read, place in zip(self.outcomes, places, strict=True) if place == number]
            for number in range(len(self.decisions) + 1)
        ]
        return [*told[0], *chain(*([event, *behind] for event, behind in zip(self.decisions, told[1:], strict=True)))]

    def _places(self, index: int, least: int) -> Iterator[list[int]]:
        if index == len(self.outcomes):
            yield []
            return
        read = self.outcomes[index]
        for place in range(max(least, read.earliest), read.latest + 1):
            for rest in self._places(index + 1, place):
                yield [place, *rest]

    def _decide(self, kind: type[facts.Event], data: dict[str, Any]) -> None:
        offset = len(self.decisions)
        event = self._tell(kind, key_id=KEY_ID, decision=_DECISION.model_copy(update={"offset": offset}), **data)
        self.decisions.append(event)
        made = {facts.KeyCreated: "CreateKey", facts.KeyRotated: "RotateKey", facts.CommandAuthorized: data.get("verb")}
        verb, version = made.get(kind), data.get("version") or data.get("key_version") or 1
        if verb in {"CreateKey", "RotateKey", "ImportKeyMaterial"}:
            self.tickets.append(Ticket(verb, offset, version, offset + 1))
        gone = (
            data["versions"] if kind is facts.KeyDestroyed else [version] if kind is facts.KeyVersionDestroyed else []
        )
        self.destroyed += [Ticket("", offset, each, offset + 1) for each in gone]

    def _read(self, how: str) -> bool:
        tickets = self.destroyed if how == "erased" else self.tickets
        if not tickets or (how == "erased" and self.tickets and self.tickets[0].offset < tickets[0].offset):
            return False
        ticket = tickets.pop(0)
        kind, data = _outcome(ticket, how, self.key.origin)
        event = self._tell(kind, **data)
        self.outcomes.append(Read(event, ticket.earliest, len(self.decisions)))
        return True

    def _tell(self, kind: type[facts.Event], **data: Any) -> facts.Event:
        self.clock += 1
        event = kind.new(f"event {self.clock}", STREAM, to_text(_START_MS + self.clock), **data)
        fold(self.view, event)
        return event


def _outcome(ticket: Ticket, how: str, origin: str) -> tuple[type[facts.Event], dict[str, Any]]:
    told = {"key_id": KEY_ID, "offset": ticket.offset, "command_id": KEY_ID, "command_digest": DIGEST}
    told |= {"principal": "alice", "verb": ticket.verb}
    material = {**SPEC, "version": ticket.version, "blob_digest": DIGEST}
    if how == "erased":
        digests = {"destroyed_by": {}, "blob_digests": {}, "epoch": 1, "epoch_key_destroyed": "x", "sealing_key": None}
        claims = {"module": "m", "demonstration": True, "covers": [], "does_not_cover": []}
        return facts.KeyErased, {"key_id": KEY_ID, "versions": [ticket.version], **digests, **claims}
    if how == "failed":
        return facts.OperationFailed, {**told, "code": "TokenUnavailable"}
    if ticket.verb == "ImportKeyMaterial":
        brought = {"import_token": KEY_ID, "key_check_value": f"{ticket.offset:06x}", "valid_to": EXAMPLES["LATER"]}
        return facts.KeyMaterialImported, {**told, **material, **brought}
    if origin == "EXTERNAL":
        return facts.CommandCompleted, {name: value for name, value in told.items() if name != "key_id"}
    return facts.KeyMaterialGenerated, {**told, **material}


def fold(view: dict[str, Entity], event: facts.Event) -> None:
    """Apply one event in place."""
    view |= {name: entity for name, entity in evolve(view, event).items() if entity is not None}


def folded(events: list[facts.Event]) -> dict[str, Entity]:
    """Fold events in this order."""
    view: dict[str, Entity] = {}
    for event in events:
        fold(view, event)
    return view
