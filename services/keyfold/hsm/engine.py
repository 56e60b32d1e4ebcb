"""The engine: one ticket in, its outcome event, keystore records and reply out. Synchronous; any thread may run it.

Order of what is checked: the ticket fits together, a data-plane command is still in time, its body opens and is what
its clear part says. Whatever goes wrong with a ticket costs that ticket: it becomes `OperationFailed` with a code.
Only two things leave: `TokenNeeded` (run it again in a thread) and `TokenUnavailable` (run it again later).

Verbs that state a fact which policy has decided already (disable, destroy, aliases, policies, ...) are carried out also
where the body does not open, since the fact stands; then only the answer is a clear error.
"""

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from keyfold.bus import Outbound
from keyfold.custody import open_body
from keyfold.events import bodies, commands, facts
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.errors import Expired, InternalError, InvalidBody, Refusal, ReplyTooLarge, TokenUnavailable
from keyfold.events.replies import ItemResult, encode_items, usage_mac
from keyfold.events.times import to_milliseconds
from keyfold.hsm import metrics
from keyfold.hsm.answers import MAX_PLAINTEXT_BYTES, Answers
from keyfold.hsm.control_verbs import ControlVerbs, Done, makes_something
from keyfold.hsm.data_verbs import DataVerbs, Served
from keyfold.hsm.errors import TokenNeeded
from keyfold.hsm.keyring import Keyring
from keyfold.hsm.keystore import Draft
from keyfold.hsm.layout import encode_results
from keyfold.hsm.tickets import Ticket
from keyfold.logging import get_logger

_log = get_logger()


@dataclass(frozen=True, slots=True, repr=False)
class Work:
    """What one ticket adds to the transaction, and the reply that leaves after it. The outcome is the last event.

    `receipt_key` is the caller's reply key where the caller asked for a receipt and the body opened; else empty.
    """

    events: tuple[facts.Event, ...]
    stored: tuple[facts.Event, ...] = ()
    reply: Outbound | None = None
    ticket: Ticket | None = None
    receipt_key: bytes = b""


@dataclass(frozen=True, slots=True, repr=False)
class _Opened:
    """An opened body: its exact bytes, and what is in it."""

    raw: bytes
    body: bodies.Body


