"""Every control verb: what is sent for it, what comes back, and that reason and dry run are part of the command."""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from tests.unit.client.control_calls import CALLS, DIGEST, ID, KEY, LATER, PUBLIC

from keyfold.client import Approval, Completed, DryRun, InvalidArgument, Keyfold, KeyMetadata, Proposal
from keyfold.client.arguments import arguments_text, moment
from keyfold.events import commands
from keyfold.events.errors import AccessDenied, InternalError
from keyfold.events.signatures import Signer

VERBS = sorted(CALLS)


def test_every_control_verb_is_here() -> None:
    """Whoever adds a command adds a method and a case."""
    assert set(CALLS) == {verb for verb, model in commands.BY_VERB.items() if not model.data_plane}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_sends_its_command_with_the_reason(kms: Keyfold, deployment: Any, verb: str) -> None:
    """One command with these arguments, on the stream that fits it, and the reason in it."""
    deployment.keys[KEY] = 1
    deployment.summaries["GetPublicKey"] = {
        "key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY", "version": 2, "public_key": "AAAA",
    }  # fmt: skip
    call, expected = CALLS[verb]
    await call(kms, reason="because")
    (got,) = deployment.received
    assert got.command.verb == verb
    assert (got.command.data.reason, got.command.data.dry_run) == ("because", False)
    assert got.command.data.arguments.model_dump() | expected == got.command.data.arguments.model_dump()


@pytest.mark.parametrize("verb", VERBS)
async def test_a_dry_run_is_a_result_of_its_own(kms: Keyfold, deployment: Any, verb: str) -> None:
    """What would have been authorized is returned as `DryRun` with the decision; nothing was executed."""
    done = await CALLS[verb][0](kms, dry_run=True)
    (got,) = deployment.received
    assert isinstance(done, DryRun)
    assert got.command.data.dry_run
    assert (done.command_id, done.decision) == (got.command.id, f"{got.record.partition}.{got.record.offset}.decision")
    assert deployment.answered == {}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_denied_dry_run_raises(kms: Keyfold, deployment: Any, verb: str) -> None:
    """As the command itself would."""
    deployment.scripts.append(lambda got: "AccessDenied")
    with pytest.raises(AccessDenied, match=f"{verb} on"):
        await CALLS[verb][0](kms, dry_run=True)


async def test_a_dry_run_of_an_alias_changes_no_hint(kms: Keyfold, deployment: Any) -> None:
    """What was only tried does not let this client use the alias."""
    await kms.create_alias("alias/a", KEY, dry_run=True)
    assert kms._directory.view.key_of("alias/a") is None
    await kms.create_alias("alias/a", KEY)
    await kms.delete_alias("alias/a", dry_run=True)
    assert kms._directory.view.key_of("alias/a") == KEY


@pytest.mark.parametrize("outcome", ["keyfold.command.dry-run-succeeded.v1:DryRunOperation", "x:DryRunOperation"])
async def test_a_repeated_answer_to_a_dry_run_is_one(deployment: Any, outcome: str) -> None:
    """`AlreadyExecuted` sums it up; the decision is not named then."""

    async def late(got: Any) -> None:
        await deployment.refuse(got.command, got.record, "AlreadyExecuted", outcome=outcome)

    deployment.scripts.append(lambda got: sent.append(got) or "drop")
    sent: list[Any] = []
    async with deployment.connect(resend_initial_s=60) as kms:
        call = asyncio.ensure_future(kms.rotate_key(KEY, dry_run=True))
        while not sent:
            await asyncio.sleep(0.01)
        await late(sent[0])
        done = await call
    assert isinstance(done, DryRun)
    assert done.decision is None


async def test_a_dry_run_that_was_carried_out_is_an_error(kms: Keyfold, deployment: Any) -> None:
    """Nobody may take it for a dry run."""

    async def carry_out(command: Any, record: Any, code: str, **_: Any) -> None:
        await deployment.execute(deployment.received[-1])

    deployment.refuse = carry_out
    deployment.keys[KEY] = 1
    with pytest.raises(InternalError, match="was carried out"):
        await kms.rotate_key(KEY, dry_run=True)


async def test_create_key_and_create_grant_tell_what_was_made(kms: Keyfold, deployment: Any) -> None:
    """The key's metadata; the grant's id, which is the command's."""
    key = await kms.create_key(usage_budget=5)
    assert isinstance(key, KeyMetadata)
    grant = await kms.create_grant(key.key_id, "bob", ["Decrypt"], expires_at=timedelta(hours=1))
    assert grant == deployment.received[-1].command.id


