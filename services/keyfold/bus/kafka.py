"""The bus on Kafka: hands out ports that share one set of settings and nothing else."""

from keyfold.bus.admin import KafkaAdmin
from keyfold.bus.membership import KafkaMembership
from keyfold.bus.reader import KafkaReader
from keyfold.bus.sender import KafkaSender
from keyfold.bus.settings import BusSettings
from keyfold.bus.writer import KafkaWriter


class KafkaBus:
    """See `keyfold.bus.ports.Bus`."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings

    def writer(self, transactional_id: str) -> KafkaWriter:
        """Return an unstarted writer of this transactional id."""
        return KafkaWriter(self._settings, transactional_id)

    def reader(self, topic: str, partition: int, *, committed: bool) -> KafkaReader:
        """Return an unstarted reader of one partition."""
        return KafkaReader(self._settings, topic, partition, committed=committed)

    def sender(self) -> KafkaSender:
        """Return an unstarted sender."""
        return KafkaSender(self._settings)

    def membership(self, group: str, topic: str, instance_id: str) -> KafkaMembership:
        """Return an unstarted member of a group; `instance_id` names this process across restarts."""
        return KafkaMembership(self._settings, group, topic, instance_id)

    def admin(self) -> KafkaAdmin:
        """Return an unconnected admin client."""
        return KafkaAdmin(self._settings)
