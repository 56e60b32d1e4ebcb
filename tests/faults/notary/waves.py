"""What is written for a notary to sign."""

import asyncio

import pytest
from tests.support.notary_office import Office
from tests.support.notary_token import Died

from keyfold.notary.notary import Notary

WAVES = (1, 3, 260, 2)
PARTITION = 1


async def dies(office: Office) -> None:
    """Write until a notary has died at its token."""
    task = asyncio.create_task(Notary(await office.parts()).run())
    async with asyncio.timeout(10):
        while not task.done():
            await office.write(PARTITION, 2)
            await asyncio.sleep(0.02)
    with pytest.raises(Died):
        task.result()


async def write_waves(office: Office) -> None:
    """Write to two partitions, each wave after the one before was signed."""
    for count in WAVES:
        await office.write(PARTITION, count)
        await office.write(2, 2)
        await office.signed()
