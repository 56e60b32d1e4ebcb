"""Safe repetition: the same bytes until an answer, new ids for refusals that pass, and lost results asked anew."""

import asyncio
from hashlib import sha256
from typing import Any

import pytest

from keyfold.bus import BusUnavailable, Outbound, RecordTooLarge
from keyfold.client import DeadlineExceeded, InvalidArgument, Keyfold
from keyfold.events import topics
from keyfold.events.errors import AliasMoved, AlreadyExecuted, InvalidState, NotFound, RegistryBehind, TokenUnavailable

FAST = {"resend_initial_s": 0.05, "resend_max_s": 0.1, "recovery_grace_s": 0.05, "retry_initial_s": 0.005}


def refuse(code: str, times: int, verb: str = "Encrypt") -> Any:
    left = [times]

    def script(got: Any) -> str | None:
        if got.command.verb != verb or not left[0]:
            return None
        left[0] -= 1
        return code

    return script


async def until(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come to that")


async def records(deployment: Any) -> list[Any]:
    found = []
    for partition in range(deployment.partitions):
        reader = deployment.bus.reader(topics.COMMANDS, partition, committed=False)
        await reader.start(None)
        async for batch in reader.read_to_end():
            found += batch
        await reader.stop()
    return found


async def test_the_same_bytes_are_sent_until_an_answer(deployment: Any) -> None:
    """The service sees one command, however often it comes."""
    kept: list[Any] = []

    def drop_two(got: Any) -> str | None:
        kept.append(got)
        return "drop" if len(kept) < 3 else None

    deployment.scripts.append(drop_two)
    async with deployment.connect(**FAST) as kms:
        key_id = kms.new_key_id()
        await kms.encrypt(key_id, b"x")
        assert kms.counters()["resent"] >= 2
    assert len({(r.key, r.value, r.headers) for r in await records(deployment)}) == 1
    assert len({got.command.id for got in kept}) == 1


async def test_resending_ends_with_the_commands_lifetime(deployment: Any) -> None:
    """And the call at its deadline."""
    deployment.scripts.append(lambda got: "drop")
    async with deployment.connect(**FAST, command_lifetime_s=1) as kms:
        with pytest.raises(DeadlineExceeded):
            await kms.create_key(timeout_s=1.6)
        sent = len(await records(deployment))
        await asyncio.sleep(0.3)
        assert len(await records(deployment)) == sent
    assert 5 <= sent <= 20


async def test_a_lost_reply_of_a_control_verb_is_completed_from_the_summary(deployment: Any) -> None:
    """`AlreadyExecuted` is success."""
    async with deployment.connect(**FAST) as kms:
        execute = deployment.execute
        deployment.execute = lambda got: execute(got, send=False)
        key = await kms.create_key()
    assert (key.version, deployment.duplicates) == (0, 1)


async def test_a_failure_summed_up_is_raised_as_that_failure(deployment: Any) -> None:
    """Not as success."""
    async with deployment.connect(**FAST) as kms:
        deployment.scripts.append(
            lambda got: (
                deployment.answered.update({got.command.id: (got_digest(got), "OperationFailed:InvalidState")})
                or "drop"
            )
        )
        with pytest.raises(InvalidState):
            await kms.create_key()


def got_digest(got: Any) -> str:
    return sha256(got.record.value).hexdigest()


async def test_a_lost_result_is_asked_anew_naming_the_lost_command(deployment: Any) -> None:
    """A data verb's result is never computed twice for one command; the new one says `retry_of`."""
    async with deployment.connect(**FAST) as kms:
        execute, lost = deployment.execute, []

        async def lose_first(got: Any) -> None:
            lost.append(got)
            await execute(got, send=len(lost) > 1)

        deployment.execute = lose_first
        key_id = kms.new_key_id()
        ciphertext = await kms.encrypt(key_id, b"x")
        first, second = (got.command for got in lost)
        assert (second.data.retry_of, second.id == first.id) == (first.id, False)
        assert await kms.decrypt(key_id, ciphertext) == b"x"


async def test_asking_anew_has_an_end(deployment: Any) -> None:
    """Results that are lost again and again are an error, not a loop."""
    async with deployment.connect(**FAST, retry_attempts=1) as kms:
        execute = deployment.execute
        deployment.execute = lambda got: execute(got, send=False)
        with pytest.raises(AlreadyExecuted):
            await kms.encrypt(kms.new_key_id(), b"x")
    assert len(deployment.received) == 2


async def test_a_result_that_comes_after_already_executed_is_taken(deployment: Any) -> None:
    """Replies leave after the commit: policy may know of the outcome before the result is here."""
    async with deployment.connect(**{**FAST, "recovery_grace_s": 0.3}) as kms:
        execute, late = deployment.execute, []

        async def keep(got: Any) -> None:
            late.append(got)
            await execute(got, send=False)

        deployment.execute = keep
        call = asyncio.ensure_future(kms.encrypt(kms.new_key_id(), b"x"))
        await until(lambda: deployment.duplicates)
        await execute(late[0])
        await call
    assert len(late) == 1


async def test_a_result_that_was_overlooked_is_read_again(deployment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the reply partition's position at sending, before anything is asked anew."""
    async with deployment.connect(**FAST) as kms:
        receive, seen = kms._exchange._receive, list[Any]()
        monkeypatch.setattr(kms._exchange._inbox, "_deliver", seen.append)
        call = asyncio.ensure_future(kms.encrypt(kms.new_key_id(), b"x"))
        await until(lambda: seen)
        monkeypatch.setattr(kms._exchange._inbox, "_deliver", receive)
        await call
    assert len(deployment.received) == 1


@pytest.mark.parametrize("code", ["RegistryBehind", "TokenUnavailable", "SealingKeyRetired", "AliasMoved"])
async def test_refusals_that_pass_are_asked_again_under_a_new_id(deployment: Any, code: str) -> None:
    """A bounded number of times."""
    async with deployment.connect(**FAST, retry_attempts=3) as kms:
        key_id = (await kms.create_key()).key_id
        deployment.scripts.append(refuse(code, 3))
        await asyncio.gather(*(kms.encrypt(key_id, b"x") for _ in range(5)))
        assert kms.counters()["retried"] == 3
    assert len({got.command.id for got in deployment.received}) == len(deployment.received) == 5


async def test_a_key_is_not_made_again_when_the_token_fails(deployment: Any) -> None:
    """It is there, failed, under its id: asked again the caller would be told that it exists, and not why it cannot be
    used. What is refused before that is asked again."""
    left, told = ["RegistryBehind", "TokenUnavailable", "AlreadyExists"], dict[str, str]()

    def answer(got: Any) -> str:
        if got.command.id not in told:  # the same command may come twice, where it took long
            told[got.command.id] = left.pop(0)
        return told[got.command.id]

    deployment.scripts.append(answer)
    async with deployment.connect(**FAST) as kms:
        with pytest.raises(TokenUnavailable):
            await kms.create_key()
    assert left == ["AlreadyExists"]


@pytest.mark.parametrize(("code", "read"), [("SealingKeyRetired", None), ("AliasMoved", "alias/a")])
async def test_what_a_refusal_calls_out_of_date_is_read_first(
    deployment: Any, monkeypatch: pytest.MonkeyPatch, code: str, read: str | None
) -> None:
    """The directory, up to what is written now."""
    async with deployment.connect(**FAST) as kms:
        await deployment.publish_alias("alias/a", kms.new_key_id())
        deployment.scripts.append(refuse(code, 1))
        refresh, asked = kms._directory.refresh, []

        async def note(alias: str | None = None) -> None:
            asked.append(alias)
            await refresh(alias)

        monkeypatch.setattr(kms._directory, "refresh", note)
        await kms.encrypt("alias/a", b"x")
    assert asked == [read]


async def test_asking_again_has_an_end(deployment: Any) -> None:
    """Then the refusal is raised."""
    deployment.scripts.append(refuse("RegistryBehind", 99))
    async with deployment.connect(**FAST, retry_attempts=2) as kms:
        with pytest.raises(RegistryBehind):
            await kms.encrypt(kms.new_key_id(), b"x")
    assert len(deployment.received) == 3


async def test_the_deadline_holds_while_asking_again(deployment: Any) -> None:
    """A long pause does not outlast it."""
    deployment.scripts.append(refuse("RegistryBehind", 99))
    async with deployment.connect(retry_attempts=9, retry_initial_s=5, retry_max_s=5) as kms:
        with pytest.raises(DeadlineExceeded):
            await kms.encrypt(kms.new_key_id(), b"x", timeout_s=0.1)


async def test_a_new_sealing_key_is_taken_up(deployment: Any) -> None:
    """Before it is asked for again, and by itself when the directory shows it."""
    async with deployment.connect(**FAST) as kms:
        key_id = kms.new_key_id()
        await kms.encrypt(key_id, b"x")
        await deployment.rotate_sealing_key()
        await kms.encrypt(key_id, b"x")
        await asyncio.sleep(0.02)
        await kms.encrypt(key_id, b"x")
    assert deployment.received[-1].command.data.sealing_key == deployment.sealing[-1].id
    assert len(deployment.received) <= 4


async def test_a_moved_alias_is_resolved_again(deployment: Any) -> None:
    """The record goes to the new key's stream."""
    async with deployment.connect(**FAST) as kms:
        old, new = kms.new_key_id(), kms.new_key_id()
        await deployment.publish_alias("alias/a", old)
        await kms.encrypt("alias/a", b"x")
        moved: list[Any] = []

        def move(got: Any) -> str | None:
            if got.command.subject != f"key/{old}":
                return None
            if not moved:
                moved.append(asyncio.ensure_future(deployment.publish_alias("alias/a", new)))
            return "AliasMoved"

        deployment.scripts.append(move)
        ciphertext = await kms.encrypt("alias/a", b"x")
        deployment.scripts.clear()
        assert await kms.decrypt(new, ciphertext) == b"x"


async def test_an_alias_that_is_gone_is_not_found(deployment: Any) -> None:
    """Also for a lane that was open before."""
    async with deployment.connect(**FAST, alias_wait_s=0.05) as kms:
        await deployment.publish_alias("alias/a", kms.new_key_id())
        await kms.encrypt("alias/a", b"x")
        await deployment.publish_alias("alias/a", None)
        await asyncio.sleep(0.05)
        with pytest.raises(NotFound, match="alias/a"):
            await kms.encrypt("alias/a", b"x")


async def test_an_alias_that_stays_where_the_directory_shows_it_is_an_error_in_the_end(deployment: Any) -> None:
    """`AliasMoved` is raised when asking again did not help."""
    deployment.scripts.append(refuse("AliasMoved", 99))
    async with deployment.connect(**FAST, retry_attempts=2) as kms:
        await deployment.publish_alias("alias/a", kms.new_key_id())
        with pytest.raises(AliasMoved):
            await kms.encrypt("alias/a", b"x")


async def test_commands_wait_for_the_registry_revision_that_was_answered(kms: Keyfold, deployment: Any) -> None:
    """Read your own writes, on every partition."""
    key_id = kms.new_key_id()
    await kms.encrypt(key_id, b"x")
    assert deployment.received[-1].command.data.min_registry_revision is None
    await kms.put_policy("a", "permit (principal, action, resource);")
    await kms.put_policy("b", "permit (principal, action, resource);")
    await kms.encrypt(key_id, b"x")
    assert deployment.received[-1].command.data.min_registry_revision == 2


async def test_a_broker_that_is_away_is_survived(deployment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not sent is sent when it is back."""
    async with deployment.connect(**FAST) as kms:
        key_id = kms.new_key_id()
        await kms.encrypt(key_id, b"x")

        async def down(record: Outbound) -> Any:
            raise BusUnavailable("away")

        with monkeypatch.context() as patch:
            patch.setattr(kms._exchange._outbox._sender, "send", down)
            call = asyncio.ensure_future(kms.encrypt(key_id, b"x"))
            await asyncio.sleep(0.1)
        await call
        assert kms._exchange._outbox.unsent >= 1


async def test_a_record_that_can_never_be_sent_fails_at_once(deployment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again would not cure it."""
    async with deployment.connect(**FAST) as kms:

        async def too_large(record: Outbound) -> Any:
            raise RecordTooLarge(0, record.topic, 2, 1)

        monkeypatch.setattr(kms._exchange._outbox._sender, "send", too_large)
        with pytest.raises(RecordTooLarge):
            await kms.encrypt(kms.new_key_id(), b"x")


ONCE = "0190f000-0000-8000-8000-00000000abcd"


async def test_a_command_under_a_given_id_is_sent_with_it(deployment: Any) -> None:
    """And answered as any other; another program that sends it again is told so, and nothing is done twice."""
    got: list[Any] = []
    deployment.scripts.append(lambda order: got.append(order.command))
    async with deployment.connect(**FAST) as kms:
        key = (await kms.create_key()).key_id
        done = await kms.once(ONCE, "DisableKey", key, arguments={"reason": "x"}, reason="y")
    assert done.command_id == ONCE
    command = got[-1]
    assert (command.id, command.verb, command.subject) == (ONCE, "DisableKey", f"key/{key}")
    assert (command.data.arguments.reason, command.data.reason) == ("x", "y")


async def test_a_command_under_a_given_id_is_never_asked_again(deployment: Any) -> None:
    """Under another id it would be another command, so even a refusal that passes is raised."""
    deployment.scripts.append(refuse("RegistryBehind", 1, "SuspendPrincipal"))
    async with deployment.connect(**FAST) as kms:
        with pytest.raises(RegistryBehind):
            await kms.once(ONCE, "SuspendPrincipal", arguments={"principal": "bob"})
        assert kms.counters()["retried"] == 0


@pytest.mark.parametrize(
    ("identifier", "verb", "arguments"),
    [("x", "DisableKey", {}), (ONCE.upper(), "DisableKey", {}), (ONCE, "Encrypt", {}), (ONCE, "Disable", {}),
     (ONCE, "DisableKey", {"why": 1})],
)  # fmt: skip
async def test_what_cannot_be_sent_under_a_given_id(
    deployment: Any, identifier: str, verb: str, arguments: Any
) -> None:
    """Another form of id, a use of a key, an unknown verb, wrong arguments: refused before anything is sent."""
    async with deployment.connect(**FAST) as kms:
        key = kms.new_key_id()
        with pytest.raises(InvalidArgument):
            await kms.once(identifier, verb, key, arguments=arguments)
    assert await records(deployment) == []
