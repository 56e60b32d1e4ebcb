"""The policy process: `python -m keyfold.policy --config FILE`. Its one composition root."""

from keyfold.bus import BusSettings, KafkaBus
from keyfold.config import Config, mark_ready
from keyfold.identity import load_identity
from keyfold.log import Author, DeadLetters, RegistryFollower
from keyfold.policy.processor import Parts
from keyfold.policy.service import Service
from keyfold.policy.vitals import PolicyVitals
from keyfold.process import closing, main, until_signalled
from keyfold.telemetry.serving import Served, served


async def serve(config: Config, instance: str) -> None:
    """Run until SIGTERM or SIGINT."""
    async with served(config, "policy", instance) as telemetry:
        await _serve(config, instance, telemetry)


async def _serve(config: Config, instance: str, telemetry: Served) -> None:
    signer = load_identity(config.identities_directory / "policy.json").signer
    deployment = config.deployment or ""
    bus = KafkaBus(BusSettings.of(config, f"keyfold-policy-{instance}"))
    sender = bus.sender()
    follower = RegistryFollower(bus, deployment)
    author = Author(
        deployment,
        "policy",
        signer.fingerprint,
        signer.sign,
        lambda: follower.require_licence("policy", signer.fingerprint),
    )
    parts = Parts(bus, author, follower, sender, DeadLetters(sender, "policy"))
    service = Service(parts, signer, instance, lambda: mark_ready(config, "policy"))
    PolicyVitals(parts, service).tell(telemetry)
    try:
        await sender.start()
        await until_signalled(service.run())
    finally:
        await closing(follower.stop, sender.stop)


if __name__ == "__main__":
    main("policy", serve)
