"""Forged, replayed and misplaced records on the services' own topics: ignored by everybody alike, and reported.

Each test writes with a plain producer what nobody may believe, and then shows that state is what it was and that good
commands are served. What must stop a partition is in `test_bad_input_stops`, on a system of its own.
"""

import asyncio
import json
import os
import signal
import time
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.support.forge import signed_record
from tests.support.intruder import administrator, copy_of, forgeries, last_of, service_key
from tests.support.scene import FORGED, SECRET, Stage, partition_stream

from keyfold.bus import Inbound, Outbound
from keyfold.embedded import Stack
from keyfold.events import facts, topics
from keyfold.events.command_envelope import Command
from keyfold.events.commands import parse_command
from keyfold.events.directory import directory_partition
from keyfold.events.replies import CORRELATION_HEADER, Reply, ReplyData
from keyfold.events.signatures import Signer, reply_message
from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER, Entry
from keyfold.events.streams import REGISTRY

pytestmark = pytest.mark.stack
pytest_plugins = ["tests.support.running_stack"]


async def ticket(on: Stage) -> Inbound:
    """Have a good command executed and return its ticket."""
    command = on.encrypt()
    await on.send(command)
    await on.wire.event(command, facts.KeyUsed)
    return await last_of(on.wire.bus, topics.AUTHORIZED, command.record.partition)


async def test_a_replayed_ticket_is_reported_and_ignored(on: Stage) -> None:
    """Every record of the chain stands once; a copy is a repeat, has no second outcome and no second reply."""
    genuine = await ticket(on)
    outcomes = _outcomes(on)
    for _ in range(3):
        place = (genuine.topic, genuine.partition, await on.wire.send(copy_of(genuine)))
        await on.dead(place, "ChainRepeat", copy_of(genuine), "hsm")
    await on.goes_on(on.scene.stream("software"))
    assert _outcomes(on) == outcomes + 1


async def test_a_ticket_that_policy_did_not_write_is_reported_and_ignored(on: Stage) -> None:
    """Unsigned, null, misplaced, altered, or by another author, a stranger or a service: nothing is executed."""
    genuine = await ticket(on)
    outcomes = _outcomes(on)
    for what, record in forgeries(genuine, on.scene.config, FORGED):
        place = (record.topic, record.partition, await on.wire.send(record))
        letter = await on.wire.letter(place, "hsm")
        assert letter["reason"].startswith("UntrustedRecord:"), what
        assert FORGED.decode() not in str(letter), what
    for partition in range(1, on.scene.config.partitions):
        await on.goes_on(partition_stream(on.scene, partition))
    assert _outcomes(on) == outcomes + on.scene.config.partitions - 1


async def test_a_ticket_with_another_commands_body_is_refused(on: Stage) -> None:
    """The body is a part of the leaf: exchanging it breaks the path."""
    genuine, other = await ticket(on), await ticket(on)
    swapped = tuple((n, other.header(SEALED_HEADER) or b"" if n == SEALED_HEADER else v) for n, v in genuine.headers)
    record = copy_of(genuine, headers=swapped)
    await on.dead((record.topic, record.partition, await on.wire.send(record)), "UntrustedRecord", record, "hsm")
    await on.goes_on(on.scene.stream("software"))


async def test_events_that_their_author_did_not_write_change_nothing(on: Stage) -> None:
    """Policy's and the worker's events, forged in every way: the projector reports, policy and state stand."""
    await ticket(on)
    partition = on.encrypt().record.partition
    genuine = [next(r for r, event in on.wire.events if event.role == role) for role in ("policy", "hsm")]
    written = []
    for origin in genuine:
        for what, record in forgeries(origin, on.scene.config, FORGED):
            written.append((what, record.partition, await on.wire.send(record)))
    log = on.scene.config.logs_directory / "projector.log"
    for what, number, offset in written:  # each is in the log; dead letters are limited to so many a second
        line = await on.wire.until(partial(_refusal, log, number, offset), f"the report of {what}")
        assert line["code"] == "UntrustedRecord", what
    assert await on.wire.letter((topics.EVENTS, *written[0][1:]), "projector")
    await asyncio.sleep(1)
    for origin in genuine:
        place = (origin.topic, origin.partition, await on.wire.send(copy_of(origin)))
        await on.dead(place, "ChainRepeat", copy_of(origin), "projector")
    assert partition == genuine[0].partition
    await on.goes_on(on.scene.stream("software"))


