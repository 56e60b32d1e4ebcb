"""Bad commands on the running system: each gets its typed answer, an event or a dead letter, and nothing stops.

After every bad record a good command on the same partition is executed and answered. What was planted in bad and good
commands alike is looked for at the end of the run, in `test_secrets`.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support.forge import Document, Forged, damaged, new_id, now_ms, repeated, without
from tests.support.scene import PLAIN, SECRET, Stage, partition_stream

from keyfold.bus import BusError, BusUnavailable, Outbound
from keyfold.events import bodies, facts, topics
from keyfold.events.errors import SealingKeyRetired
from keyfold.events.replies import parse_reply
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.streams import REGISTRY, key_stream, principal_stream
from keyfold.events.times import to_text

pytestmark = pytest.mark.stack
pytest_plugins = ["tests.support.running_stack"]

CONTEXT = {"purpose": "bad input"}


def change(**fields: Any) -> Callable[[Document], None]:
    """Replace top fields of a document."""
    return lambda document: document.update(fields)


def change_data(**fields: Any) -> Callable[[Document], None]:
    """Replace fields of a document's data."""
    return lambda document: document["data"].update(fields)


def later(document: Document, *, issued_ms: int, lifetime_ms: int) -> None:
    """Move a document in time, relative to now."""
    issued = now_ms() + issued_ms
    document["time"] = to_text(issued)
    document["data"]["expires_at"] = to_text(issued + lifetime_ms)


# What is no command


@pytest.mark.parametrize(
    "value",
    [
        PLAIN.encode(),
        b"",
        b"\xff\xfe" + PLAIN.encode(),
        f'["{PLAIN}"]'.encode(),
        f'{{"type":"a","type":"{PLAIN}"}}'.encode(),
        f'{{"data":NaN,"{PLAIN}":1}}'.encode(),
        b'{"a":' * 5000 + f'"{PLAIN}"'.encode() + b"}" * 5000,
        b"[" * 200_000 + PLAIN.encode(),
    ],
    ids=["text", "empty", "not-utf8", "array", "duplicate-names", "nan", "deep", "very-deep"],
)
async def test_what_is_not_one_json_object_is_a_dead_letter(on: Stage, value: bytes) -> None:
    """Signed by a known principal or not: there is no reply address in it, so nobody is told."""
    await on.rejected(on.encrypt(value=value), "InvalidCommand", told=False)


async def test_a_stranger_costs_a_dead_letter_whatever_it_says(on: Stage) -> None:
    """Without a known signer nothing is parsed, and no reply is sent: the address could be anybody's."""
    await on.rejected(on.encrypt(headers=lambda _: ()), "UnknownPrincipal", told=False)
    await on.rejected(on.encrypt(who="stranger"), "UnknownPrincipal", told=False)


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (change(type="keyfold.command.MeltKey.v1"), "UnsupportedVersion"),
        (change(type="keyfold.command.Encrypt.v2"), "UnsupportedVersion"),
        (change(type=None), "UnsupportedVersion"),
        (change(specversion="2.0"), "InvalidCommand"),
        (change_data(**{PLAIN: PLAIN}), "InvalidCommand"),
        (change_data(items="1"), "InvalidCommand"),
        (change_data(items=-1), "InvalidCommand"),
        (change_data(contexts=[]), "InvalidCommand"),
        (change_data(contexts=[{"a": {"b": PLAIN}}]), "InvalidCommand"),
    ],
    ids=["verb", "version", "none", "specversion", "field", "type", "negative", "no-context", "nested"],
)
async def test_a_document_that_is_no_known_command_is_refused_to_its_author(
    on: Stage, edit: Callable[[Document], None], code: str
) -> None:
    """It is signed, so its author is told by the id that the author gave it; the reason names no value of it."""
    command = on.encrypt(edit=edit)
    await on.rejected(command, code, told=True)
    assert on.wire.replies_to(command)[0].data.command_id == command.id


async def test_what_stores_could_not_hold_is_refused(on: Stage) -> None:
    """More than sixteen levels, and U+0000, are refused before any model sees them, even to find who asked."""
    nest: dict[str, Any] = {}
    for _ in range(20):
        nest = {"a": nest}
    await on.rejected(on.encrypt(edit=change(extra=nest)), "InvalidCommand", told=False)
    await on.rejected(on.encrypt(edit=change_data(contexts=[{"a": "\0" + PLAIN}])), "InvalidCommand", told=False)


# Who


