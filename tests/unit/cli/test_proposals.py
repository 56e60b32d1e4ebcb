"""Proposals on the command line: what is approved is what was shown, byte for byte."""

import io
import json
import sys
from hashlib import sha256
from typing import Any

import pytest
from tests.unit.cli.conftest import KEY, ORDERS, Terminal

from keyfold.cli.proposals import arguments_of
from keyfold.events.entities import Approval, Proposal

ID = "01890a5d-ac96-774b-bcce-b302099a8059"
OTHER = "01890a5d-ac96-774b-bcce-b302099a8050"
LATER, SINCE = "2999-01-31T12:00:00.000Z", "2026-01-31T12:00:00.000Z"


def proposing(verb: str = "DestroyKeyNow", subject: str = f"key/{KEY}", **wish: Any) -> str:
    """A proposing command as its author signed it."""
    arguments = {"verb": verb, "arguments": {}, "expires_at": LATER} | wish
    reply = {"topic": "keyfold.replies", "partition": 0, "correlation_id": "c"}
    data = {
        "principal": "carol", "signing_key": "ab" * 32, "sealing_key": ID, "expires_at": LATER, "reply": reply,
        "reason": "disclosed", "arguments": arguments,
    }  # fmt: skip
    document = {
        "specversion": "1.0", "id": ID, "source": "principal/carol", "type": "keyfold.command.ProposeCommand.v1",
        "subject": subject, "time": SINCE, "datacontenttype": "application/json", "data": data,
    }  # fmt: skip
    return json.dumps(document)


def proposal(command: str | None = None, **fields: Any) -> Proposal:
    command = command or proposing()
    known: dict[str, Any] = {
        "proposal": ID, "stream": json.loads(command)["subject"], "command": command, "body_digest": "00" * 32,
        "digest": sha256(command.encode()).hexdigest(), "signature": "", "verb": "DestroyKeyNow", "proposer": "carol",
        "created_at": SINCE, "expires_at": LATER,
    }  # fmt: skip
    return Proposal(**known | fields)


def test_a_proposal_is_named_with_its_digest(terminal: Terminal) -> None:
    """What approvers are asked to agree to."""
    ran = terminal.done("--json", "proposal", "create", "DestroyKeyNow", ORDERS, "--reason", "disclosed")
    (got,) = ran.received
    digest = sha256(got.record.value).hexdigest()
    assert (ran.document["proposal"], ran.document["digest"]) == (got.command.id, digest)
    ran = terminal.done("proposal", "create", "DestroyKeyNow", ORDERS)
    (got,) = ran.received
    assert ran.out.split() == ["proposal", got.command.id, "digest", sha256(got.record.value).hexdigest()]


def test_a_data_verb_is_proposed_with_its_bounds(terminal: Terminal) -> None:
    """Context, items and bytes."""
    words = ["Decrypt", ORDERS, "--context", "t=7", "--items", "3", "--bytes", "100"]
    wish = terminal.done("proposal", "create", *words).received[0].command.data.arguments
    assert (wish.contexts, wish.items, wish.bytes) == ([{"t": "7"}], 3, 100)
    wish = terminal.done("proposal", "create", "Decrypt", ORDERS).received[0].command.data.arguments
    assert (wish.contexts, wish.items) == ([{}], 1)


def test_what_is_about_no_key_is_proposed_on_the_registry(terminal: Terminal) -> None:
    """With or without saying so; a key that does not exist yet gets its id."""
    argument = ["--argument", "policy=p", "--argument", "text=permit (principal, action, resource);"]
    for words in (["PutPolicy"], ["PutPolicy", "registry"]):
        assert terminal.done("proposal", "create", *words, *argument).received[0].command.subject == "registry"
    made = terminal.done("proposal", "create", "CreateKey", "--argument", "protection=SOFTWARE").received[0].command
    assert made.subject.startswith("key/")
    assert made.data.arguments.arguments == {"protection": "SOFTWARE"}


def test_an_argument_is_json_only_where_the_verb_takes_that() -> None:
    """A key set is text that looks like JSON; a list of groups is JSON."""
    assert arguments_of("PutIssuerKeys", ['jwks={"keys":[]}', "issuer=7"]) == {"jwks": '{"keys":[]}', "issuer": "7"}
    assert arguments_of("UpdatePrincipal", ['groups=["a"]', "principal=bob"]) == {"groups": ["a"], "principal": "bob"}
    assert arguments_of("UpdateUsageBudget", ["items=5", "rotate_at_percent=null"]) == {
        "items": 5, "rotate_at_percent": None,
    }  # fmt: skip
    assert arguments_of("PutPolicy", ["text=7", "policy=true"]) == {"text": "7", "policy": "true"}
    assert arguments_of("RotateKey", None) == {}


def test_show_tells_everything_and_the_exact_command(terminal: Terminal) -> None:
    """State, who approved, digest, and the bytes that have it."""
    approvals = (Approval(principal="bob", command_id=OTHER, time=SINCE),)
    command = proposing("Decrypt", contexts=[{"t": "7"}], items=3, bytes=100)
    found = proposal(command, approvals=approvals, status="Approved", verb="Decrypt")
    terminal.projected.proposals_.append(found)
    out = terminal.done("proposal", "show", ID).out
    assert out.rstrip().endswith(command)
    for part in (found.digest, "carol", "disclosed", "bob", OTHER, "Approved", f"key/{KEY}", '[{"t": "7"}]', "100"):
        assert part in out, part
    assert terminal.done("--json", "proposal", "show", ID).document["command"] == command


