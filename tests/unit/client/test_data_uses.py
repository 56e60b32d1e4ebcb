"""How keys are used with a reason, for an approved proposal, or only as a trial."""

import asyncio
from typing import Any

import pytest

from keyfold.client import DataKey, DryRun, Keyfold, unwrap
from keyfold.client.envelope import decrypt_file, encrypt_file
from keyfold.events.errors import (
    AccessDenied,
    AlreadyExecuted,
    ApprovalRequired,
    BatchTooLarge,
    GrantExhausted,
    QuotaExceeded,
    RateLimited,
    Refusal,
    RegistryBehind,
)

PROPOSAL = "01890a5d-ac96-774b-bcce-b302099a8057"
FAST = {"recovery_grace_s": 0.05, "retry_initial_s": 0.005}
RESENDING = {**FAST, "resend_initial_s": 0.05, "resend_max_s": 0.1}


async def test_calls_share_a_command_only_with_the_same_reason(kms: Keyfold, deployment: Any) -> None:
    """The reason is signed with the command, so it must be everybody's in it."""
    key_id = kms.new_key_id()
    reasons = ["audit", "audit", "ticket 4711 \"'ä", None]
    ciphertexts = await asyncio.gather(*(kms.encrypt(key_id, b"x", reason=reason) for reason in reasons))
    said = {got.data.reason: got.data.items for got in deployment.received}
    assert said == {"audit": 2, "ticket 4711 \"'ä": 1, None: 1}
    assert await kms.decrypt(key_id, ciphertexts[0], reason="audit") == b"x"
    assert unwrap(await kms.encrypt_batch(key_id, [b"x"] * 2, reason="batch"))
    assert deployment.received[-1].data.reason == "batch"


async def test_every_data_verb_says_the_reason(kms: Keyfold, deployment: Any) -> None:
    """Single calls and batches."""
    key_id = kms.new_key_id()
    sealed = await kms.encrypt(key_id, b"x", reason="r")
    moved = await kms.re_encrypt(key_id, sealed, reason="r")
    await kms.re_encrypt(key_id, moved, destination_context={"a": "1"}, reason="r")
    await kms.generate_data_key(key_id, reason="r")
    await kms.generate_data_key_without_plaintext(key_id, reason="r")
    await kms.generate_random(8, reason="r")
    await kms.decrypt_batch(key_id, [sealed], reason="r")
    await kms.re_encrypt_batch(key_id, [sealed], reason="r")
    await kms.generate_data_key_batch(key_id, 2, reason="r")
    assert [got.data.reason for got in deployment.received] == ["r"] * 9


async def test_envelopes_say_the_reason(kms: Keyfold, deployment: Any, tmp_path: Any) -> None:
    """With the commands that make and open the data key."""
    source = tmp_path / "a"
    source.write_bytes(b"content")
    await encrypt_file(kms, kms.new_key_id(), source, tmp_path / "b", reason="backup")
    await decrypt_file(kms, tmp_path / "b", tmp_path / "c", reason="restore")
    assert [got.data.reason for got in deployment.received] == ["backup", "restore"]
    assert (tmp_path / "c").read_bytes() == b"content"


async def test_a_proposal_is_carried_out_by_a_command_of_its_own(kms: Keyfold, deployment: Any) -> None:
    """Other calls at the same time do not join it."""
    key_id = kms.new_key_id()
    first, other = await asyncio.gather(
        kms.encrypt(key_id, b"x", context={"t": "7"}, proposal=PROPOSAL), kms.encrypt(key_id, b"y")
    )
    said = {got.data.proposal: (got.data.items, got.data.contexts) for got in deployment.received}
    assert said == {PROPOSAL: (1, [{"t": "7"}]), None: (1, [{}])}
    assert await kms.decrypt(key_id, first, context={"t": "7"}, proposal=PROPOSAL) == b"x"
    assert await kms.decrypt(key_id, other) == b"y"


async def test_every_data_verb_can_carry_out_a_proposal(kms: Keyfold, deployment: Any) -> None:
    """A batch too, as one command."""
    key_id, how = kms.new_key_id(), {"proposal": PROPOSAL, "reason": "agreed"}
    sealed = await kms.encrypt(key_id, b"x", **how)
    await kms.re_encrypt(key_id, sealed, **how)
    await kms.re_encrypt(key_id, sealed, destination_context={"a": "1"}, **how)
    assert isinstance(await kms.generate_data_key(key_id, **how), DataKey)
    await kms.generate_data_key_without_plaintext(key_id, **how)
    assert unwrap(await kms.decrypt_batch(key_id, [sealed] * 3, **how)) == [b"x"] * 3
    await kms.generate_data_key_batch(key_id, 3, **how)
    assert [(got.data.proposal, got.data.reason) for got in deployment.received] == [(PROPOSAL, "agreed")] * 7
    assert deployment.received[-1].data.items == 3