@pytest.mark.parametrize(
    "parts",
    [
        {"headers": without(SIGNATURE_HEADER)},
        {"signature": os.urandom(64)},
        {"signature": b""},
        {"headers": repeated(SIGNATURE_HEADER)},
        {"headers": repeated(SEALED_HEADER)},
        {"headers": without(SEALED_HEADER)},
        {"headers": lambda honest: tuple((n, damaged(v, 9) if n == SEALED_HEADER else v) for n, v in honest)},
    ],
    ids=["missing", "wrong", "empty", "repeated", "two-bodies", "no-body", "other-body"],
)
async def test_a_signature_that_does_not_fit_is_a_dead_letter(on: Stage, parts: dict[str, Any]) -> None:
    """The reply address is as unauthentic as the rest."""
    await on.rejected(on.encrypt(**parts), "SignatureInvalid", told=False)


async def test_repeated_signers_are_nobody(on: Stage) -> None:
    """A header that stands twice is ambiguous, so it counts as missing."""
    await on.rejected(on.encrypt(headers=repeated(SIGNER_HEADER)), "UnknownPrincipal", told=False)


async def test_another_deployments_signature_is_worth_nothing_here(on: Stage) -> None:
    """The deployment is signed: commands of a test deployment cannot be replayed in production."""
    elsewhere = replace(on.scene.people["alice"], deployment="0" * 64)
    command = on.forge().acting_as(elsewhere).command("Encrypt", on.scene.stream("software"), items=[(0, SECRET)])
    await on.rejected(command, "SignatureInvalid", told=False)


async def test_a_principal_speaks_for_itself_only(on: Stage) -> None:
    """A command that names another principal than signed it is refused, without a reply."""
    alice = on.scene.people["alice"].name
    lie = change_data(principal=alice)
    await on.rejected(on.encrypt(who="mallory", edit=lie), "SignatureInvalid", told=False)


async def test_a_revoked_principal_is_denied(on: Stage) -> None:
    """It is authentic, so the denial is a fact."""
    await on.refused(on.encrypt(who="rita"), "PrincipalRevoked")


# When


async def test_an_expired_command_is_refused(on: Stage) -> None:
    """It may be anybody's replay: a dead letter and an answer, no event."""
    edit = lambda document: later(document, issued_ms=-120_000, lifetime_ms=60_000)  # noqa: E731
    await on.rejected(on.encrypt(edit=edit), "Expired", told=True)


@pytest.mark.parametrize(
    ("issued_ms", "lifetime_ms"), [(0, 16 * 60_000), (3_600_000, 60_000), (30_000, -1)], ids=["long", "future", "past"]
)
async def test_a_command_lives_for_fifteen_minutes_at_most(on: Stage, issued_ms: int, lifetime_ms: int) -> None:
    """Idempotency is remembered that long, so nothing may be valid for longer."""
    edit = lambda document: later(document, issued_ms=issued_ms, lifetime_ms=lifetime_ms)  # noqa: E731
    await on.rejected(on.encrypt(edit=edit), "InvalidCommand", told=True)


# Again


async def test_the_same_bytes_again_are_executed_once(on: Stage) -> None:
    """In flight they are ignored; afterwards they get AlreadyExecuted with the outcome; one result, one outcome."""
    command = on.encrypt()
    await asyncio.gather(*(on.send(command) for _ in range(5)))
    await on.wire.event(command, facts.Outcome)
    await on.goes_on(on.scene.stream("software"))
    while "AlreadyExecuted" not in _codes(on, command):  # policy may not have folded the outcome yet
        await on.send(command)
        await asyncio.sleep(0.2)
    await on.goes_on(on.scene.stream("software"))
    assert _codes(on, command).count(None) == 1
    assert set(_codes(on, command)) == {None, "AlreadyExecuted"}
    again = next(told for told in on.wire.replies_to(command) if told.data.code)
    assert (again.sealed, again.data.outcome) == (False, facts.KeyUsed.type_name)
    assert [type(event) for event in on.wire.events_of(command)] == [facts.CommandAuthorized, facts.KeyUsed]


async def test_somebody_elses_replay_answers_to_the_signed_address_only(on: Stage) -> None:
    """Who copies a command from the topic cannot have its answer sent elsewhere: correlation headers are not read."""
    command = on.encrypt(headers=lambda honest: (*honest[:3], ("kafka_correlationId", PLAIN.encode())))
    await on.send(command)
    assert (await on.wire.told(command)).data.code is None


