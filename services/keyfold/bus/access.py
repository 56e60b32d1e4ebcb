"""Setting access rules on a cluster: one `CreateAcls` request each, sent to the controller.

Adding a rule that is there changes nothing. Rules that are there and not in the table are left alone: they may be
somebody else's.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from keyfold.bus import teardown
from keyfold.bus.errors import BusError, BusUnavailable, NotAuthorized, is_refusal
from keyfold.bus.settings import BusSettings
from keyfold.events.topic_access import AccessRule

# Apache Kafka's protocol: ResourceType, PatternType, AclOperation, AclPermissionType.
_RESOURCES: Final[Mapping[str, int]] = {"topic": 2, "group": 3, "cluster": 4, "transactional-id": 5}
_PATTERNS: Final[Mapping[str, int]] = {"literal": 3, "prefixed": 4}
_OPERATIONS: Final[Mapping[str, int]] = {
    "Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Describe": 8, "DescribeConfigs": 10,
}  # fmt: skip
_ALLOW: Final = 3


async def allow(settings: BusSettings, rules: Iterable[AccessRule]) -> int:
    """Set rules and return how many there are.

    Raises `NotAuthorized` where this user may not set any, `BusError` where the cluster has no authorizer, and
    `BusUnavailable`.
    """
    client: Any = AIOKafkaAdminClient(**settings.connection())
    count = 0
    try:
        async with asyncio.timeout(settings.start_timeout_s):
            await client.start()
        for rule in rules:
            async with asyncio.timeout(settings.query_timeout_s):
                answer = await client._send_to_controller(_request(rule))
            for code, message in answer.creation_responses:
                _check(rule, code, message)
            count += 1
    except (TimeoutError, kafka.KafkaError) as error:
        raise BusUnavailable(f"access rules cannot be set: {error!r}") from error
    finally:
        await teardown.close_client(client._client, settings.stop_timeout_s)
    return count


def _request(rule: AccessRule) -> Any:
    return CreateAclsRequest(
        _RESOURCES[rule.resource],
        rule.name,
        _PATTERNS[rule.pattern],
        rule.principal,
        "*",
        _OPERATIONS[rule.operation],
        _ALLOW,
    )


def _check(rule: AccessRule, code: int, message: str | None) -> None:
    if code:
        error = kafka.for_code(code)()
        what = f"the rule that {rule.principal} may {rule.operation} {rule.name}"
        raise NotAuthorized(what, error) if is_refusal(error) else BusError(f"{what}: {message or error!r}")
