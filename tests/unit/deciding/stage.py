"""The world of a conformance table: made by an administrator's commands, asked, and answering in the table's words.

Nothing here knows what the right answer is. What a table cannot write down it names: `$orders` is a key's id, `$g` the
id of what the step `as = "g"` made, `$public(carol)` and `$print(carol)` are a signing key and its fingerprint,
`$later(1d)` is a time counted from before the command's own `after` or `at`.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from tests.support.desk import Desk, outcome_of
from tests.support.forks import fork
from tests.support.office import WEEK, Office
from tests.support.people import PARTITIONS, SEALING_KEY, document, key_on, sealing_key, signed_by, signer, uuid
from tests.unit.deciding.issuers import PRINCIPAL, jwks, token

from keyfold.events import facts
from keyfold.events.commands import parse_command
from keyfold.events.entities import DEPLOYMENT, Deployment, Key
from keyfold.events.evolve import evolve, get
from keyfold.events.replies import parse_reply
from keyfold.events.streams import REGISTRY, partition_of
from keyfold.events.times import to_text

ADMINISTRATORS: Final = 'permit (principal in Group::"administrators", action, resource);'
NEXT_SEALING_KEY: Final = uuid(0x5EA2)
UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
REFERENCE: Final = re.compile(r"\$([a-z][a-z0-9-]*)(?:\(([A-Za-z0-9-]+)\))?")
WAYS: Final[dict[str, tuple[tuple[str, dict[str, Any]], ...]]] = {
    "Enabled": (),
    "Failed": (),
    "Disabled": (("DisableKey", {}),),
    "PendingDeletion": (("ScheduleKeyDeletion", {"pending_window_seconds": WEEK}),),
    "Destroyed": (("DestroyKeyNow", {}),),
    "PreActive": (("UpdateKeyValidity", {"not_before": "$later(1d)"}),),
    "Expired": (("UpdateKeyValidity", {"not_after": "$later(-1d)"}),),
    "Compromised": (("MarkKeyCompromised", {"occurred_at": "$later(-1d)"}),),
    "PendingImport": (),
}
AES_IN_HARDWARE: Final = {
    "key_spec": "SYMMETRIC_DEFAULT", "key_usage": "ENCRYPT_DECRYPT", "protection": "HSM",
    "algorithms": ["SYMMETRIC_DEFAULT"],
}  # fmt: skip


def milliseconds(text: str) -> int:
    """Read a span: `7d`, `1h-1ms`."""
    terms = re.findall(r"([+-]?)(\d+)(ms|s|m|h|d)", text)
    return sum((-1 if sign == "-" else 1) * int(number) * UNITS[unit] for sign, number, unit in terms)


class Stage(Office):
    """The world of one table, made by an administrator's commands; every case has a copy of it to itself."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        super().__init__(rules=ADMINISTRATORS)
        self.keys = {name: key_on(self.partition, 1000 * n) for n, name in enumerate(table.get("keys", {}), 1)}
        self.steps: Mapping[str, Any] = table.get("steps", {})
        self.ids: dict[str, str] = {}
        self.desks: dict[int, Desk] = {0: self.front, self.partition: self}
        for name, about in table.get("people", {}).items():
            known = self._resolved(about)
            self.register(name, *known.pop("groups", ()), **known)
        for name, about in table.get("keys", {}).items():
            self._make_key(name, dict(about))
        for name, text in table.get("policies", {}).items():
            self.do({"by": "alice", "verb": "PutPolicy", "on": REGISTRY, "args": {"policy": name, "text": text}})

    def _make_key(self, name: str, about: dict[str, Any]) -> None:
        status, policies = about.pop("status", "Enabled"), about.pop("policies", {})
        if status == "absent":
            return
        wanted = {"origin": "EXTERNAL"} if status == "PendingImport" else {}
        created = self.ask("CreateKey", self.keys[name], arguments=self._resolved(wanted | about))
        assert isinstance(created, facts.KeyCreated), created
        own = [("PutPolicy", {"policy": policy, "text": text}) for policy, text in policies.items()]
        for verb, arguments in (*own, *WAYS[status]):
            assert self.code(verb, self.keys[name], arguments=self._resolved(arguments)) is None
        if status == "Failed":
            about_key = {"key_id": self.keys[name].removeprefix("key/"), "code": "TokenUnavailable"}
            self.finish(outcome_of(created, facts.OperationFailed, **about_key))

    def another(self) -> "Stage":
        made = fork(self)
        made.ids, made.desks = {}, {0: made.front, made.partition: made}
        return made

    def do(self, step: Any) -> None:
        """Carry out what is given: a step, or the name of one. It succeeds, unless it says that it is denied."""
        wish = dict(self.steps[step] if isinstance(step, str) else step)
        if "worker" in wish:
            self._fold(wish["worker"])
            return
        expected = wish.pop("denied", None)
        name = wish.pop("as", None)
        answer = self.answer(wish)
        assert answer.get("denied") == expected, answer
        assert "rejected" not in answer, answer
        if name is not None:
            self.ids[name] = uuid(self.number)

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Decide a command and say what came of it, as a table would."""
        wish = self._resolved(dict(asked))
        self._pass_time(wish)
        by, verb, on = wish.pop("by"), wish.pop("verb"), wish.pop("on")
        stream = {REGISTRY: REGISTRY, "self": f"principal/{by}"}.get(on) or self.keys[on]
        desk = self._desk(stream)
        desk.now_ms = self.now_ms
        self.number += 1
        host, signing = wish.pop("host", ""), signer(wish.pop("signed", by))
        wish = {"arguments": wish.pop("args", {}), "sealing_key": self._sealing_key(), "issued_ms": self.now_ms} | wish
        made = document(verb, stream, self.number, principal=by, **wish)
        made["source"] += f"/{host}" if host else ""
        made["data"]["signing_key"] = signing.fingerprint
        before = len(desk.events)
        desk.decide(signed_by(signing, json.dumps(made).encode(), stream))
        return _said(desk, desk.events[before:])

    def _desk(self, stream: str) -> Desk:
        partition = partition_of(stream, PARTITIONS)
        if partition not in self.desks:
            self.desks[partition] = Desk(partition, self.registry)
        return self.desks[partition]

    def _pass_time(self, wish: dict[str, Any]) -> None:
        moment, span = wish.pop("at", None), wish.pop("after", "")
        if isinstance(moment, datetime):
            self.now_ms = round(moment.timestamp() * 1000)
        self.now_ms += milliseconds(span)

    def _sealing_key(self) -> str | None:
        return get(self.registry, DEPLOYMENT, Deployment).current_sealing_key

    def _fold(self, kind: str) -> None:
        """Let the worker state something: about sealing keys, what its token offers, or that what was decided is done.

        It publishes the next sealing key, and erases the first; the token offers AES keys in hardware, and no import.
        """
        if kind == "KeyMaterialImported":
            self._imported()
            return
        at, event = to_text(self.now_ms), sealing_key(NEXT_SEALING_KEY, self.now_ms)
        if kind == "SealingKeyErased":
            event = facts.SealingKeyErased.new("erased", REGISTRY, at, sealing_key=SEALING_KEY)
        if kind == "TokenCapabilitiesFound":
            offered = {"module": "test", "capabilities": [AES_IN_HARDWARE], "imports": {}}
            event = facts.TokenCapabilitiesFound.new("found", REGISTRY, at, **offered)
        if kind == "StorageEpochKeyDestroyed":
            gone = {"token": "kms", "serial": "1", "module": "test", "answer": "CKR_OK", "found_after": 0}
            event = facts.StorageEpochKeyDestroyed.new("gone", REGISTRY, at, epoch=1, evidence={}, **gone)
        self.front.state.apply(evolve(self.front.state.entities, event))
        self.registry.update(self.front.state.entities)

    def _imported(self) -> None:
        """Carry out the import that was authorized last."""
        event = next(each for each in reversed(self.events) if isinstance(each, facts.CommandAuthorized))
        arguments = parse_command(event.data.decision.command.encode()).data.arguments
        about = event.data.model_dump(include={"key_id", "protection"}) | {"version": event.data.key_version}
        told = arguments.model_dump(include={"import_token", "valid_to"})
        kind = get(self.state.entities, event.subject, Key).model_dump(include={"key_spec", "key_usage"})
        digests = {"blob_digest": "0" * 64, "key_check_value": "aabbcc"}
        self.finish(outcome_of(event, facts.KeyMaterialImported, **about, **told, **kind, **digests))

    def _resolved(self, value: Any) -> Any:
        """Put in what a table can only name: ids, keys of people, times, tokens."""
        if isinstance(value, dict):
            return {name: self._resolved(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._resolved(each) for each in value]
        return REFERENCE.sub(self._reference, value) if isinstance(value, str) else value

    def resolved(self, expected: Mapping[str, Any]) -> Any:
        return self._resolved(dict(expected))

    def _reference(self, found: re.Match[str]) -> str:
        word, about = found[1], found[2]
        if about is None:
            known = {"federated": PRINCIPAL, "jwks": jwks(), "first-sealing-key": SEALING_KEY, "nothing": uuid(0xABC)}
            return known.get(word) or self.ids.get(word) or self.keys[word].removeprefix("key/")
        match word:
            case "public":
                return signer(about).public_key.hex()
            case "print":
                return signer(about).fingerprint
            case "later":
                return to_text(self.now_ms + milliseconds(about))
            case "token":
                return token(about)
            case "digest":
                stream = REGISTRY if f"proposal/{self.ids[about]}" in self.front.state.entities else ""
                return self.proposal(self.ids[about], stream).digest
        raise ValueError(found[0])


def _said(desk: Desk, events: list[facts.Event]) -> dict[str, Any]:
    if not events:
        batch = desk.batches[-1]
        if batch.dead_letters:
            return {"rejected": batch.dead_letters[-1][1].split(":")[0]}
        return {"rejected": parse_reply(batch.replies[-1].value or b"").data.code}
    event = events[0]
    assert isinstance(event, facts.PolicyEvent)
    said: dict[str, Any] = {"policies": event.data.decision.policies}
    match event:
        case facts.CommandDenied():
            return said | {"denied": event.data.code}
        case facts.DryRunSucceeded():
            return said | {"becomes": "DryRunSucceeded", "would_be": facts.BY_TYPE[event.data.would_be].__name__}
        case facts.ProposalApproved():
            status = f"{event.data.status}: {event.data.code}" if event.data.code else event.data.status
            return said | {"becomes": "ProposalApproved", "status": status}
    return said | {"becomes": type(event).__name__}