async def test_an_id_with_another_body_is_a_conflict(on: Stage) -> None:
    """Neither is executed in the other's name; the original's result stands."""
    first = on.encrypt()
    await on.send(first)
    await on.wire.event(first, facts.KeyUsed)
    for second in (
        on.encrypt(items=[(0, SECRET + b"another")], edit=change(id=first.id)),
        on.encrypt(value=first.value, body=bodies.encode(os.urandom(32), [(0, SECRET + b"other")])),
    ):
        place = await on.send(second)
        assert await _clear_answer(on, second) == "IdempotencyConflict"
        await on.dead(place, "IdempotencyConflict", second.record)
    await on.goes_on(on.scene.stream("software"))
    assert [type(event) for event in on.wire.events_of(first)] == [facts.CommandAuthorized, facts.KeyUsed]


# The sealed body


async def test_a_body_sealed_to_an_old_key_is_refused_and_the_sdk_seals_it_again(on: Stage) -> None:
    """After a rotation by the scheduler, the old key's commands are SealingKeyRetired."""
    old = on.forge()
    async with on.scene.client("alice") as kms, on.scene.client("scheduler") as scheduler:
        await kms.encrypt(on.scene.keys["software"], SECRET)
        await scheduler.rotate_sealing_key()
        await on.wire.until(lambda: on.wire.sealing_key.id != old.sealing_key.id or None, "the new sealing key")
        command = old.command("Encrypt", on.scene.stream("software"), items=[(0, SECRET)])
        await on.refused(command, SealingKeyRetired.code)
        assert await kms.encrypt(on.scene.keys["software"], SECRET)


@pytest.mark.parametrize(
    "parts",
    [
        {"data": {"items": 2}},
        {"data": {"bytes": 1}},
        {"data": {"items": 1000, "bytes": 0}},
        {"body": b""},
        {"body": bytes(5)},
        {"body": b"\2" + bodies.encode(bytes(32), [(0, SECRET)])[1:], "data": {"bytes": len(SECRET)}},
        {"body": bodies.encode(bytes(32), [(7, SECRET)]), "data": {"bytes": len(SECRET)}},
        {"body": bodies.encode(bytes(32), [(0, SECRET)])[:-1], "data": {"bytes": len(SECRET)}},
        {"body": bodies.encode(bytes(32), [(0, SECRET)]) + b"x", "data": {"bytes": len(SECRET)}},
        {"sealed": b""},
        {"sealed": os.urandom(1300)},
    ],
    ids=[
        "more-items",
        "fewer-bytes",
        "many-items",
        "empty",
        "short",
        "version",
        "context-index",
        "cut",
        "longer",
        "none",
        "noise",
    ],
)
async def test_a_body_that_is_not_what_the_clear_part_says_is_refused(on: Stage, parts: dict[str, Any]) -> None:
    """Policy charged by the clear part; the worker holds the body against it. The answer is clear: no key was read."""
    told = await on.failed(on.encrypt(**parts), "InvalidBody")
    assert not told.sealed


async def test_a_body_lifted_into_somebody_elses_command_does_not_open(on: Stage) -> None:
    """Mallory cannot have alice's plaintext encrypted under a key or context of her own, or returned to herself."""
    victim = on.encrypt(contexts=[CONTEXT])
    await on.send(victim)
    thief = on.encrypt("other", who="mallory", sealed=victim.sealed, items=[(0, SECRET + b"item")])
    await on.failed(thief, "InvalidBody")
    copied = dict(victim.document, data=dict(victim.document["data"]))
    copied["data"] |= {"principal": thief.document["data"]["principal"]}
    copied["data"] |= {"signing_key": on.scene.people["mallory"].signer.fingerprint}
    copied |= {"source": thief.document["source"], "id": thief.id[:-4] + "0000"}
    copied["data"]["reply"] = dict(copied["data"]["reply"], correlation_id=copied["id"])
    await on.failed(
        on.encrypt(who="mallory", edit=lambda document: document.update(copied), sealed=victim.sealed), "InvalidBody"
    )


async def test_a_key_whose_creation_has_no_readable_body_gets_no_material(on: Stage) -> None:
    """The creation fails as a whole; the key is there, failed, and is not used."""
    stream = partition_stream(on.scene, 1)
    key = key_stream(new_id())
    command = on.forge("admin").command("CreateKey", key, sealed=b"\1" + os.urandom(1200))
    await on.send(command)
    assert (await on.wire.told(command)).data.code == "InvalidBody"
    assert (await on.wire.event(command, facts.OperationFailed)).code == "InvalidBody"
    use = on.forge().command("Encrypt", key, items=[(0, SECRET)])
    await on.send(use)
    assert (await on.wire.told(use)).data.code == "InvalidState"
    await on.goes_on(stream)


# Sizes