async def test_a_batch_that_needs_several_commands_carries_out_no_proposal(kms: Keyfold, deployment: Any) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(BatchTooLarge, match="one command"):
        await kms.encrypt_batch(kms.new_key_id(), [b"x"] * 1001, proposal=PROPOSAL)
    assert deployment.received == []


@pytest.mark.parametrize(
    "code", ["RegistryBehind", "SealingKeyRetired", "RateLimited", "TokenUnavailable", "AliasMoved"]
)
async def test_what_carries_out_a_proposal_is_not_asked_again_under_another_id(deployment: Any, code: str) -> None:
    """Whoever called decides whether to call again."""
    deployment.scripts.append(lambda got: code)
    async with deployment.connect(**FAST) as kms:
        with pytest.raises(Refusal) as caught:
            await kms.encrypt(kms.new_key_id(), b"x", proposal=PROPOSAL)
    assert caught.value.code == code
    assert len(deployment.received) == 1


@pytest.mark.parametrize("code", ["AccessDenied", "BatchTooLarge", "ApprovalRequired", "ReplyTooLarge"])
async def test_what_carries_out_a_proposal_is_not_divided(deployment: Any, code: str) -> None:
    """Its contexts and items are what was approved."""
    deployment.scripts.append(lambda got: code)
    async with deployment.connect(**FAST) as kms:
        with pytest.raises(Refusal):
            await kms.encrypt_batch(kms.new_key_id(), [b"x"] * 2, contexts=[{"a": "1"}, {"a": "2"}], proposal=PROPOSAL)
    assert len(deployment.received) == 1


async def test_a_lost_result_of_a_proposal_is_looked_for_but_not_asked_anew(deployment: Any) -> None:
    """The proposal is used up; the same bytes are sent again, nothing else."""
    async with deployment.connect(**RESENDING) as kms:
        execute = deployment.execute
        deployment.execute = lambda got: execute(got, send=False)
        with pytest.raises(AlreadyExecuted):
            await kms.encrypt(kms.new_key_id(), b"x", proposal=PROPOSAL)
    assert len(deployment.received) == 1