async def test_a_proposal_is_named_by_its_command_and_its_digest(kms: Keyfold, deployment: Any) -> None:
    """SHA-256 of the exact bytes: what approvers agree to."""
    made = await kms.propose("DestroyKeyNow", KEY, reason="disclosed")
    got = deployment.received[-1]
    assert isinstance(made, Proposal)
    assert (made.id, made.digest) == (got.command.id, sha256(got.record.value).hexdigest())
    assert (made.key_id, got.command.subject, got.command.data.reason) == (KEY, f"key/{KEY}", "disclosed")
    on_registry = await kms.propose("PutPolicy", arguments={"policy": "p", "text": "permit();"})
    assert (on_registry.key_id, deployment.received[-1].command.subject) == (None, "registry")
    fresh = await kms.propose("CreateKey", arguments={"protection": "SOFTWARE"})
    assert fresh.key_id is not None
    assert deployment.received[-1].command.subject == f"key/{fresh.key_id}"


async def test_a_data_verb_is_proposed_with_its_bounds(kms: Keyfold, deployment: Any) -> None:
    """Contexts, items and bytes; by default one item of any size under the empty context."""
    await kms.propose("Decrypt", KEY, contexts=[{"t": "7"}, {"t": "8"}], items=5, size_bytes=100)
    wish = deployment.received[-1].command.data.arguments
    assert (wish.contexts, wish.items, wish.bytes) == ([{"t": "7"}, {"t": "8"}], 5, 100)
    await kms.propose("GenerateDataKey", KEY, arguments={"number_of_bytes": 16})
    wish = deployment.received[-1].command.data.arguments
    assert (wish.contexts, wish.items, wish.bytes, wish.arguments) == ([{}], 1, 900_000, {"number_of_bytes": 16})


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({"proposal": ID, "status": "Executed", "key_id": KEY, "version": 3}, ("Executed", None, None, 3)),
        ({"proposal": ID, "status": "Approved", "approvals": 2}, ("Approved", 2, None, 1)),
        ({"proposal": ID, "status": "Pending", "approvals": 1}, ("Pending", 1, None, 1)),
        ({"proposal": ID, "status": "Failed", "approvals": 2, "code": "NotFound"}, ("Failed", 2, "NotFound", 1)),
        ({"status": "SomethingNew"}, (None, None, None, 1)),
    ],
)
async def test_an_approval_tells_what_it_led_to(kms: Keyfold, deployment: Any, summary: Any, expected: Any) -> None:
    """Executed with the proposed verb's own facts, approved, pending, or failed with a code."""
    deployment.summaries["ApproveProposal"] = summary
    deployment.keys[KEY] = 0 if summary["status"] == "Executed" else 1
    done = await kms.approve_proposal(ID, DIGEST, key=KEY)
    assert isinstance(done, Approval)
    assert (done.status, done.approvals, done.code, done.version) == expected
    assert (done.proposal, done.key_id) == (ID, KEY)


async def test_an_approval_that_was_answered_before_has_no_status(deployment: Any) -> None:
    """The summary does not come again; asking the projections tells."""
    async with deployment.connect(resend_initial_s=0.05) as kms:
        execute = deployment.execute
        deployment.execute = lambda got: execute(got, send=False)
        done = await kms.approve_proposal(ID, DIGEST)
    assert (done.status, done.approvals) == (None, None)