async def test_a_forged_event_does_not_enable_a_key(on: Stage) -> None:
    """A stranger's, or another service's, word on a key's state is a leaf at most, never state."""
    key_id, stream = on.scene.keys["disabled"], on.scene.stream("disabled")
    decision = facts.Decision(
        command="{}", command_digest="0" * 64, body_digest="0" * 64, signature="", offset=0,
        policies=[], registry_revision=1, facts_n=0,
    )  # fmt: skip
    event = facts.KeyEnabled.new("forged", stream, "2026-11-24T00:00:00.000Z", decision=decision, key_id=key_id)
    partition = on.forge().command("Encrypt", stream).record.partition
    for role in ("projector", "notary", "hsm"):
        signer = service_key(on.scene.config, role)
        for claimed in {role, "policy"} - {"hsm"}:
            entry = Entry(stream.encode(), event.to_value())
            deployment = on.scene.config.deployment or ""
            await on.wire.send(signed_record(signer, deployment, claimed, (topics.EVENTS, partition), entry))
    command = on.encrypt("disabled")
    await on.send(command)
    assert (await on.wire.told(command)).data.code == "KeyDisabled"
    await on.goes_on()


async def test_a_forged_registration_makes_no_administrator(on: Stage) -> None:
    """Partition 0 is read by every process; none believes a stranger, a service, or who says it is root."""
    stranger, config = on.scene.people["stranger"], on.scene.config
    event = administrator(stranger.name, stranger.signer)
    entry = Entry(REGISTRY.encode(), event.to_value())
    place = (topics.EVENTS, 0)
    await on.wire.send(Outbound(*place, entry.key, entry.value))
    for signer in (stranger.signer, service_key(config, "hsm"), service_key(config, "projector")):
        for role in ("policy", "root"):
            await on.wire.send(signed_record(signer, config.deployment or "", role, place, entry))
    await on.goes_on(REGISTRY)
    await on.rejected(on.encrypt(who="stranger"), "UnknownPrincipal", told=False)
    assert "registry-record-ignored" in (config.logs_directory / "policy.log").read_text()


async def test_forged_keystore_records_are_ignored_by_running_workers(on: Stage) -> None:
    """A stranger's sealing key or key material is never opened; what is there goes on being used."""
    for partition in range(on.scene.config.partitions):
        genuine = await last_of(on.wire.bus, topics.KEYSTORE, partition)
        for _, record in forgeries(genuine, on.scene.config, FORGED):
            await on.wire.send(record)
        await on.wire.send(copy_of(genuine))
    log = on.scene.config.logs_directory / "hsm.log"
    await on.wire.until(lambda: "keystore-record-ignored" in log.read_text() or None, "the worker's report")
    for partition in range(on.scene.config.partitions):
        await on.goes_on(partition_stream(on.scene, partition))


async def test_a_forged_directory_misleads_no_client(on: Stage) -> None:
    """Clients believe an author's signature, not a place: aliases and sealing keys are what the services said."""
    alias, keys, config = on.scene.aliases["orders"], on.scene.keys, on.scene.config
    partition = directory_partition(alias, config.partitions)
    genuine = await on.wire.until_async(lambda: _directory_record(on, alias, partition), "the alias in the directory")
    sealing = await _directory_record(on, f"sealing-key/{on.wire.sealing_key.id}", 0)
    assert sealing is not None
    other = (genuine.value or b"").replace(keys["software"].encode(), keys["other"].encode())
    mine = facts.parse_event(other)
    async with on.scene.client("alice") as kms:
        assert await kms.resolve(alias) == keys["software"]
        before = kms.counters()["untrusted_directory_records"]
    stranger = Signer(os.urandom(32))
    entry = Entry(mine.subject.encode(), other)
    signed = signed_record(stranger, config.deployment or "", "policy", (topics.EVENTS, 0), entry)
    for record in (
        copy_of(genuine, value=None),
        copy_of(genuine, headers=()),
        copy_of(genuine, value=other),
        copy_of(genuine, key=b"alias/another"),
        Outbound(topics.DIRECTORY, partition, alias.encode(), other, signed.headers),
        Outbound(topics.DIRECTORY, partition, alias.encode(), FORGED),
        copy_of(sealing, value=(sealing.value or b"").replace(b'"public_key":"', b'"public_key":"00', 1)),
        copy_of(sealing, value=None),
        copy_of(sealing, headers=()),
        copy_of(genuine),
        copy_of(sealing),
    ):
        await on.wire.send(record)
    async with on.scene.client("alice") as kms:
        assert await kms.resolve(alias) == keys["software"]
        assert await kms.decrypt(alias, await kms.encrypt(alias, SECRET)) == SECRET
        assert kms.counters()["untrusted_directory_records"] == before + 9


