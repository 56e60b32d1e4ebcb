"""Findings that belong together, as incidents, and what operators did about them. Pure; time is event time only.

Findings belong together that name the same principal or key and whose ends lie within half an hour of those before. An
incident is as severe as its worst finding, one step more where three detectors agree. Findings of severity `low` alone
wait, and are an incident as soon as three detectors speak. Suppressed findings are kept, and open and join nothing.

The same findings and acts in the same order give the same incidents: an incident's id is made of its first finding's,
and nothing else is asked. A finding or an act that comes again changes nothing; a finding that comes again with a
higher severity raises its incident, or opens another where that is closed or long over. What is closed, or quiet for a
day, leaves the memory; it stays where it was written.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from keyfold.analytics.acts import Act, Suppression
from keyfold.analytics.findings import HOUR_MS, SEVERITIES, Finding, Severity, uuid_of
from keyfold.analytics.observations import KEY, PRINCIPAL
from keyfold.events.incident_arguments import Resolution

State = Literal["open", "acknowledged", "closed"]
Change = Literal["detected", "opened", "updated"]

JOIN_MS: Final = HOUR_MS // 2
KEEP_MS: Final = 24 * HOUR_MS
AGREE: Final = 3
MAX_LISTED: Final = 200
MAX_ENTITIES: Final = 50
MAX_GROUPS: Final = 10_000
MAX_SEEN_AN_HOUR: Final = 5_000

_CLOCK: Final = "clock"
_GROUP, _SUPPRESSION, _SEEN = "incident/", "suppression/", "seen/"


@dataclass(frozen=True, slots=True)
class Incident:
    """What is known of an incident. `revision` counts its changes from 1; 0 is a group of low findings that waits.

    `since_ms` and `until_ms` are the ends of its first and last finding, `opened_ms` that of the finding which made it
    an incident. `findings` are the ids of the first two hundred; `worst` is that of its worst, whose sentence is
    `sentence`. `suspect` is the entity of the worst finding that `blames` its entity, of severity `suspect_severity`
    (empty where there is none, or an older release wrote it down): what others bring about raises the incident, and
    hides nobody in it. `acted_ms`, `by`, `comment` and `resolution` are those of the last act.
    """

    id: str
    severity: Severity
    since_ms: int
    until_ms: int
    opened_ms: int
    entities: tuple[str, ...]
    detectors: tuple[str, ...]
    findings: tuple[str, ...]
    worst: str
    worst_severity: Severity
    sentence: str
    state: State = "open"
    revision: int = 0
    acted_ms: int = 0
    by: str | None = None
    comment: str = ""
    resolution: Resolution | None = None
    suspect: str = ""
    suspect_severity: Severity = "low"

    @property
    def is_open(self) -> bool:
        """Tell whether it still takes findings in."""
        return self.state != "closed"


@dataclass(frozen=True, slots=True)
class Changed:
    """What a finding or an act changed: a finding was `detected`, an incident was `opened` or `updated`.

    `finding` is there where one was the cause; `incident` where it belongs to one. `suppressed_by` names what
    suppresses the finding.
    """

    change: Change
    finding: Finding | None
    incident: Incident | None
    suppressed_by: str | None = None


def subjects(finding: Finding) -> tuple[str, ...]:
    """Return the principals and keys that a finding names, its own entity first."""
    signal = finding.signal
    named = [finding.entity]
    if signal.principal is not None:
        named.append(PRINCIPAL + signal.principal)
    if signal.key_id is not None:
        named.append(KEY + signal.key_id)
    return tuple(dict.fromkeys(named))


def blames(detector: str, entity: str) -> bool:
    """Tell whether a finding says of its entity that it did something, or that what it holds was used.

    Not where anybody can bring it about: whoever may do nothing is denied on any key, and whoever sees a signed command
    can send it again.
    """
    return bool(entity) and detector != "replays" and not (detector == "denials" and entity.startswith(KEY))


def incident_id(finding_id: str) -> str:
    """Return the id of the incident that begins with a finding; a UUID (version 8)."""
    return uuid_of("keyfold-incident-v1", finding_id)


class Incidents:
    """All that is remembered. Give it findings and acts; `changed_documents` is what to write down after each."""

    def __init__(self) -> None:
        self.groups: dict[str, Incident] = {}
        self.suppressions: dict[str, Suppression] = {}
        self._by_entity: dict[str, set[str]] = {}
        self._seen: dict[int, dict[str, int]] = {}
        self._now_ms = 0
        self._dirty: set[str] = set()

    def take(self, finding: Finding) -> list[Changed]:
        """Take in a finding. Returns nothing where it is known; else that it was detected, and what it changed."""
        if not self._is_news(finding):
            return []
        self._move_on(finding.signal.until_ms)
        suppression = self._suppressing(finding)
        if suppression is not None:
            return [Changed("detected", finding, None, suppression)]
        before, group = self._joined(finding)
        if _is_incident(group):
            group = replace(group, revision=group.revision + 1)
            if before is None or before.revision == 0:
                group = replace(group, opened_ms=finding.signal.until_ms)
        self._put(group)
        if group.revision == 0:
            return [Changed("detected", finding, None)]
        change: Change = "opened" if group.revision == 1 else "updated"
        return [Changed("detected", finding, group), Changed(change, finding, group)]

    def act(self, act: Act) -> list[Changed]:
        """Take in what an operator did. Returns the incident that it changed, if it is remembered and not so yet."""
        self._move_on(act.time_ms)
        if act.suppression is not None:
            self._suppress(act)
            return []
        group = self.groups.get(act.incident or "")
        state: State = "closed" if act.kind == "close" else "acknowledged"
        if group is None or group.revision == 0 or group.state == "closed":
            return []
        if group.state == state and act.time_ms <= group.acted_ms:  # a later acknowledgement hands it over
            return []
        group = replace(
            group,
            state=state,
            revision=group.revision + 1,
            acted_ms=act.time_ms,
            by=act.by,
            comment=act.comment,
            resolution=act.resolution,
        )
        self._put(group)
        return [Changed("updated", None, group)]

    def documents(self) -> dict[str, Any]:
        """Return everything as small JSON documents by name."""
        names = [_CLOCK, *(_GROUP + name for name in self.groups), *(_SUPPRESSION + name for name in self.suppressions)]
        return {name: self._document(name) for name in (*names, *(f"{_SEEN}{hour}" for hour in self._seen))}

    def changed_documents(self) -> dict[str, Any]:
        """Return the documents that changed since the last call; None for those that are to be removed."""
        changed, self._dirty = self._dirty, set()
        return {name: self._document(name) for name in sorted(changed)}

    @classmethod
    def of_documents(cls, documents: Mapping[str, Any]) -> "Incidents":
        """Return what the documents of `documents` say. Raises `ValueError` for others."""
        made = cls()
        try:
            for name, document in documents.items():
                made._load(name, document)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no memory of incidents: {type(error).__name__}") from None
        return made

    # Findings

    def _is_news(self, finding: Finding) -> bool:
        """Tell whether the finding was not seen, or not as severe; remember it."""
        rank = SEVERITIES.index(finding.signal.severity)
        known = self._seen.setdefault(finding.window_ms, {})
        identifier = finding.id
        if known.get(identifier, -1) >= rank:
            return False
        if identifier in known or len(known) < MAX_SEEN_AN_HOUR:
            known[identifier] = rank
            self._dirty.add(f"{_SEEN}{finding.window_ms}")
        return True

    def _suppressing(self, finding: Finding) -> str | None:
        """Return what suppresses a finding. A key that a principal's finding names beside it does not: whoever uses
        several chooses which of them is named."""
        named = subjects(finding) if finding.entity.startswith(KEY) else (finding.entity,)
        for name, each in sorted(self.suppressions.items()):
            if each.covers(finding.detector, named, finding.signal.until_ms):
                return name
        return None

    def _joined(self, finding: Finding) -> tuple[Incident | None, Incident]:
        """Return the incident that a finding belongs to, as it was and as it is with it.

        Of several the oldest takes it; groups that still wait are taken in too, incidents stay what they are.
        """
        near = self._near(finding)
        if not near:
            begun = _begun(finding)
            if begun.id in self.groups:  # it came before, and has risen since
                begun = replace(begun, id=incident_id(f"{finding.id}.{finding.signal.severity}"))
            return None, begun
        first, *others = near
        group = _with(first, finding)
        for other in others:
            if other.revision == 0:
                group = _suspecting(_merged(group, other), other)
                self._drop(other.id)
        return first, group

    def _near(self, finding: Finding) -> list[Incident]:
        """Return the groups that a finding can join: incidents first, then by age."""
        at = finding.signal.until_ms
        names = {name for subject in subjects(finding) for name in self._by_entity.get(subject, ())}
        found = [self.groups[name] for name in names]
        found = [each for each in found if each.is_open and each.since_ms - JOIN_MS <= at <= each.until_ms + JOIN_MS]
        return sorted(found, key=lambda each: (each.revision == 0, each.since_ms, each.id))

    # Memory

    def _suppress(self, act: Act) -> None:
        suppression = act.suppression
        assert suppression is not None  # noqa: S101 - narrows the type
        if act.kind == "suppress":
            self.suppressions[suppression.name] = suppression
        else:
            self.suppressions.pop(suppression.name, None)
        self._dirty.add(_SUPPRESSION + suppression.name)

    def _put(self, group: Incident) -> None:
        self.groups[group.id] = group
        for entity in group.entities:
            self._by_entity.setdefault(entity, set()).add(group.id)
        self._dirty.add(_GROUP + group.id)
        if len(self.groups) > MAX_GROUPS:
            self._drop(min(self.groups.values(), key=lambda each: (_rest(each), each.id)).id)

    def _drop(self, name: str) -> None:
        for entity in self.groups.pop(name).entities:
            left = self._by_entity[entity]
            left.discard(name)
            if not left:
                del self._by_entity[entity]
        self._dirty.add(_GROUP + name)

    def _move_on(self, time_ms: int) -> None:
        """Let event time go on, and forget, once an hour of it, what nothing can join any more."""
        if time_ms <= self._now_ms:
            return
        hour_before, self._now_ms = self._now_ms // HOUR_MS, time_ms
        self._dirty.add(_CLOCK)
        if time_ms // HOUR_MS == hour_before:
            return
        end = time_ms - KEEP_MS
        for name in [name for name, each in self.groups.items() if _rest(each) < end]:
            self._drop(name)
        for name in [name for name, each in self.suppressions.items() if each.until_ms < end]:
            del self.suppressions[name]
            self._dirty.add(_SUPPRESSION + name)
        for hour in [hour for hour in self._seen if hour + HOUR_MS < end]:
            del self._seen[hour]
            self._dirty.add(f"{_SEEN}{hour}")

    def _document(self, name: str) -> Any:
        if name == _CLOCK:
            return self._now_ms
        kind, _, rest = name.partition("/")
        match kind + "/":
            case "incident/":
                return None if rest not in self.groups else _plain(self.groups[rest])
            case "suppression/":
                return None if rest not in self.suppressions else _plain(self.suppressions[rest])
            case _:
                return self._seen.get(int(rest))

    def _load(self, name: str, document: Any) -> None:
        kind, _, rest = name.partition("/")
        match kind:
            case "clock":
                self._now_ms = int(document)
            case "incident":
                lists = {each: tuple(document[each]) for each in ("entities", "detectors", "findings")}
                group = Incident(**{**document, **lists})
                self.groups[group.id] = group
                for entity in group.entities:
                    self._by_entity.setdefault(entity, set()).add(group.id)
            case "suppression":
                self.suppressions[rest] = Suppression(**document)
            case "seen":
                self._seen[int(rest)] = {str(each): int(rank) for each, rank in document.items()}
            case _:
                raise ValueError(f"no memory of incidents: {kind[:20]!r}")


def correlate(findings: Iterable[Finding]) -> Iterator[Changed]:
    """Yield what findings change, in their order, starting without any memory."""
    incidents = Incidents()
    for finding in findings:
        yield from incidents.take(finding)


def _begun(finding: Finding) -> Incident:
    signal, identifier = finding.signal, finding.id
    return _raised(
        Incident(
            id=incident_id(identifier),
            severity=signal.severity,
            since_ms=signal.until_ms,
            until_ms=signal.until_ms,
            opened_ms=signal.until_ms,
            entities=subjects(finding),
            detectors=(finding.detector,),
            findings=(identifier,),
            worst=identifier,
            worst_severity=signal.severity,
            sentence=_sentence(finding),
            suspect=finding.entity if blames(finding.detector, finding.entity) else "",
            suspect_severity=signal.severity,
        )
    )


def _with(group: Incident, finding: Finding) -> Incident:
    signal, begun = finding.signal, _begun(finding)
    group = _suspecting(_merged(group, begun), begun)
    if SEVERITIES.index(signal.severity) <= SEVERITIES.index(group.worst_severity):
        return group
    return _raised(replace(group, worst=finding.id, worst_severity=signal.severity, sentence=_sentence(finding)))


def _suspecting(group: Incident, other: Incident) -> Incident:
    """Return a group with the suspect of another, if that has a worse one."""
    worse = SEVERITIES.index(other.suspect_severity) > SEVERITIES.index(group.suspect_severity)
    if not other.suspect or (group.suspect and not worse):
        return group
    return replace(group, suspect=other.suspect, suspect_severity=other.suspect_severity)


def _merged(group: Incident, other: Incident) -> Incident:
    """Return a group with what another has; the worst finding stays its own."""
    return _raised(
        replace(
            group,
            since_ms=min(group.since_ms, other.since_ms),
            until_ms=max(group.until_ms, other.until_ms),
            entities=_union(group.entities, other.entities)[:MAX_ENTITIES],
            detectors=tuple(sorted({*group.detectors, *other.detectors})),
            findings=_union(group.findings, other.findings)[:MAX_LISTED],
        )
    )


def _raised(group: Incident) -> Incident:
    """Return a group with the severity that follows from its findings."""
    rank = SEVERITIES.index(group.worst_severity) + (len(group.detectors) >= AGREE)
    return replace(group, severity=SEVERITIES[min(rank, len(SEVERITIES) - 1)])


def _is_incident(group: Incident) -> bool:
    return group.severity != "low"


def _union(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _sentence(finding: Finding) -> str:
    return f"{finding.entity} {finding.signal.sentence}"


def _rest(group: Incident) -> int:
    """Return since when nothing happened to a group."""
    return max(group.until_ms, group.acted_ms)


def _plain(value: Incident | Suppression) -> dict[str, Any]:
    made = {name: getattr(value, name) for name in type(value).__slots__}
    return {name: list(each) if isinstance(each, tuple) else each for name, each in made.items()}
