"""Whether the brokers are set as the design relies on, for `keyfold doctor`."""

from typing import Any

from keyfold.bus import BusSettings
from keyfold.bus.broker_settings import broker_differences
from keyfold.config import Config


async def broker_settings(config: Config) -> dict[str, Any]:
    """What differs, by broker."""
    found = await broker_differences(BusSettings.of(config, "keyfold-cli"))
    return {"brokers": len(found), "differences": {node: told for node, told in found.items() if told}}
