"""The checker can fail about the later life of keys, too: an honest turn passes, and each lie about it is found."""

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from tests.support.honest_log import KEY, KEY_ID, PARTITION, HonestLog, blob_of
from tests.support.log_checker import check_log, explain
from tests.support.people import DEPLOYMENT, PARTITIONS, first_events

from keyfold.events import facts, topics


def rules(log: HonestLog) -> set[str]:
    return {finding.rule for finding in check_log(DEPLOYMENT, PARTITIONS, log.logs()).findings}


def test_an_honest_turn_is_sound() -> None:
    """The key is made anew and destroyed, the epoch ends, the sealing key is renewed, and erasure is certified."""
    log = HonestLog().tell()
    log.begin_epoch()
    log.rewrap()
    for partition in range(PARTITIONS):
        log.turn(partition)
    log.end_epoch()
    assert not rules(log)
    log = erased(HonestLog().tell())
    story = check_log(DEPLOYMENT, PARTITIONS, log.logs())
    assert not story.findings, explain(story.findings)


def erased(log: HonestLog, *, sealing: bool = True, **told: str) -> HonestLog:
    """Destroy the key, turn the epoch, and certify."""
    offset = log.destroy_key()
    log.begin_epoch()
    for partition in range(PARTITIONS):
        log.turn(partition)
    ended = log.end_epoch()
    if sealing:
        log.renew_sealing_key()
    log.certify(offset, **{"ended_by": ended, **told})
    return log


def turned_twice(log: HonestLog) -> None:
    log.begin_epoch()
    log.rewrap()
    log.turn(PARTITION)
    log.turn(PARTITION)


def turned_to_what_was_not_begun(log: HonestLog) -> None:
    log.rewrap()
    log.turn(PARTITION)


def blob_left_behind(log: HonestLog) -> None:
    log.begin_epoch()
    log.turn(PARTITION)


def made_anew_twice(log: HonestLog) -> None:
    log.begin_epoch()
    log.rewrap()
    log.rewrap()


def made_anew_under_the_old_epoch(log: HonestLog) -> None:
    log.begin_epoch()
    log.rewrap(under=1)


def ended_before_all_have_turned(log: HonestLog) -> None:
    log.begin_epoch()
    log.rewrap()
    for partition in range(PARTITIONS):
        log.turn(partition)
    log.end_epoch(places={**log.places(), PARTITION: 0})


def certified_before_the_end(log: HonestLog) -> None:
    erased(log, ended_by="no such event")


def certified_with_another_blob(log: HonestLog) -> None:
    erased(log, digest="0" * 64)


def certified_before_the_sealing_key_went(log: HonestLog) -> None:
    erased(log, sealing=False)


def certified_twice(log: HonestLog) -> None:
    erased(log).certify(0, "destroyed.1")


def erased_what_was_not_there(log: HonestLog) -> None:
    log.destroy_key()
    known = {"key_id": KEY_ID, "versions": [1], "offset": 1, "epoch": 1, "blob_digests": {}}
    log.write("hsm", topics.KEYSTORE, [facts.KeyMaterialErased.new("again", KEY, first_events()[0].time, **known)])


def disabled_version_used(log: HonestLog) -> None:
    """The second version is current; the first one is disabled, and used all the same."""
    made = log.decide(log.command("RotateKey"))
    known: dict[str, Any] = {"key_id": KEY_ID, "version": 2, "key_spec": "SYMMETRIC_DEFAULT", "protection": "HSM"}
    blob = blob_of(inside=b"second")
    text = b64encode(blob).decode()
    stored = facts.KeyMaterialStored.new("second", KEY, first_events()[0].time, **known, blob=text)
    log.write("hsm", topics.KEYSTORE, [stored])
    log.execute(made, facts.KeyMaterialGenerated, **known, blob_digest=sha256(blob).hexdigest())
    log.execute(
        log.decide(log.command("DisableKeyVersion", arguments={"version": 1, "reason": ""})),
        facts.KeyUseCeased, key_id=KEY_ID, erased_versions=[],
    )  # fmt: skip
    assert not rules(log)
    log.use_key("Decrypt")


@pytest.mark.parametrize(
    ("lie", "rule"),
    [
        (turned_twice, "epoch"),
        (turned_to_what_was_not_begun, "epoch"),
        (blob_left_behind, "epoch"),
        (made_anew_twice, "keystore"),
        (made_anew_under_the_old_epoch, "keystore"),
        (ended_before_all_have_turned, "epoch"),
        (certified_before_the_end, "certificate"),
        (certified_with_another_blob, "certificate"),
        (certified_before_the_sealing_key_went, "certificate"),
        (certified_twice, "certificate"),
        (erased_what_was_not_there, "keystore"),
        (disabled_version_used, "fence"),
    ],
)
def test_a_lie_about_keys_and_epochs_is_found(lie: Callable[[HonestLog], None], rule: str) -> None:
    """Each lie breaks its rule."""
    log = HonestLog().tell()
    lie(log)
    assert rule in rules(log)