@pytest.mark.parametrize(
    "call",
    [
        lambda kms: kms.propose("Nonsense", KEY),
        lambda kms: kms.propose("DestroyKeyNow"),
        lambda kms: kms.propose("PutIssuerKeys", KEY, arguments={"issuer": "ci", "jwks": "{}"}),
        lambda kms: kms.propose("GenerateRandom"),
        lambda kms: kms.propose("ApproveProposal", arguments={"proposal": ID, "digest": DIGEST}),
        lambda kms: kms.propose("DisableKey", KEY, items=3),
        lambda kms: kms.propose("DisableKey", KEY, arguments={"reason": 7}),
        lambda kms: kms.propose("Encrypt", KEY, items=1001),
        lambda kms: kms.propose("DisableKey", KEY, expires_at="tomorrow"),
        lambda kms: kms.propose("DisableKey", KEY, expires_at=datetime(2999, 1, 1)),  # noqa: DTZ001
        lambda kms: kms.create_grant(KEY, "bob", ["RotateKey"], expires_at=LATER),
        lambda kms: kms.create_grant(KEY, "bob", [], expires_at=LATER),
        lambda kms: kms.create_grant(KEY, "bob", ["Decrypt"], expires_at=LATER, parent="x"),
        lambda kms: kms.register_principal("bob", PUBLIC.hex()),
        lambda kms: kms.register_principal("bob", PUBLIC, algorithm="ML-DSA-65"),
        lambda kms: kms.add_signing_key("bob", bytes(32)),
        lambda kms: kms.rotate_signing_key("bob", PUBLIC, "no fingerprint"),
        lambda kms: kms.revoke_signing_key("bob", "x"),
        lambda kms: kms.put_issuer("Upper Case", "u", "a", ["ES256"]),
        lambda kms: kms.put_issuer("ci", "u", "a", ["HS256"]),
        lambda kms: kms.put_limit("l", "rate", 0, 60),
        lambda kms: kms.put_limit("l", "rate", 5, timedelta(milliseconds=1)),
        lambda kms: kms.acknowledge_incident("x"),
        lambda kms: kms.close_incident(ID, "SOLVED"),
        lambda kms: kms.put_suppression("s", entity="registry", until=LATER),
        lambda kms: kms.put_suppression("s", detector="Fan out", until=LATER),
        lambda kms: kms.put_suppression("s", detector="d", until="soon"),
        lambda kms: kms.tag_key(KEY, {}),
        lambda kms: kms.update_usage_budget(KEY, 0),
        lambda kms: kms.create_key(rotate_at_percent=96),
        lambda kms: kms.rotate_key(KEY, cause="whim"),
        lambda kms: kms.rotate_key(KEY, reason="x" * 1025),
        lambda kms: kms.rotate_key(KEY, reason="\0"),
        lambda kms: kms.rotate_key(KEY, reason="\ud800"),
        lambda kms: kms.rotate_key(KEY, reason=7),
        lambda kms: kms.approve_proposal("x", DIGEST),
        lambda kms: kms.approve_proposal(ID, "x"),
        lambda kms: kms.encrypt(KEY, b"", reason="\0"),
        lambda kms: kms.encrypt(KEY, b"", proposal='x"'),
        lambda kms: kms.dry_run("RotateKey", KEY),
        lambda kms: kms.dry_run("Encrypt", KEY, items=0),
        lambda kms: kms.dry_run("Encrypt", KEY, contexts=[{"a": "1"}, {"a": "2"}]),
        lambda kms: kms.dry_run("Encrypt", KEY, size_bytes=10**12),
        lambda kms: kms.dry_run("GenerateDataKey", KEY, arguments={"number_of_bytes": 0}),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(kms: Keyfold, deployment: Any, call: Any) -> None:
    """As `InvalidArgument`."""
    with pytest.raises(InvalidArgument):
        await call(kms)
    assert deployment.received == []


@pytest.mark.parametrize(
    "call",
    [
        lambda kms: kms.rotate_key(KEY, raeson="x"),
        lambda kms: kms.create_key(dryrun=True),
        lambda kms: kms.encrypt(KEY, b"", contxt={}),
        lambda kms: kms.encrypt_batch(KEY, [b""], contxt={}),
        lambda kms: kms.dry_run("Encrypt", KEY, contxt={}),
    ],
)
async def test_a_mistyped_name_is_a_type_error(kms: Keyfold, deployment: Any, call: Any) -> None:
    """A context or a dry run that is silently ignored would be worse than no call."""
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        await call(kms)
    assert deployment.received == []


async def test_ml_dsa_keys_are_registered(kms: Keyfold, deployment: Any) -> None:
    """With their algorithm."""
    signer = Signer(b"m" * 32, "ML-DSA-65")
    done = await kms.register_principal("bob", signer.public_key, algorithm="ML-DSA-65")
    assert isinstance(done, Completed)
    arguments = deployment.received[-1].command.data.arguments
    assert (arguments.public_key, arguments.algorithm) == (signer.public_key.hex(), "ML-DSA-65")


def test_the_error_names_the_place_and_not_the_value() -> None:
    """A value may be a secret that went to the wrong place."""
    with pytest.raises(InvalidArgument) as caught:
        arguments_text("TagResource", {"tags": {"a": 1234567}})
    assert "tags.a" in str(caught.value)
    assert "1234567" not in str(caught.value)


def test_times_are_said_in_three_ways() -> None:
    """A span from now, a moment with its zone, or the text itself."""
    assert moment(timedelta(seconds=1.5), 1_000) == "1970-01-01T00:00:02.500Z"
    assert moment(datetime(2026, 1, 31, 12, tzinfo=UTC), 0) == "2026-01-31T12:00:00.000Z"
    assert moment("2026-01-31T12:00:00.000Z", 0) == "2026-01-31T12:00:00.000Z"
