"""Whether the brokers are set as the design relies on: nobody makes topics by the way, and no transaction blocks long.

Reading brokers' settings takes the right to describe the cluster's settings.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from keyfold.bus import teardown
from keyfold.bus.errors import BusError, NotAuthorized, is_refusal, unavailable
from keyfold.bus.settings import BusSettings

_LONGEST_TRANSACTION_MS: Final = 30_000
_CLEANUP_MS: Final = 1_000


def _between(least: int, most: int) -> Callable[[str], bool]:
    return lambda value: value.isdecimal() and least <= int(value) <= most


# By setting: what it must be, in words and as a test. An open transaction holds up every committed reader behind it.
_CONTRACT: Final[Mapping[str, tuple[str, Callable[[str], bool]]]] = {
    "auto.create.topics.enable": ("false", lambda value: value == "false"),
    "transaction.max.timeout.ms": (
        f"5000 to {_LONGEST_TRANSACTION_MS}", _between(5_000, _LONGEST_TRANSACTION_MS)
    ),
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": (
        f"at most {_CLEANUP_MS}", _between(1, _CLEANUP_MS)
    ),
}  # fmt: skip


def differences(settings: Mapping[str, str]) -> list[str]:
    """Compare one broker's settings with what they must be; one sentence for each that differs. Pure."""
    return [
        f"{name}={settings.get(name)}, must be {words}"
        for name, (words, holds) in _CONTRACT.items()
        if not holds(settings.get(name) or "")
    ]


async def broker_differences(settings: BusSettings) -> dict[int, list[str]]:
    """Ask every broker; return what differs by the broker's number. Raises `NotAuthorized`, `BusUnavailable`."""
    client: Any = AIOKafkaAdminClient(**settings.connection())
    try:
        async with asyncio.timeout(settings.start_timeout_s):
            await client.start()
            nodes = sorted(broker.nodeId for broker in client._client.cluster.brokers())
            wanted = [ConfigResource(ConfigResourceType.BROKER, str(node), dict.fromkeys(_CONTRACT)) for node in nodes]
            return {node: differences(values) for node, values in _by_node(await client.describe_configs(wanted))}
    except (TimeoutError, kafka.KafkaError) as error:
        raise unavailable("the brokers' settings cannot be read", error) from error
    finally:
        await teardown.close_client(client._client, settings.stop_timeout_s)


def _by_node(answers: list[Any]) -> list[tuple[int, dict[str, str]]]:
    found = []
    for answer in answers:
        for code, message, _, name, entries in answer.resources:
            if code:
                error, what = kafka.for_code(code)(), f"the settings of broker {name}"
                raise NotAuthorized(what, error) if is_refusal(error) else BusError(f"{what}: {message or error!r}")
            found.append((int(name), {entry[0]: entry[1] for entry in entries}))
    return found
