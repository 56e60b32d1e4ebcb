"""What an auditor gathers to be verified later is what deciding verifies at once."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.audited_log import honest, leaves_in

from keyfold.auditing.findings import Illegal
from keyfold.auditing.rules import check_decision, examine
from keyfold.deciding.remaking import check_signature
from keyfold.deciding.replaying import Recorded, replay
from keyfold.deciding.signed import Signed, principal_of, signed_of
from keyfold.events import facts
from keyfold.events.errors import Refusal, SignatureInvalid

SEEDS = ((14, 90), (2, 120))


def changed(event: facts.PolicyEvent, **update: Any) -> facts.PolicyEvent:
    decision = event.data.decision.model_copy(update=update)
    return event.model_copy(update={"data": event.data.model_copy(update={"decision": decision})})


def others(event: facts.PolicyEvent) -> list[facts.PolicyEvent]:
    """The same decision, with a signature, body or proposal of other people."""
    decision = event.data.decision
    made = [changed(event, signature="00" * 64), changed(event, body_digest="1" * 64), changed(event, signature="00")]
    if decision.proposal is not None:
        made.append(changed(event, proposal=decision.proposal.model_copy(update={"signature": "00" * 64})))
        made.append(changed(event, proposal=decision.proposal.model_copy(update={"command": "{}"})))
    return made


def deferred(recorded: Recorded) -> str:
    try:
        signed = list(signed_of(recorded, principal_of(recorded.command, recorded.world)))
        return "good" if all(each.valid() for each in signed) else SignatureInvalid.code
    except (Refusal, KeyError) as error:
        return type(error).__name__


def at_once(recorded: Recorded) -> str:
    try:
        check_signature(recorded)
    except (Refusal, KeyError) as error:
        return type(error).__name__
    return "good"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_signatures_are_good(seed: tuple[int, int]) -> None:
    """Of every decision of honest logs, of proposals that are carried out too, and of each when it is changed."""
    kept = honest(*seed).kept
    verdicts: set[str] = set()
    for recorded in replay({partition: iter(leaves_in(records)) for partition, records in kept.items()}):
        for event in (recorded.event, *others(recorded.event)):
            each = replace(recorded, event=event)
            assert deferred(each) == at_once(each)
            assert (deferred(each) == "good") is (event is recorded.event)
            verdicts.add(deferred(each))
    assert {"good", "SignatureInvalid"} <= verdicts


def test_a_key_that_is_none_of_its_algorithm_signed_nothing() -> None:
    """A policy processor may register such a key: what it then decides is found, and ends no verification."""
    assert not Signed("11" * 32, "ML-DSA-65", bytes(64), b"message").valid()
    assert not Signed("11" * 1952, "Ed25519", bytes(64), b"message").valid()


def test_a_signature_that_is_no_hex_is_wrong() -> None:
    """It is found, and does not end the verification. What comes before signatures is told at once."""
    log = {partition: iter(leaves_in(records)) for partition, records in honest(14, 90).kept.items()}
    for recorded in replay(log):
        with pytest.raises(Illegal) as caught:
            check_decision(replace(recorded, event=changed(recorded.event, signature="zz")))
        assert caught.value.rule == "SignatureInvalid"
        with pytest.raises(Illegal):
            examine(replace(recorded, event=changed(recorded.event, command_digest="0" * 64)))
        break
