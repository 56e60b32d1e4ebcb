"""What a proposal proposes: the same command for everybody who reads the same bytes."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from keyfold.events import commands
from keyfold.events.command_envelope import DataPlaneData
from keyfold.events.errors import InvalidCommand
from keyfold.events.proposals import NOT_PROPOSABLE, proposed_command, proposed_in

USE = "ProposeCommand of a use"


def proposing(document: dict[str, Any]) -> commands.ProposeCommand:
    command = commands.parse_command(json.dumps(document).encode())
    assert isinstance(command, commands.ProposeCommand)
    return command


def wished(document: Callable[..., dict[str, Any]], verb: str, **more: Any) -> dict[str, Any]:
    """A proposing command for a verb's example, on that one's stream."""
    example = document(verb)
    made = document("ProposeCommand", subject=example["subject"], data__arguments__verb=verb, **more)
    made["data"]["arguments"]["arguments"] = example["data"]["arguments"]
    if commands.BY_VERB[verb].data_plane:
        made["data"]["arguments"] |= {name: example["data"][name] for name in ("contexts", "items", "bytes")}
    return made


PROPOSABLE = [model.verb for model in commands.COMMANDS if model.verb not in NOT_PROPOSABLE]


@pytest.mark.parametrize("verb", PROPOSABLE)
def test_every_other_verb(document: Callable[..., dict[str, Any]], verb: str) -> None:
    """The proposed command is its author's, on the same stream and under the same id, with the arguments wished for."""
    made = wished(document, verb, data__reason="because")
    command = proposed_command(proposing(made))
    assert type(command) is commands.BY_VERB[verb]
    assert (command.id, command.subject, command.source, command.time) == (
        made["id"], made["subject"], made["source"], made["time"],
    )  # fmt: skip
    assert (command.data.principal, command.data.signing_key, command.data.reason) == (
        made["data"]["principal"], made["data"]["signing_key"], "because",
    )  # fmt: skip
    assert command.data.arguments.model_dump(exclude_unset=True, mode="json") == document(verb)["data"]["arguments"]
    if isinstance(command.data, DataPlaneData):
        example = document(verb)["data"]
        assert (command.data.contexts, command.data.items, command.data.bytes) == (
            example["contexts"], example["items"], example["bytes"],
        )  # fmt: skip
        assert command.data.proposal is None


def test_a_dry_run_proposes_what_is_none(document: Callable[..., dict[str, Any]]) -> None:
    """Whether the proposing is a dry run says nothing about the proposed command."""
    assert proposed_command(proposing(document("ProposeCommand", data__dry_run=True))).data.dry_run is False


def test_from_bytes(examples: Any) -> None:
    """The same command is found in the bytes that a decision or a proposal holds."""
    value = examples.command_example(USE)["value"].encode()
    assert proposed_in(value) == proposed_command(proposing(json.loads(value)))
    assert proposed_in(value).verb == "Decrypt"
    with pytest.raises(InvalidCommand, match="proposes nothing"):
        proposed_in(examples.command_example("Decrypt")["value"].encode())


@pytest.mark.parametrize("verb", [*sorted(NOT_PROPOSABLE), "Frobnicate", "Aaa"])
def test_not_proposable(document: Callable[..., dict[str, Any]], verb: str) -> None:
    """Proposals of proposals, of who somebody is, of keyless and of unknown verbs are refused."""
    with pytest.raises(InvalidCommand, match="cannot be proposed"):
        proposed_command(proposing(document("ProposeCommand", data__arguments__verb=verb)))


@pytest.mark.parametrize("name", ["contexts", "items", "bytes"])
def test_extent_of_a_use(document: Callable[..., dict[str, Any]], name: str) -> None:
    """A use is proposed with contexts, items and bytes, all of them; a control verb with none."""
    with pytest.raises(InvalidCommand, match="data-plane"):
        proposed_command(proposing(document(USE, **{f"data__arguments__{name}": None})))
    value = document(USE)["data"]["arguments"][name]
    with pytest.raises(InvalidCommand, match="data-plane"):
        proposed_command(proposing(document("ProposeCommand", **{f"data__arguments__{name}": value})))


@pytest.mark.parametrize("arguments", [{"more": 1}, {"tags": {}}, {"tags": {"": ""}}, {}])
def test_arguments_are_the_verbs(document: Callable[..., dict[str, Any]], arguments: dict[str, Any]) -> None:
    """Arguments that the verb itself would refuse are refused when they are proposed."""
    made = document("ProposeCommand", data__arguments__verb="TagResource", data__arguments__arguments=arguments)
    with pytest.raises(InvalidCommand, match="schema"):
        proposed_command(proposing(made))


@pytest.mark.parametrize(
    ("verb", "stream"), [("TagResource", "registry"), ("PutLimit", "key"), ("Encrypt", "registry")]
)
def test_stream_must_fit_the_verb(
    document: Callable[..., dict[str, Any]], examples: Any, verb: str, stream: str
) -> None:
    """A verb is proposed on a stream that it could be sent on."""
    made = wished(document, verb)
    made["subject"] = examples.KEY_STREAM if stream == "key" else stream
    with pytest.raises(InvalidCommand, match="does not belong"):
        proposed_command(proposing(made))