async def test_a_result_of_a_proposal_that_was_overlooked_is_read_again(
    deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the reply partition, as for any other call."""
    async with deployment.connect(**RESENDING) as kms:
        receive, seen = kms._exchange._receive, list[Any]()
        monkeypatch.setattr(kms._exchange._inbox, "_deliver", seen.append)
        key_id = kms.new_key_id()
        call = asyncio.ensure_future(kms.encrypt(key_id, b"x", proposal=PROPOSAL))
        while not seen:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(kms._exchange._inbox, "_deliver", receive)
        sealed = await call
        assert await kms.decrypt(key_id, sealed) == b"x"
    assert len(deployment.received) == 2


async def test_a_use_can_be_tried(kms: Keyfold, deployment: Any) -> None:
    """With its contexts, items and bytes as policies see them; nothing is executed."""
    key_id = kms.new_key_id()
    done = await kms.dry_run(
        "Encrypt", key_id, contexts=[{"t": "7"}, {"t": "8"}, {"t": "7"}], items=5, size_bytes=100, reason="why"
    )
    (got,) = deployment.received
    assert isinstance(done, DryRun)
    assert (done.command_id, done.decision is None) == (got.command.id, False)
    assert (got.data.dry_run, got.data.reason) == (True, "why")
    assert (got.data.contexts, got.data.items, got.data.bytes) == ([{"t": "7"}, {"t": "8"}], 5, 100)
    assert got.body is not None
    assert deployment.answered == {}


async def test_a_use_by_alias_and_without_a_key_can_be_tried(kms: Keyfold, deployment: Any) -> None:
    """As the use itself would be sent."""
    key_id = kms.new_key_id()
    await kms.create_alias("alias/a", key_id)
    await kms.dry_run("GenerateDataKey", "alias/a", context={"t": "7"}, arguments={"number_of_bytes": 16})
    got = deployment.received[-1]
    assert (got.data.alias, got.command.subject, got.data.contexts) == ("alias/a", f"key/{key_id}", [{"t": "7"}])
    assert got.data.arguments.number_of_bytes == 16
    await kms.dry_run("GenerateRandom")
    assert deployment.received[-1].command.subject == "principal/alice"


async def test_a_denied_trial_raises_as_the_use_would(kms: Keyfold, deployment: Any) -> None:
    """Once: it is one command, and is not divided by context."""
    deployment.scripts.append(lambda got: "ApprovalRequired")
    with pytest.raises(ApprovalRequired):
        await kms.dry_run("Decrypt", kms.new_key_id(), contexts=[{"a": "1"}, {"a": "2"}], items=2)
    assert len(deployment.received) == 1


@pytest.mark.parametrize("kind", [AccessDenied, ApprovalRequired, GrantExhausted])
async def test_what_one_context_lacks_is_not_every_callers_lack(
    kms: Keyfold, deployment: Any, kind: type[Refusal]
) -> None:
    """Policies and grants may ask about contexts, so a denied record is divided by context."""
    deployment.scripts.append(lambda got: kind.code if {"t": "1"} in got.data.contexts else None)
    calls = [kms.encrypt(kms.new_key_id(), b"x", context={"t": "0"})]
    key_id = kms.new_key_id()
    calls += [kms.encrypt(key_id, b"x", context={"t": str(n % 2)}) for n in range(4)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(result, kind) for result in results] == [False, False, True, False, True]


def refuse_times(code: str, times: int) -> Any:
    left = [times]

    def script(got: Any) -> str | None:
        left[0] -= 1
        return code if left[0] >= 0 else None

    return script


async def test_a_rate_limit_is_waited_for(deployment: Any) -> None:
    """Under a new id each time, with growing pauses."""
    deployment.scripts.append(refuse_times("RateLimited", 3))
    async with deployment.connect(rate_limit_initial_s=0.05, rate_limit_max_s=0.1) as kms:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(kms.encrypt(kms.new_key_id(), b"x") for _ in range(1)))
        waited = asyncio.get_running_loop().time() - began
        assert kms.counters()["retried"] == 3
    assert waited >= 0.5 * (0.05 + 0.1 + 0.1)
    assert len({got.command.id for got in deployment.received}) == 4


async def test_a_control_verb_waits_for_a_rate_limit_too(deployment: Any) -> None:
    """Like every refusal that passes."""
    deployment.scripts.append(refuse_times("RateLimited", 2))
    async with deployment.connect(rate_limit_initial_s=0.005) as kms:
        await kms.create_key()
    assert len(deployment.received) == 3


async def test_waiting_for_a_rate_limit_has_an_end(deployment: Any) -> None:
    """After so many attempts, or at the call's deadline, whichever comes first: then the refusal is raised."""
    deployment.scripts.append(lambda got: "RateLimited")
    async with deployment.connect(rate_limit_initial_s=0.005, retry_attempts=2) as kms:
        with pytest.raises(RateLimited):
            await kms.encrypt(kms.new_key_id(), b"x")
        assert len(deployment.received) == 3
    async with deployment.connect(rate_limit_initial_s=10) as kms:
        with pytest.raises(RateLimited, match="Encrypt on key/"):
            await kms.encrypt(kms.new_key_id(), b"x", timeout_s=0.1)
        with pytest.raises(RateLimited):
            await kms.create_key(timeout_s=0.1)


@pytest.mark.parametrize("code", ["QuotaExceeded", "DryRunOperation"])
async def test_what_does_not_pass_is_raised_at_once(kms: Keyfold, deployment: Any, code: str) -> None:
    """A quota lasts longer than a call; a dry run that nobody asked for is no result."""
    deployment.scripts.append(lambda got: code)
    with pytest.raises(Refusal) as caught:
        await kms.encrypt(kms.new_key_id(), b"x")
    assert caught.value.code == code
    assert isinstance(caught.value, QuotaExceeded) == (code == "QuotaExceeded")
    assert len(deployment.received) == 1


async def test_the_deadline_of_other_refusals_is_told_as_such(deployment: Any) -> None:
    """Only a rate limit is the caller's own doing."""
    deployment.scripts.append(lambda got: RegistryBehind.code)
    async with deployment.connect(retry_initial_s=5, retry_max_s=5) as kms:
        with pytest.raises(TimeoutError):
            await kms.encrypt(kms.new_key_id(), b"x", timeout_s=0.1)


async def test_the_host_is_part_of_the_source(deployment: Any) -> None:
    """As the client's settings say; without it the source is the principal alone."""
    async with deployment.connect(host="build-7/pod.4") as kms:
        await kms.create_key()
    async with deployment.connect() as kms:
        await kms.create_key()
    sources = [got.command.source for got in deployment.received]
    assert sources == ["principal/alice/build-7/pod.4", "principal/alice"]


@pytest.mark.parametrize("host", ["", "-a", 'a"b', "a b", "x" * 101])
def test_a_host_that_the_service_would_refuse_is_refused_here(deployment: Any, host: str) -> None:
    """It goes into signed text."""
    with pytest.raises(ValueError, match="host"):
        deployment.connect(host=host)
