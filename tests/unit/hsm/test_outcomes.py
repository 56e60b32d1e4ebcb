"""Every verb, from ticket to outcome event, keystore record and reply."""

import json
from base64 import b64decode
from collections.abc import Sequence
from hashlib import sha256

import pytest
from tests.unit.hsm.deployment import Deployment
from tests.unit.hsm.exchange import results
from tests.unit.hsm.orders import create, new_key, random_bytes, rotate, use
from tests.unit.hsm.worker import Worker

from keyfold.events import facts, replies
from keyfold.events.ciphertext import parse
from keyfold.events.streams import key_stream

ITEMS: Sequence[tuple[int, bytes]] = [(0, b"one"), (1, b"two"), (0, b"")]
CONTEXTS = ({"tenant": "a"}, {"tenant": "b"})


@pytest.fixture(params=["SOFTWARE", "HSM"])
async def key(deployment: Deployment, running: Worker, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A key of either protection level, and that level."""
    key_id = new_key()
    await running.execute(create(deployment, key_id, request.param))
    return key_id, request.param


async def test_create_key_stores_material_with_its_event(deployment: Deployment, running: Worker) -> None:
    """The blob is in the keystore, its digest in the event, and the caller learns id and version."""
    key_id = new_key()
    order = create(deployment, key_id, "HSM")
    (answer,) = await running.execute(order)
    outcome = deployment.outcome(order)
    assert isinstance(outcome, facts.KeyMaterialGenerated)
    assert (outcome.data.key_id, outcome.data.version, outcome.data.protection) == (key_id, 1, "HSM")
    assert outcome.id == f"{deployment.partition(order)}.{order.event.data.decision.offset}.outcome"
    assert outcome.time == order.event.time
    (stored,) = deployment.keystore(deployment.partition(order))
    assert isinstance(stored, facts.KeyMaterialStored)
    blob = facts.KeyMaterialStored.model_validate_json(stored.to_value()).data.blob
    assert outcome.data.blob_digest == sha256(b64decode(blob)).hexdigest()
    assert (answer.data.outcome, answer.data.version, answer.data.key_id) == (outcome.type, 1, key_id)
    assert json.loads(results(answer)[0]) == {"key_id": key_id, "version": 1, "key_usage": "ENCRYPT_DECRYPT"}


async def test_encrypt_and_decrypt(deployment: Deployment, running: Worker, key: tuple[str, str]) -> None:
    """What was encrypted under a context decrypts under it; the use is counted by version, and proved by a MAC."""
    key_id, protection = key
    order = use(deployment, "Encrypt", key_id, ITEMS, contexts=CONTEXTS, protection=protection)
    (answer,) = await running.execute(order)
    outcome = deployment.outcome(order)
    assert isinstance(outcome, facts.KeyUsed)
    assert (outcome.data.items, outcome.data.bytes, outcome.data.versions) == (3, 6, {"1": 3})
    assert outcome.data.mac == replies.usage_mac(order.reply_key, order.digest, order.body, answer.plaintext)
    assert (answer.data.outcome, answer.data.version, answer.data.registry_revision) == (outcome.type, 1, 7)
    made = results(answer)
    back = [(context, ciphertext) for (context, _), ciphertext in zip(ITEMS, made, strict=True)]
    (answer,) = await running.execute(
        use(deployment, "Decrypt", key_id, back, contexts=CONTEXTS, protection=protection, version=None)
    )
    assert results(answer) == [data for _, data in ITEMS]


async def test_an_item_that_does_not_open_costs_that_item(
    deployment: Deployment, running: Worker, key: tuple[str, str]
) -> None:
    """A wrong context, rubbish, another key's ciphertext: one code, by index; the others are served."""
    key_id, protection = key
    other = new_key()
    encrypt = use(deployment, "Encrypt", key_id, [(0, b"x")] * 2, contexts=CONTEXTS, protection=protection)
    good, moved = results((await running.execute(encrypt))[0])
    await running.execute(create(deployment, other, protection))
    stranger = use(deployment, "Encrypt", other, [(0, b"x")], contexts=CONTEXTS, protection=protection)
    foreign = results((await running.execute(stranger))[0])[0]
    items = [(0, good), (1, moved), (0, b"rubbish"), (0, foreign), (0, good[:-1] + b"?")]
    order = use(deployment, "Decrypt", key_id, items, contexts=CONTEXTS, protection=protection)
    (answer,) = await running.execute(order)
    assert answer.items is not None
    assert [item.code for item in answer.items] == [None] + ["InvalidCiphertext"] * 4
    outcome = deployment.outcome(order)
    assert outcome.data.versions == {"1": 1}
    assert outcome.data.failures == {"InvalidCiphertext": [1, 2, 3, 4]}


async def test_rotation_keeps_old_versions_readable(
    deployment: Deployment, running: Worker, key: tuple[str, str]
) -> None:
    """Old ciphertexts decrypt beside new ones; both versions are counted."""
    key_id, protection = key
    first = use(deployment, "Encrypt", key_id, [(0, b"old")], protection=protection)
    turn = rotate(deployment, key_id, 2, protection)
    second = use(deployment, "Encrypt", key_id, [(0, b"new")], protection=protection, version=2)
    answers = await running.execute(first, turn, second)
    old, new = results(answers[0])[0], results(answers[2])[0]
    assert (parse(old).key_version, parse(new).key_version) == (1, 2)
    assert json.loads(results(answers[1])[0]) == {"key_id": key_id, "version": 2, "key_usage": "ENCRYPT_DECRYPT"}
    order = use(deployment, "Decrypt", key_id, [(0, old), (0, new)], protection=protection)
    (answer,) = await running.execute(order)
    assert results(answer) == [b"old", b"new"]
    assert deployment.outcome(order).data.versions == {"1": 1, "2": 1}


async def test_re_encrypt_moves_version_and_context(
    deployment: Deployment, running: Worker, key: tuple[str, str]
) -> None:
    """Under the newest version and the destination's context; a bad item stays an error in its place."""
    key_id, protection = key
    encrypt = use(deployment, "Encrypt", key_id, [(0, b"a"), (0, b"b")], contexts=CONTEXTS, protection=protection)
    made = results((await running.execute(encrypt))[0])
    order = use(
        deployment, "ReEncrypt", key_id, [(0, made[0]), (0, b"bad"), (0, made[1])],
        contexts=CONTEXTS, arguments={"destination": [1, 0]}, version=2, protection=protection,
    )  # fmt: skip
    answers = await running.execute(rotate(deployment, key_id, 2, protection), order)
    items = answers[1].items
    assert items is not None
    assert [item.code for item in items] == [None, "InvalidCiphertext", None]
    assert deployment.outcome(order).data.versions == {"2": 2}
    assert deployment.outcome(order).data.opened == {"1": 2}
    back = use(
        deployment, "Decrypt", key_id, [(1, items[0].data), (1, items[2].data)],
        contexts=CONTEXTS, protection=protection,
    )  # fmt: skip
    assert results((await running.execute(back))[0]) == [b"a", b"b"]


@pytest.mark.parametrize("destination", [[0], [0, 2], [0, 1, 0]])
async def test_re_encrypt_to_no_such_context(deployment: Deployment, running: Worker, destination: list[int]) -> None:
    """A destination that names too few, too many or unknown contexts strikes the whole command."""
    key_id = new_key()
    order = use(deployment, "ReEncrypt", key_id, [(0, b"x")], contexts=CONTEXTS, arguments={"destination": destination})
    answers = await running.execute(create(deployment, key_id), order)
    assert (deployment.outcome(order).data.code, answers[1].data.code) == ("InvalidCommand", "InvalidCommand")


async def test_generate_data_key(deployment: Deployment, running: Worker, key: tuple[str, str]) -> None:
    """Length, plaintext and ciphertext in one item; without plaintext, the ciphertext alone; all decrypt."""
    key_id, protection = key
    both = use(
        deployment, "GenerateDataKey", key_id, [(0, b"")] * 2, arguments={"number_of_bytes": 48}, protection=protection
    )
    alone = use(deployment, "GenerateDataKeyWithoutPlaintext", key_id, [(0, b"")], protection=protection)
    answers = await running.execute(both, alone)
    made = results(answers[0])
    assert [int.from_bytes(item[:2], "big") for item in made] == [48, 48]
    plain = [item[2:50] for item in made]
    assert plain[0] != plain[1]
    items = [(0, made[0][50:]), (0, made[1][50:]), (0, results(answers[1])[0])]
    (answer,) = await running.execute(use(deployment, "Decrypt", key_id, items, protection=protection))
    *opened, hidden = results(answer)
    assert opened == plain
    assert len(hidden) == 32


async def test_generate_random(deployment: Deployment, running: Worker) -> None:
    """Distinct bytes from the token; the outcome says how many, under the caller's MAC."""
    order = random_bytes(deployment, 3, 64)
    (answer,) = await running.execute(order)
    drawn = results(answer)
    assert [len(item) for item in drawn] == [64] * 3
    assert len(set(drawn)) == 3
    outcome = deployment.outcome(order)
    assert isinstance(outcome, facts.CommandCompleted)
    assert (outcome.data.items, outcome.data.bytes) == (3, 192)
    assert outcome.data.mac == replies.usage_mac(order.reply_key, order.digest, order.body, answer.plaintext)
    assert "random" in running.custody.calls


@pytest.mark.parametrize(
    ("verb", "fact", "data", "arguments"),
    [
        ("DisableKey", facts.KeyDisabled, {"reason": "audit"}, {"reason": "audit"}),
        (
            "ScheduleKeyDeletion",
            facts.KeyDeletionScheduled,
            {"deletion_date": "2030-01-01T00:00:00.000Z"},
            {"pending_window_seconds": 604_800},
        ),
    ],
)
async def test_fences_answer_that_use_has_ceased(
    deployment: Deployment, running: Worker, *, verb: str, fact: type[facts.Event], data: dict[str, str],
    arguments: dict[str, object],
) -> None:  # fmt: skip
    """The outcome comes after every earlier use; no handle stays open."""
    key_id = new_key()
    fence = deployment.order(verb, key_stream(key_id), arguments=arguments, decided=(fact, data))
    orders = [create(deployment, key_id), use(deployment, "Encrypt", key_id, [(0, b"x")]), fence]
    await running.execute(*orders)
    kinds = [type(outcome) for outcome in deployment.outcomes(deployment.partition(fence))]
    assert kinds == [facts.KeyMaterialGenerated, facts.KeyUsed, facts.KeyUseCeased]
    assert deployment.outcome(fence).data.erased_versions == []
    assert len(running.parts.cache) == 0


async def test_destroy_erases_the_material(deployment: Deployment, running: Worker) -> None:
    """The keystore says erased, the outcome names the versions, and nothing decrypts any more."""
    key_id = new_key()
    encrypt = use(deployment, "Encrypt", key_id, [(0, b"x")])
    answers = await running.execute(create(deployment, key_id), rotate(deployment, key_id, 2), encrypt)
    destroy = deployment.order("DestroyKey", key_stream(key_id), decided=(facts.KeyDestroyed, {"versions": [1, 2]}))
    late = use(deployment, "Decrypt", key_id, [(0, results(answers[2])[0])])
    await running.execute(destroy, late)
    assert deployment.outcome(destroy).data.erased_versions == [1, 2]
    erased = deployment.keystore(deployment.partition(destroy))[-1]
    assert isinstance(erased, facts.KeyMaterialErased)
    assert erased.data.versions == [1, 2]
    assert deployment.outcome(late).data.code == "InvalidState"
    assert len(running.parts.cache) == 0


@pytest.mark.parametrize(
    ("verb", "fact", "data", "arguments"),
    [
        ("EnableKey", facts.KeyEnabled, {}, {}),
        ("CancelKeyDeletion", facts.KeyDeletionCancelled, {}, {}),
        (
            "PutPolicy", facts.PolicyPut, {"policy": "p", "text": "permit (principal, action, resource);"},
            {"policy": "p", "text": "permit (principal, action, resource);"},
        ),
    ],
)  # fmt: skip
async def test_other_key_verbs_complete(
    deployment: Deployment, running: Worker, *, verb: str, fact: type[facts.Event], data: dict[str, str],
    arguments: dict[str, object],
) -> None:  # fmt: skip
    """They need nothing of the worker, and get their outcome and a result all the same."""
    order = deployment.order(verb, key_stream(new_key()), arguments=arguments, decided=(fact, data))
    (answer,) = await running.execute(order)
    assert isinstance(deployment.outcome(order), facts.CommandCompleted)
    assert json.loads(results(answer)[0]) == {}
    assert answer.data.registry_revision == 7


async def test_registry_facts_return_their_own_revision(deployment: Deployment, running: Worker) -> None:
    """A fact of the registry was decided at revision 7 and made revision 8."""
    key_id = new_key()
    alias = {"alias": "alias/orders", "key_id": key_id}
    order = deployment.order("CreateAlias", arguments=alias, decided=(facts.AliasCreated, alias))
    (answer,) = await running.execute(order)
    assert isinstance(deployment.outcome(order), facts.CommandCompleted)
    assert (answer.data.registry_revision, answer.data.key_id) == (8, None)


async def test_a_version_without_material_is_no_key(deployment: Deployment, running: Worker) -> None:
    """Encrypting under a version that was never made is `KeyVersionUnusable`, under seal."""
    key_id = new_key()
    order = use(deployment, "Encrypt", key_id, [(0, b"x")], version=2)
    answers = await running.execute(create(deployment, key_id), order)
    code = "KeyVersionUnusable"
    assert (deployment.outcome(order).data.code, answers[1].data.code) == (code, code)
    assert answers[1].items == []
