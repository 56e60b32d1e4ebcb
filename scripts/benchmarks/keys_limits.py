"""Limits that figures of many keys are held against, measured in the same run: nothing here checks or keeps anything.

    python -m benchmarks.keys_limits CONFIG CAPACITY KEYS

prints how many handles were open at most when so many keys went through a cache of that capacity. Reading is what a
restart cannot do without; making and wrapping one AES key is what creating a key cannot do without.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks import bare_token
from keyfold.bus import Bus, BusSettings, KafkaBus
from keyfold.config import Config, export_softhsm2_conf, load_config
from keyfold.custody import Custody, Handle, HandleCache, KeyReference
from keyfold.token import load_module, open_token

SPEC: Final = "SYMMETRIC_DEFAULT"


async def read_rate(config: Config, topic: str) -> tuple[float, int]:
    """Read a topic to its end, one partition after the other, as a restart does: records per second, and how many."""
    bus = KafkaBus(BusSettings(bootstrap_servers=config.bootstrap_servers, client_id="bench"))
    begin = time.perf_counter()
    count = sum([await _read(bus, topic, partition) for partition in range(config.partitions)])
    return count / (time.perf_counter() - begin), count


async def _read(bus: Bus, topic: str, partition: int) -> int:
    reader = bus.reader(topic, partition, committed=True)
    count = 0
    try:
        await reader.start(None)
        async for batch in reader.read_to_end():
            count += len(batch)
    finally:
        await reader.stop()
    return count


async def parse_rate(config: Config, topic: str, most: int = 20_000) -> float:
    """Parse values of a topic with the standard library's `json`, and drop them; return documents per second."""
    bus = KafkaBus(BusSettings(bootstrap_servers=config.bootstrap_servers, client_id="bench"))
    reader = bus.reader(topic, 1, committed=True)
    values: list[bytes] = []
    try:
        await reader.start(None)
        async for batch in reader.read_to_end():
            values += [record.value for record in batch if record.value]
            if len(values) >= most:
                break
    finally:
        await reader.stop()
    begin = time.perf_counter()
    for value in values:
        json.loads(value)
    return len(values) / (time.perf_counter() - begin)


def generate_rate(module: Path) -> float:
    """Make and wrap AES keys in a token of its own, through python-pkcs11 alone; return keys per second."""
    return bare_token.rate(module, GENERATE_LOOP)


class _Counted:
    """A handle that counts itself while it is open."""

    def __init__(self, handle: Handle, open_now: list[int]) -> None:
        self._handle, self._open_now = handle, open_now
        open_now[0] += 1

    @property
    def reference(self) -> KeyReference:
        return self._handle.reference

    def destroy(self) -> None:
        self._open_now[0] -= 1
        self._handle.destroy()


def open_handles(config: Config, capacity: int, keys: int) -> int:
    """Open so many HSM keys, one after the other, through a cache of this capacity; return the most open at a time."""
    export_softhsm2_conf(config)
    cache, open_now, most = HandleCache(capacity), [0], 0
    with open_token(load_module(config.pkcs11_module), "kms", config.pins_directory / "kms", pool_size=1) as token:
        custody = Custody(token)
        custody.attach()
        reference = KeyReference(os.urandom(16), 1, SPEC, "HSM")
        blob = custody.generate(reference).blob
        for version in range(1, keys + 1):
            # One blob serves: what is counted is how many handles stay open, each under a reference of its own.
            place = reference._replace(version=version)
            with cache.get(place, lambda: _Counted(custody.open(reference, blob), open_now)):
                most = max(most, open_now[0])
        cache.clear()
    return most


GENERATE_LOOP: Final = """
wrapping = session.generate_key(KeyType.AES, 256, store=False, template={Attribute.WRAP: True})
count = 3000
start = time.perf_counter()
for _ in range(count):
    key = session.generate_key(KeyType.AES, 256, store=False,
                               template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: True})
    wrapping.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD)
    key.destroy()
print(count / (time.perf_counter() - start))
"""

if __name__ == "__main__":
    print(open_handles(load_config(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])))
