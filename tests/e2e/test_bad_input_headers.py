"""Headers that Keyfold's own clients never write, and any Kafka client can: the record is judged, the next served."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from tests.support.header_names import NotText, write_any_header_name
from tests.support.scene import Stage

from keyfold.events.statements import SEALED_HEADER, SIGNATURE_HEADER, SIGNER_HEADER

pytestmark = pytest.mark.stack
pytest_plugins = ["tests.support.running_stack"]


@pytest.mark.parametrize(
    "strange",
    [("x", None), ("é" * 200, b""), ("traceparent", None), (NotText("x"), b"h"), (NotText("x"), None)],
    ids=["no value", "long name", "no trace", "no text", "nothing"],
)
async def test_a_header_that_nobody_knows_is_not_read(
    on: Stage, strange: tuple[str, bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is as good as it was, and so is its partition."""
    write_any_header_name(monkeypatch)
    command = on.encrypt(headers=lambda honest: (strange, *honest, strange))
    await on.send(command)
    assert (await on.wire.told(command)).data.code is None
    await on.goes_on(on.scene.stream("software"))


@pytest.mark.parametrize("name", [SIGNER_HEADER, SIGNATURE_HEADER, SEALED_HEADER])
async def test_a_header_without_its_value_is_as_good_as_none(on: Stage, name: str) -> None:
    """Who wrote it, or what it says, is not known then: it is refused, and the partition goes on."""
    command = on.encrypt(headers=lambda honest: tuple((n, None if n == name else v) for n, v in honest))
    assert await on.wire.letter(await on.send(command), "policy")
    await on.goes_on(on.scene.stream("software"))


async def test_a_compressed_command_is_served(on: Stage) -> None:
    """Producers may compress as they like."""
    command = on.encrypt()
    record = command.record
    producer = AIOKafkaProducer(bootstrap_servers=on.scene.config.bootstrap_servers, compression_type="gzip")
    async with asyncio.timeout(20):
        await producer.start()
        try:
            await producer.send_and_wait(
                record.topic, record.value, record.key, record.partition, headers=list(record.headers)
            )
        finally:
            await producer.stop()
    assert (await on.wire.told(command)).data.code is None
    await on.goes_on(on.scene.stream("software"))
