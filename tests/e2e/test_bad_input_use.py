"""Commands that may not be served: wrong address, rights, state, name, policy, and ciphertexts that are not the key's.

Each gets its typed answer and its event; after it a good command on the same partition is executed and answered.
"""

from typing import Any

import pytest
from tests.support.forge import damaged
from tests.support.scene import SECRET, Stage, partition_stream

from keyfold.client import Keyfold
from keyfold.events import errors, facts, topics
from keyfold.events.errors import InvalidPolicy
from keyfold.events.streams import REGISTRY

pytestmark = pytest.mark.stack
pytest_plugins = ["tests.support.running_stack"]

CONTEXT = {"purpose": "bad input"}


@pytest.mark.parametrize(
    ("contexts", "code"),
    [
        ([{"a": "x" * 9000}], "BatchTooLarge"),
        ([{str(n): "x" * 8000} for n in range(9)], "BatchTooLarge"),
        ([{"a": "b"}, {"a": "b"}], "InvalidCommand"),
        ([{"a": "b", "c": "d"}, {"c": "d", "a": "b"}], "InvalidCommand"),
        ([{"a": str(n)} for n in range(3)], "BatchTooLarge"),
    ],
    ids=["one-large", "all-large", "twice", "twice-reordered", "more-than-items"],
)
async def test_contexts_are_small_and_distinct(on: Stage, contexts: list[dict[str, str]], code: str) -> None:
    """8 KiB each, 64 KiB together, none twice, no more than items."""
    items = [(0, SECRET)] * (2 if code == "InvalidCommand" else 9 if len(contexts) == 9 else 1)
    await on.refused(on.encrypt(items=items, contexts=contexts), code)


# Where to


@pytest.mark.parametrize(
    "topic",
    [topics.EVENTS, topics.AUTHORIZED, "keyfold.repliesx", "keyfold.replies.", "keyfold.replies.a/b", "other", ""],
)
async def test_a_reply_address_outside_the_prefix_is_denied_in_silence(on: Stage, topic: str) -> None:
    """Nobody can have a service write elsewhere, not even an error."""
    command = on.encrypt(edit=lambda document: document["data"]["reply"].update(topic=topic))
    await on.send(command)
    assert (await on.wire.event(command, facts.CommandDenied)).code == "ReplyAddressInvalid"
    await on.goes_on(on.scene.stream("software"))
    assert on.wire.replies_to(command) == []
    assert len(on.wire.events_of(command)) == 1


@pytest.mark.parametrize("reply", [{"partition": 99}, {"topic": "keyfold.replies.nobody"}], ids=["partition", "topic"])
async def test_a_reply_address_that_does_not_exist_costs_the_reply_only(on: Stage, reply: dict[str, Any]) -> None:
    """The command is executed and recorded; results and errors to there are dropped."""
    edit = lambda document: document["data"]["reply"].update(reply)  # noqa: E731
    good, bad = on.encrypt(edit=edit), on.encrypt("disabled", edit=edit)
    await on.send(good)
    await on.send(bad)
    await on.wire.event(good, facts.KeyUsed)
    await on.wire.event(bad, facts.CommandDenied)
    await on.goes_on(on.scene.stream("software"))
    assert on.wire.replies_to(good) == []


# What


async def test_who_may_not_is_denied_and_learns_nothing(on: Stage) -> None:
    """No policy permits an administrator to encrypt; that the key does not exist is not told either."""
    for key in ("software", "unknown", "destroyed"):
        await on.refused(on.encrypt(key, who="admin"), "AccessDenied") if key == "software" else await _denied(on, key)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("unknown", "NotFound"),
        ("disabled", "KeyDisabled"),
        ("pending", "KeyPendingDeletion"),
        ("destroyed", "KeyDestroyed"),
    ],
)
@pytest.mark.parametrize("verb", ["Encrypt", "Decrypt", "GenerateDataKey"])
async def test_a_key_in_the_wrong_state_is_refused(on: Stage, key: str, code: str, verb: str) -> None:
    """Unknown, disabled, pending deletion and destroyed, each with its own code."""
    command = on.forge().command(verb, on.scene.stream(key), items=[(0, SECRET)])
    await on.send(command)
    told, denied = await on.wire.told(command), await on.wire.event(command, facts.CommandDenied)
    assert (told.data.code, denied.code) == (code, code)
    await on.goes_on()


async def test_an_alias_that_moved_is_refused(on: Stage) -> None:
    """The client resolved it to what it was; the command says so, and policy compares."""
    alias = on.scene.aliases["orders"]
    await on.refused(on.encrypt("other", data={"alias": alias}), "AliasMoved")
    command = on.encrypt("software", data={"alias": alias})
    await on.send(command)
    assert (await on.wire.told(command)).data.code is None


