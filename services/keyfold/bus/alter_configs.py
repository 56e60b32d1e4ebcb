"""Kafka's request `IncrementalAlterConfigs` (KIP-339) for topics: sets what is named, leaves the rest as it is.

aiokafka has only `AlterConfigs`, which puts every setting that is not named back to the brokers' default.
"""

from collections.abc import Mapping
from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

_KEY: Final = 44
# Apache Kafka's protocol: ConfigResource.Type, AlterConfigOp.OpType.
_TOPIC: Final = 2
_SET: Final = 0


class _Answer(Response):  # type: ignore[misc]
    API_KEY = _KEY
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = _KEY
    API_VERSION = 0
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("configs", Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8")))),
            ),
        ),
        ("validate_only", Boolean),
    )


class AlterConfigs(Request[_Question]):  # type: ignore[misc]
    """Settings by topic. The answer's `responses` hold (error code, message, type, name) for each topic."""

    API_KEY = _KEY

    def __init__(self, settings: Mapping[str, Mapping[str, str]]) -> None:
        self._resources = [
            (_TOPIC, name, [(key, _SET, value) for key, value in wanted.items()]) for name, wanted in settings.items()
        ]

    def build(self, request_struct_class: Any) -> Any:
        """Return the request in the one version that is spoken here."""
        return request_struct_class(self._resources, False)