async def test_forged_replies_are_ignored_and_the_real_one_arrives(on: Stage) -> None:
    """A client takes a result only if it opens with its reply key, an error only from a certified service."""
    stack = Stack(on.scene.config.data_directory)
    async with on.scene.client("alice") as kms:
        key = on.scene.keys["software"]
        await kms.encrypt(key, SECRET)
        reader = on.wire.bus.reader(topics.COMMANDS, on.encrypt().record.partition, committed=False)
        await reader.start(None)
        async for _ in reader.read_to_end():
            pass
        await asyncio.to_thread(stack.kill, "hsm", signal.SIGSTOP)
        try:
            call = asyncio.create_task(kms.encrypt(key, SECRET + b"under attack"))
            (record,) = await reader.poll(5)
            forged = _false_replies(on, parse_command(record.value or b""), record)
            for reply in forged:
                await on.wire.send(reply)
            began = time.monotonic()
            while kms.counters()["unauthentic_replies"] < len(forged):
                assert time.monotonic() < began + 5, kms.counters()
                await asyncio.sleep(0.01)
            assert not call.done()
        finally:
            await asyncio.to_thread(stack.kill, "hsm", signal.SIGCONT)
            await reader.stop()
        assert await kms.decrypt(key, await call) == SECRET + b"under attack"
        assert kms.counters()["unauthentic_replies"] == len(forged)


@pytest.mark.parametrize("topic", [topics.DEAD_LETTERS, topics.ALERTS, topics.CHECKPOINTS])
async def test_garbage_on_what_nobody_decides_by_changes_nothing(on: Stage, topic: str) -> None:
    """Dead letters, alerts and checkpoints are for people: a forged one stops no service."""
    for value in (b"", FORGED, b"{}", os.urandom(100)):
        await on.wire.send(Outbound(topic, 0, None, value))
    await on.rejected(on.encrypt(who="stranger"), "UnknownPrincipal", told=False)


def _refusal(log: Path, partition: int, offset: int) -> dict[str, Any] | None:
    """The projector's log line about one record."""
    for line in log.read_text().splitlines():
        if f'"offset": {offset},' in line and f'"partition": {partition},' in line and '"record-refused"' in line:
            found: dict[str, Any] = json.loads(line)
            return found
    return None


def _outcomes(on: Stage) -> int:
    return sum(isinstance(event, facts.Outcome) for _, event in on.wire.events)


async def _directory_record(on: Stage, name: str, partition: int) -> Inbound | None:
    reader = on.wire.bus.reader(topics.DIRECTORY, partition, committed=False)
    found = None
    try:
        await reader.start(None)
        async for records in reader.read_to_end():
            found = next((r for r in reversed(records) if r.key == name.encode() and r.value and r.headers), found)
    finally:
        await reader.stop()
    return found


def _false_replies(on: Stage, command: Command, record: Inbound) -> list[Outbound]:
    """What somebody who sees the command on the bus might answer."""
    digest = sha256(record.value or b"").hexdigest()
    deployment, key = on.scene.config.deployment or "", record.key or b""
    fields: dict[str, Any] = {"command_id": command.id, "command_digest": digest}
    denial = ReplyData(**fields, outcome=facts.CommandDenied.type_name, code="AccessDenied")
    result = ReplyData(**fields, outcome=facts.KeyUsed.type_name, key_id=command.subject[4:], version=1)
    policy = service_key(on.scene.config, "policy")

    def clear(data: ReplyData, signer: Signer, signed_for: str = deployment, key: bytes = key) -> Outbound:
        value = Reply.new("policy", data).to_value()
        signature = signer.sign(reply_message(signed_for, key, value))
        return _to(command, key, value, ((SIGNER_HEADER, signer.fingerprint.encode()), (SIGNATURE_HEADER, signature)))

    noise = _to(command, key, Reply.new("hsm", result).to_value(), ((SEALED_HEADER, os.urandom(90)),))
    another = denial.model_copy(update={"command_digest": "0" * 64})
    return [
        clear(denial, on.scene.people["mallory"].signer),
        clear(denial, service_key(on.scene.config, "projector")),
        clear(denial, policy, signed_for="0" * 64),
        clear(denial, policy, key=b"registry"),
        clear(another, policy),
        clear(result, policy),
        _to(command, key, Reply.new("policy", denial).to_value(), ()),
        replace(noise, value=b"{}"),
        replace(noise, value=None),
        replace(noise, value=FORGED),
        noise,
        replace(noise, headers=((SEALED_HEADER, b""), *noise.headers[1:])),
    ]


def _to(command: Command, key: bytes, value: bytes, headers: tuple[tuple[str, bytes], ...]) -> Outbound:
    to = command.data.reply
    correlation = (CORRELATION_HEADER, to.correlation_id.encode())
    return Outbound(to.topic, to.partition, key, value, (*headers, correlation))
