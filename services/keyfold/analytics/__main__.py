"""The analytics process: `python -m keyfold.analytics --config FILE`. Its one composition root."""

import logging

from keyfold.analytics.alert_store import StoredAlerts
from keyfold.analytics.alerts import AlertAuthor
from keyfold.analytics.app import Stages, parts
from keyfold.analytics.connecting import Acting
from keyfold.analytics.detectors import DetectorSettings, all_detectors
from keyfold.analytics.sealing import Seal
from keyfold.analytics.service import Service
from keyfold.analytics.settings import AnalyticsSettings
from keyfold.bus import BusSettings, KafkaBus
from keyfold.collecting import collect_rarely
from keyfold.config import Config, ConfigError, mark_ready
from keyfold.identity import load_identity
from keyfold.log import TrustKeeper, require_partitions
from keyfold.process import closing, main, until_signalled
from keyfold.projections.store.alerts import PostgresAlertStore
from keyfold.telemetry.serving import Served, served

NAME = "analytics"


async def serve(config: Config, instance: str) -> None:
    """Run until SIGTERM or SIGINT."""
    async with served(config, NAME, instance) as telemetry:
        await _serve(config, instance, telemetry)


async def _serve(config: Config, instance: str, telemetry: Served) -> None:
    if config.deployment is None:
        raise ConfigError("the settings name no deployment; run the root ceremony (keyfold init) first")
    _quieten()
    collect_rarely()
    signer = load_identity(config.identities_directory / f"{NAME}.json").signer
    settings, bus = AnalyticsSettings(), BusSettings.of(config, f"keyfold-analytics-{instance}")
    keeper = TrustKeeper(KafkaBus(bus), config.deployment, config.partitions)
    shared = parts(
        settings,
        bus,
        instance,
        config.data_directory / NAME,
        partitions=config.partitions,
        seal=Seal.of(config.deployment, signer.sign),
    )
    author = AlertAuthor(config.deployment, signer.fingerprint, signer.sign)
    writer = StoredAlerts(PostgresAlertStore(config.postgres_dsn))
    acting = Acting(config, instance)
    detectors = all_detectors(DetectorSettings())
    stages = Stages(shared, keeper, detectors, author, writer=writer, actor=acting.actor)
    try:
        await keeper.catch_up()
        await require_partitions(KafkaBus(bus), config.partitions)
        service = Service(shared.app, stages, keeper, settings.trust_interval_s, lambda: mark_ready(config, NAME))
        telemetry.vitals.add(service.checks)
        await until_signalled(service.run())
    finally:
        await closing(keeper.stop, writer.close, acting.close)


def _quieten() -> None:
    """Faust tells much of its own life, under the names of its subclasses too; what is wrong is a warning."""
    for name in ("faust", "mode", "aiokafka", "keyfold.analytics.transport", "keyfold.analytics.tables"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main(NAME, serve)