def test_proposals_are_listed(terminal: Terminal) -> None:
    """Of a key, of the registry, or in a state; an end that has come is told."""
    terminal.projected.proposals_ += [proposal(), proposal(expires_at=SINCE, proposal=OTHER)]
    out = terminal.done("proposal", "list").out
    assert [line.split()[1] for line in out.splitlines()[1:]] == ["Pending", "Expired"]
    terminal.done("proposal", "list", "--on", ORDERS, "--status", "Pending")
    terminal.done("proposal", "list", "--on", "registry")
    asked = [wanted for name, wanted in terminal.projected.asked if name == "proposals"]
    assert asked == [
        {"stream": None, "status": None},
        {"stream": f"key/{KEY}", "status": "Pending"},
        {"stream": "registry", "status": None},
    ]


@pytest.mark.parametrize(
    ("summary", "told", "code"),
    [
        ({"status": "Executed"}, "approved and executed: DestroyKeyNow", 0),
        ({"status": "Approved", "approvals": 2}, f"carol may send it now, with --proposal {ID}", 0),
        ({"status": "Pending", "approvals": 1}, "approved, 1 in all", 0),
        ({"status": "Failed", "approvals": 2, "code": "NotFound"}, "was refused: NotFound", 1),
        ({}, "approved before", 0),
    ],
)
def test_an_approval_sends_the_digest_of_what_was_shown(
    terminal: Terminal, summary: dict[str, Any], told: str, code: int
) -> None:
    """And tells what it led to; a proposal that failed is exit code 1."""
    terminal.projected.proposals_.append(proposal())
    terminal.prepare.append(lambda deployment: deployment.summaries.update(ApproveProposal=summary))
    ran = terminal("proposal", "approve", ID, "--reason", "agreed")
    assert ran.code == code
    assert told in ran.out
    assert "DestroyKeyNow" in ran.err
    assert "disclosed" in ran.err
    (got,) = ran.received
    assert (got.command.verb, got.command.subject, got.command.data.reason) == (
        "ApproveProposal", f"key/{KEY}", "agreed",
    )  # fmt: skip
    assert got.command.data.arguments.digest == sha256(proposing().encode()).hexdigest()
    document = terminal("--json", "proposal", "approve", ID).document
    assert (document["proposal"], document["status"]) == (ID, summary.get("status"))


@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_a_pinned_digest_must_be_the_proposals(terminal: Terminal, verb: str) -> None:
    """Else nothing is sent."""
    terminal.projected.proposals_.append(found := proposal())
    ran = terminal("--json", "proposal", verb, ID, "--digest", "cd" * 32)
    assert (ran.code, json.loads(ran.err)["error"]["code"], ran.received) == (1, "ProposalMismatch", [])
    assert len(terminal.done("proposal", verb, ID, "--digest", found.digest).received) == 1


class Person(io.StringIO):
    """Standard input with somebody before it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_a_person_is_asked(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """After reading what it is; a pinned digest, --yes and a dry run ask nothing."""
    terminal.projected.proposals_.append(found := proposal())
    for answer, code, sent in (("n", 130, 0), ("y", 0, 1)):
        monkeypatch.setattr(sys, "stdin", Person(f"{answer}\n"))
        ran = terminal("proposal", verb, ID)
        assert (ran.code, len(ran.received)) == (code, sent)
        assert ran.err.index(found.digest) < ran.err.index("this DestroyKeyNow?")
    monkeypatch.setattr(sys, "stdin", Person(""))
    for words in (["--yes"], ["--digest", found.digest], ["--dry-run"]):
        assert len(terminal.done("proposal", verb, ID, *words).received) == 1


@pytest.mark.parametrize("verb", ["approve", "deny", "show", "cancel"])
@pytest.mark.parametrize(
    "found",
    [
        proposal(digest="cd" * 32),
        proposal(proposing().replace(ID, OTHER)),
        proposal('{"subject": "registry"}'),
        proposal(proposing().replace("ProposeCommand", "RotateKey")),
    ],
    ids=["another digest", "another id", "no command", "another verb"],
)
def test_projections_that_show_something_else_are_not_believed(terminal: Terminal, found: Proposal, verb: str) -> None:
    """Exit code 4; nothing is shown or sent."""
    terminal.projected.proposals_.append(found)
    ran = terminal("proposal", verb, ID)
    assert (ran.code, ran.received, ran.out) == (4, [], "")


def test_denying_and_cancelling(terminal: Terminal) -> None:
    """On the proposal's own stream; the registry's too."""
    command = proposing("PutPolicy", "registry", arguments={"policy": "p", "text": "x"})
    terminal.projected.proposals_.append(found := proposal(command))
    (got,) = terminal.done("proposal", "deny", ID).received
    assert (got.command.verb, got.command.subject) == ("DenyProposal", "registry")
    assert got.command.data.arguments.digest == found.digest
    (got,) = terminal.done("proposal", "cancel", ID, "--reason", "mistaken").received
    assert (got.command.verb, got.command.subject, got.command.data.reason) == (
        "CancelProposal", "registry", "mistaken",
    )  # fmt: skip
    assert got.command.data.arguments.proposal == ID


@pytest.mark.parametrize("verb", ["approve", "deny", "cancel"])
def test_deciding_can_be_tried(terminal: Terminal, verb: str) -> None:
    """As a dry run."""
    terminal.projected.proposals_.append(proposal())
    ran = terminal.done("--json", "proposal", verb, ID, "--dry-run")
    assert ran.document["dry_run"]
    assert ran.received[0].command.data.dry_run


def test_an_unknown_proposal_is_not_found(terminal: Terminal) -> None:
    """And says where to look."""
    ran = terminal("proposal", "approve", ID)
    assert (ran.code, "proposal list" in ran.err) == (1, True)