@pytest.mark.parametrize(
    "text",
    ["permit (", "permit (principal, action, resource) when { resource.colour };", "// nothing", "¬"],
    ids=["syntax", "schema", "empty", "noise"],
)
async def test_an_invalid_policy_is_refused_and_the_rules_stand(on: Stage, text: str) -> None:
    """Nothing that cannot be evaluated is ever put."""
    arguments = {"policy": "broken", "text": text}
    await on.refused(on.forge("admin").command("PutPolicy", REGISTRY, arguments=arguments), InvalidPolicy.code)
    await on.refused(
        on.forge("admin").command("PutPolicy", partition_stream(on.scene, 2), arguments=arguments), InvalidPolicy.code
    )


# Ciphertexts


@pytest.mark.parametrize("key", ["software", "hsm"])
async def test_a_ciphertext_opens_whole_under_its_key_and_context_only(on: Stage, key: str) -> None:
    """Every region damaged, cut, extended, of another key, version, level or context: one code for each item."""
    mine, longer = await on.encrypted(key, [SECRET + b"mine", SECRET + b"longer" * 9], CONTEXT)
    (others,) = await on.encrypted("other" if key == "software" else "other-hsm", [SECRET], CONTEXT)
    (level,) = await on.encrypted("hsm" if key == "software" else "software", [SECRET], CONTEXT)
    header = 26
    bad = [damaged(mine, at) for at in (*range(header), header, header + 13, len(mine) // 2, -20, -1)]
    bad += [mine[:at] for at in (0, 4, header - 1, header, header + 20, -17, -1)]
    bad += [mine + b"\0", others, level, longer[:header] + others[header:], others[:header] + mine[header:]]
    bad += [mine[:-16] + longer[-16:], b"", SECRET, bytes(200), mine[: header - 1] + b"\7" + mine[header:]]
    await _all_invalid(on, key, [*bad, mine], CONTEXT, good=1)
    for context in ({}, {"purpose": "another"}, {**CONTEXT, "more": ""}, {"Purpose": "bad input"}):
        await _all_invalid(on, key, [mine], context, good=0)


async def test_a_failed_item_is_reported_by_its_place_and_the_rest_is_served(on: Stage) -> None:
    """`KeyUsed` names which items failed and why; ReEncrypt does not protect what did not open."""
    first, second = await on.encrypted("software", [SECRET + b"1", SECRET + b"2"], CONTEXT)
    items = [(0, first), (0, damaged(second, -1)), (0, second)]
    command = on.forge().command("ReEncrypt", on.scene.stream("software"), items=items, contexts=[CONTEXT])
    await on.send(command)
    told = await on.wire.told(command)
    assert [item.code for item in told.items] == [None, "InvalidCiphertext", None]
    used = await on.wire.event(command, facts.KeyUsed)
    assert (used.failures, used.items, used.versions) == ({"InvalidCiphertext": [1]}, 3, {"1": 2})


async def test_the_sdk_maps_refusals_to_types(on: Stage) -> None:
    """What the wire says, an application catches."""
    async with on.scene.client("alice") as kms:
        await _raises(kms, on.scene.keys["disabled"], errors.KeyDisabled)
        await _raises(kms, on.scene.keys["destroyed"], errors.KeyDestroyed)
        await _raises(kms, on.scene.keys["unknown"], errors.NotFound)
        with pytest.raises(errors.InvalidCiphertext):
            await kms.decrypt(on.scene.keys["software"], SECRET * 10)
    async with on.scene.client("rita") as kms:
        await _raises(kms, on.scene.keys["software"], errors.PrincipalRevoked)


async def _raises(kms: Keyfold, key: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        await kms.encrypt(key, SECRET)
    assert SECRET.hex() not in str(caught.value)


async def _denied(on: Stage, key: str) -> None:
    command = on.encrypt(key, who="admin")
    await on.send(command)
    assert (await on.wire.told(command)).data.code == "AccessDenied"


async def _all_invalid(on: Stage, key: str, ciphertexts: list[bytes], context: dict[str, str], good: int) -> None:
    command = on.decrypt(key, ciphertexts, context)
    await on.send(command)
    told, used = await on.wire.told(command), await on.wire.event(command, facts.KeyUsed)
    count = len(ciphertexts) - good
    assert [item.code for item in told.items] == ["InvalidCiphertext"] * count + [None] * good
    assert used.failures == {"InvalidCiphertext": list(range(count))}
    await on.goes_on(on.scene.stream(key))