async def test_a_batch_over_the_limit_is_refused(on: Stage) -> None:
    """1,001 items, whether they are there or only said to be."""
    await on.refused(on.encrypt(items=[(0, b"x")] * 1001), "BatchTooLarge")
    await on.refused(on.encrypt(data={"items": 10**9}), "BatchTooLarge")
    await on.refused(on.encrypt(data={"bytes": 10**12}), "BatchTooLarge")


async def test_an_oversized_value_is_refused(on: Stage) -> None:
    """A document of more than 256 KiB would not fit the event that quotes it."""
    huge = [{"a": PLAIN + "x" * 300_000}]
    await on.rejected(on.encrypt(contexts=huge), "BatchTooLarge", told=True)


async def test_an_oversized_record_never_reaches_the_topic(on: Stage) -> None:
    """The topic takes a MiB; a producer that insists is refused by the broker."""
    huge = on.encrypt(items=[(0, SECRET + bytes(1_100_000))])
    with pytest.raises((BusError, BusUnavailable)):
        await on.send(huge)
    await on.goes_on(on.scene.stream("software"))


# Misplaced


async def test_a_command_out_of_its_place_is_a_dead_letter(on: Stage) -> None:
    """Wrong partition, a record key that is no stream, or none."""
    stream, count = partition_stream(on.scene, 1), on.scene.config.partitions
    for parts in (
        {"partition": 2 % count},
        {"partition": 0},
        {"key": b""},
        {"key": PLAIN.encode()},
        {"key": b"\xff\xfe"},
        {"key": REGISTRY.encode()},
        {"key": b"key/" + PLAIN.encode()},
    ):
        misplaced = on.forge().command("Encrypt", stream, items=[(0, SECRET)], **parts)
        await on.rejected(misplaced, "InvalidCommand", told=False)


async def test_a_record_key_that_is_not_the_commands_stream_is_refused(on: Stage) -> None:
    """Signed for one stream, said of another: its author is told."""
    command = on.forge().command(
        "GenerateRandom",
        principal_stream(on.scene.people["alice"].name),
        items=[(0, b"")],
        edit=change(subject=on.scene.stream("software")),
    )
    await on.rejected(command, "InvalidCommand", told=True)


async def test_a_verb_on_the_wrong_kind_of_stream_is_refused(on: Stage) -> None:
    """Registry verbs on a key, key verbs on the registry, and others' principal streams."""
    mallory = principal_stream(on.scene.people["mallory"].name)
    await on.rejected(on.forge().command("RotateKey", REGISTRY), "InvalidCommand", told=True)
    await on.rejected(on.forge().command("GenerateRandom", mallory, items=[(0, b"")]), "InvalidCommand", told=True)
    arguments = {"alias": "alias/x", "key_id": on.scene.keys["software"]}
    on_key = on.forge("admin").command("CreateAlias", on.scene.stream("software"), arguments=arguments)
    await on.rejected(on_key, "InvalidCommand", told=True)


@pytest.mark.parametrize(("keyed", "value"), [(True, None), (False, b"{}")], ids=["value", "key"])
async def test_null_records_are_dead_letters(on: Stage, keyed: bool, value: bytes | None) -> None:
    """Commands are never deleted by null: nothing on this topic is compacted."""
    stream = partition_stream(on.scene, 1)
    record = Outbound(topics.COMMANDS, 1, stream.encode() if keyed else None, value)
    await on.dead((topics.COMMANDS, 1, await on.wire.send(record)), "InvalidCommand", record)
    await on.goes_on(stream)


async def test_a_storm_of_garbage_neither_stops_a_partition_nor_fills_the_dead_letters(on: Stage) -> None:
    """Strangers' records cost a bounded number of dead letters, and good commands between them are served."""
    stream = partition_stream(on.scene, 1)
    garbage = [Outbound(topics.COMMANDS, 1, stream.encode(), PLAIN.encode() + os.urandom(50)) for _ in range(400)]
    for record in garbage:
        await on.wire.sender.send(record)
    await on.wire.sender.flush()
    await on.goes_on(stream)
    assert len([letter for letter in on.wire.letters if letter["service"] == "policy"]) < 300


def _codes(on: Stage, command: Forged) -> list[str | None]:
    return [told.data.code for told in on.wire.replies_to(command)]


async def _clear_answer(on: Stage, command: Forged) -> str | None:
    """The code that was answered to exactly these bytes; correlation ids may be shared."""

    def find() -> str | None:
        told = [parse_reply(record.value or b"").data for record in on.wire.replies]
        return next((data.code for data in told if data.code and data.command_digest == command.digest), None)

    return await on.wire.until(find, f"the answer to {command.digest}")
