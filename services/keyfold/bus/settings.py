"""Settings of the bus: addresses, deadlines, and how to authenticate. Secrets are named by file, never by value."""

import ssl
from typing import Any, Self

from pydantic import Field, model_validator

from keyfold.config import Config, ConfigError, KafkaSecurity, read_private

MIB = 1024 * 1024


class BusSettings(KafkaSecurity):
    """Frozen; every number carries its unit in its name."""

    bootstrap_servers: str
    client_id: str = "keyfold"

    start_timeout_s: float = Field(default=10.0, gt=0)
    commit_timeout_s: float = Field(default=5.0, gt=0)
    send_timeout_s: float = Field(default=5.0, gt=0)
    query_timeout_s: float = Field(default=5.0, gt=0)
    stop_timeout_s: float = Field(default=2.0, gt=0)
    request_timeout_s: float = Field(default=5.0, gt=0)
    transaction_timeout_ms: int = Field(default=5000, ge=1000)
    retry_backoff_ms: int = Field(default=50, ge=5)

    session_timeout_s: float = Field(default=6.0, gt=0)
    heartbeat_interval_s: float = Field(default=1.0, gt=0)

    fetch_max_wait_ms: int = Field(default=500, ge=10)
    fetch_max_bytes: int = 32 * MIB
    metadata_max_age_s: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _a_fetch_is_no_timeout(self) -> "BusSettings":
        if self.fetch_max_wait_ms >= self.request_timeout_s * 1000:
            raise ValueError("fetch_max_wait_ms must be below request_timeout_s, or idle fetches count as failures")
        return self

    @classmethod
    def of(cls, config: Config, client_id: str) -> Self:
        """Return the settings by which a process of a deployment reaches its brokers."""
        return cls(bootstrap_servers=config.bootstrap_servers, client_id=client_id, **config.kafka.model_dump())

    def connection(self) -> dict[str, Any]:
        """Return the arguments that every aiokafka client takes. Reads the files that are named.

        Raises `ConfigError` where one is missing, unusable, or a secret that others may read.
        """
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "request_timeout_ms": int(self.request_timeout_s * 1000),
            "retry_backoff_ms": self.retry_backoff_ms,
            "metadata_max_age_ms": int(self.metadata_max_age_s * 1000),
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol in {"SSL", "SASL_SSL"}:
            arguments["ssl_context"] = self._ssl_context()
        if self.sasl_password_file is not None:
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = read_private(self.sasl_password_file)
        return arguments

    def _ssl_context(self) -> ssl.SSLContext:
        certificate, key = self.ssl_certificate_file, self.ssl_key_file or self.ssl_certificate_file
        if key is not None:
            read_private(key)
        try:
            context = ssl.create_default_context(cafile=str(self.ssl_ca_file) if self.ssl_ca_file else None)
            if certificate is not None:
                context.load_cert_chain(str(certificate), str(key))
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            files = ", ".join(str(file) for file in (self.ssl_ca_file, certificate, key) if file is not None)
            raise ConfigError(f"TLS towards Kafka cannot be set up from {files}: {type(error).__name__}") from None
        return context
