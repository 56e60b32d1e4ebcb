"""The bus: the one place that meets aiokafka. Transactions, readers, membership and topics with plain guarantees.

The ports and what they promise are in `ports`; `KafkaBus` keeps the promises on a cluster, `MemoryBus` in memory.
Nothing here knows what a record means.
"""

from keyfold.bus.errors import (
    BusError,
    BusUnavailable,
    Fenced,
    InDoubt,
    NotAuthorized,
    PositionLost,
    RecordRefused,
    RecordTooLarge,
    TopicMismatch,
    UnknownDestination,
    WriterUnusable,
)
from keyfold.bus.header_names import read_any_header_name
from keyfold.bus.kafka import KafkaBus
from keyfold.bus.memory import Fault, MemoryBus, MemoryCluster
from keyfold.bus.ports import Admin, Bus, Membership, Reader, Sender, Writer
from keyfold.bus.records import Headers, Inbound, Outbound, header_bytes
from keyfold.bus.settings import BusSettings

__all__ = [
    "Admin",
    "Bus",
    "BusError",
    "BusSettings",
    "BusUnavailable",
    "Fault",
    "Fenced",
    "Headers",
    "InDoubt",
    "Inbound",
    "KafkaBus",
    "Membership",
    "MemoryBus",
    "MemoryCluster",
    "NotAuthorized",
    "Outbound",
    "PositionLost",
    "Reader",
    "RecordRefused",
    "RecordTooLarge",
    "Sender",
    "TopicMismatch",
    "UnknownDestination",
    "Writer",
    "WriterUnusable",
    "header_bytes",
]

read_any_header_name()
