"""Setting quotas on a cluster: one request `AlterClientQuotas` (KIP-546), which aiokafka lacks.

What is set for other users, and other quotas of the same users, is left alone.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Float64, Int16, Int32, Schema, String

from keyfold.bus import teardown
from keyfold.bus.errors import BusError, BusUnavailable, NotAuthorized, is_refusal
from keyfold.bus.settings import BusSettings
from keyfold.events.quotas import Quota

_KEY: Final = 49
_USER: Final = "user"
_ENTITY: Final = ("entity", Array(("entity_type", String("utf-8")), ("entity_name", String("utf-8"))))


class _Answer(Response):  # type: ignore[misc]
    API_KEY = _KEY
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("entries", Array(("error_code", Int16), ("error_message", String("utf-8")), _ENTITY)),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = _KEY
    API_VERSION = 0
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "entries",
            Array(_ENTITY, ("ops", Array(("key", String("utf-8")), ("value", Float64), ("remove", Boolean)))),
        ),
        ("validate_only", Boolean),
    )


class _AlterClientQuotas(Request[_Question]):  # type: ignore[misc]
    API_KEY = _KEY

    def __init__(self, rows: Iterable[Quota]) -> None:
        self._entries = [
            ([(_USER, row.user)], [(name, value, False) for name, value in row.values().items()]) for row in rows
        ]

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._entries, False)


async def limit(settings: BusSettings, rows: Iterable[Quota]) -> int:
    """Set quotas and return of how many users.

    Raises `NotAuthorized` where this user may not set any, `BusError`, and `BusUnavailable`.
    """
    client: Any = AIOKafkaAdminClient(**settings.connection())
    try:
        async with asyncio.timeout(settings.start_timeout_s):
            await client.start()
            answer = await client._send_to_controller(_AlterClientQuotas(rows))
        for code, message, entity in answer.entries:
            _check(entity, code, message)
        return len(answer.entries)
    except (TimeoutError, kafka.KafkaError) as error:
        raise BusUnavailable(f"quotas cannot be set: {error!r}") from error
    finally:
        await teardown.close_client(client._client, settings.stop_timeout_s)


def _check(entity: list[tuple[str, str]], code: int, message: str | None) -> None:
    if code:
        error = kafka.for_code(code)()
        what = f"the quota of {', '.join(name for _, name in entity)}"
        raise NotAuthorized(what, error) if is_refusal(error) else BusError(f"{what}: {message or error!r}")