class Engine:
    """Executes tickets of all partitions of one process; what it changes is in the draft it is given."""

    def __init__(
        self,
        keyring: Keyring,
        data_verbs: DataVerbs,
        control_verbs: ControlVerbs,
        answers: Answers,
        clock_ms: Callable[[], int],
    ) -> None:
        self._keyring, self._data_verbs, self.control_verbs = keyring, data_verbs, control_verbs
        self._answers, self._clock_ms = answers, clock_ms

    def execute(self, ticket: Ticket, draft: Draft, *, token: bool) -> Work:
        """Execute one ticket. Without `token`, nothing asks the token. Raises `TokenNeeded`, `TokenUnavailable`."""
        opened: list[_Opened] = []
        began = perf_counter()
        try:
            work = self._execute(ticket, draft, opened, token=token)
        except (TokenNeeded, TokenUnavailable):
            raise
        except Refusal as refusal:
            return self._failed(ticket, refusal.code, opened)
        except Exception as error:  # noqa: BLE001 - whatever a record causes costs that record only
            _log.error("ticket-failed", **_where(ticket, error))
            return self._failed(ticket, InternalError.code, opened)
        metrics.executed(ticket.verb, perf_counter() - began)
        for record in work.stored:
            draft.fold(record)
        return _asked(work, opened)

    def fail(self, ticket: Ticket, code: str) -> Work:
        """Give up a ticket; its caller is told under seal if the body opens without asking the token."""
        opened: list[_Opened] = []
        try:
            opened.append(self._open(ticket, token=False))
        except Exception as error:  # noqa: BLE001 - then the answer is a clear one
            _log.debug("body-not-opened", **_where(ticket, error))
        return self._failed(ticket, code, opened)

    def _execute(self, ticket: Ticket, draft: Draft, opened: list[_Opened], *, token: bool) -> Work:
        command = ticket.command
        if ticket.refusal is not None or command is None:
            raise ticket.refusal or InvalidBody()
        if isinstance(command.data, DataPlaneData):
            if to_milliseconds(command.data.expires_at) < self._clock_ms():
                raise Expired
            opened.append(self._open(ticket, token=token))
            if isinstance(command, commands.ImportKeyMaterial):
                wrapped = opened[0].body.items[0][1]
                done = self.control_verbs.material.import_material(ticket, command, wrapped, draft)
                return self._done(ticket, done, opened, None)
            served = self._data_verbs.serve(ticket, command, opened[0].body.items, draft, token=token)
            return self._served(ticket, command.data, opened[0], served)
        refusal = self._try_to_open(ticket, opened, token=token)
        return self._done(ticket, self.control_verbs.carry_out(ticket, draft), opened, refusal)

    def _try_to_open(self, ticket: Ticket, opened: list[_Opened], *, token: bool) -> Refusal | None:
        try:
            opened.append(self._open(ticket, token=token))
        except TokenUnavailable:
            raise
        except Refusal as refusal:
            if makes_something(ticket):
                raise
            return refusal
        return None

    def _open(self, ticket: Ticket, *, token: bool) -> _Opened:
        command = ticket.command
        if command is None:
            raise InvalidBody
        private_key = self._keyring.private(command.data.sealing_key, token=token)
        raw = open_body(private_key, ticket.sealed, bodies.info(ticket.value))
        data = command.data
        if isinstance(data, DataPlaneData):
            counts = {"items": data.items, "total_bytes": data.bytes, "contexts": len(data.contexts)}
        else:
            counts = {"items": 0, "total_bytes": 0, "contexts": 0}
        return _Opened(raw, bodies.decode(raw, **counts))

    def _served(self, ticket: Ticket, data: DataPlaneData[Any], opened: _Opened, served: Served) -> Work:
        plaintext = encode_results(served.results, served.failures)
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise ReplyTooLarge
        reply_key = opened.body.reply_key
        mac = usage_mac(reply_key, ticket.decision.command_digest, opened.raw, plaintext)
        if ticket.key_id is None:
            size = sum(len(result) for result in served.results)
            outcome = _outcome(facts.CommandCompleted, ticket, items=data.items, bytes=size, mac=mac)
        else:
            use = {"versions": served.versions, "opened": served.opened, "failures": served.failures, "mac": mac}
            outcome = _outcome(facts.KeyUsed, ticket, key_id=ticket.key_id, items=data.items, bytes=data.bytes, **use)
        reply = self._answers.sealed(ticket, reply_key, outcome.type_name, plaintext)
        return Work((outcome,), reply=reply, ticket=ticket)

    def _done(self, ticket: Ticket, done: Done, opened: list[_Opened], refusal: Refusal | None) -> Work:
        outcome = _outcome(done.outcome, ticket, **done.fields)
        if done.code is not None:
            return replace(self._failed(ticket, done.code, opened), stored=done.stored)
        if opened:
            summary = json.dumps(done.summary, separators=(",", ":")).encode()
            plaintext = encode_items([ItemResult(summary)])
            reply = self._answers.sealed(ticket, opened[0].body.reply_key, outcome.type_name, plaintext)
        else:
            reply = self._answers.clear(ticket, refusal.code if refusal else InternalError.code)
        return Work((*done.events, outcome), done.stored, reply, ticket)

    def _failed(self, ticket: Ticket, code: str, opened: list[_Opened]) -> Work:
        outcome = _outcome(facts.OperationFailed, ticket, key_id=ticket.key_id, code=code)
        if opened:
            reply_key = opened[0].body.reply_key
            reply = self._answers.sealed(ticket, reply_key, outcome.type_name, encode_items([]), code)
        else:
            reply = self._answers.clear(ticket, code)
        return _asked(Work((outcome,), reply=reply, ticket=ticket), opened)


def _asked(work: Work, opened: Sequence[_Opened]) -> Work:
    """Note the key that a receipt is sealed with, where one was asked for."""
    command = work.ticket.command if work.ticket is not None else None
    if command is None or not command.data.receipt or not opened:
        return work
    return replace(work, receipt_key=opened[0].body.reply_key)


def _outcome(kind: type[facts.Outcome], ticket: Ticket, **fields: Any) -> facts.Event:
    """State the one outcome; its time is the decision's, so that it does not depend on when it was executed."""
    decision = ticket.decision
    return kind.new(
        f"{ticket.partition}.{decision.offset}.outcome",
        ticket.stream,
        ticket.event.time,
        offset=decision.offset,
        command_id=ticket.command_id,
        command_digest=decision.command_digest,
        principal=ticket.principal,
        verb=ticket.verb,
        **fields,
    )


def _where(ticket: Ticket, error: Exception) -> dict[str, Any]:
    """What may be logged of an unexpected error: its type and place; its text might quote what is secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return {
        "command_id": ticket.command_id,
        "partition": ticket.partition,
        "offset": ticket.decision.offset,
        "error": type(error).__name__,
        "place": place,
    }
