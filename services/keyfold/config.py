"""The one settings model that every process reads: a JSON file, checked once at start and frozen.

It holds places and sizes, never secrets: PINs and private keys lie in 0600 files under the directories named here,
Kafka passwords in files of their own, and the Postgres connection strings name a password file. It starts nothing and
connects to nothing.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from keyfold.events.errors import KeyfoldError
from keyfold.projections.connections import require_sound

CONFIG_FILE: Final = "keyfold.json"

Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$")]
ConnectionString = Annotated[str, Field(min_length=1), AfterValidator(require_sound)]
LogLevel = Literal["debug", "info", "warning", "error"]


class ConfigError(KeyfoldError):
    """The settings file is missing or wrong; the message is one line and names the file and the field."""

    code = "ConfigError"


class KafkaSecurity(BaseModel):
    """How a process proves to Kafka who it is, and Kafka to it. Secrets are named by file, never by value.

    `SSL` with a certificate of one's own is mutual TLS; `SASL_SSL` is TLS with a SCRAM password. What each role may do
    on the cluster is a matter of the brokers' access rules (`keyfold topics acl`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_ca_file: Path | None = None
    ssl_certificate_file: Path | None = None
    ssl_key_file: Path | None = None
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password_file: Path | None = None

    @model_validator(mode="after")
    def _no_half_credentials(self) -> Self:
        protocol, by_password = self.security_protocol, {self.sasl_username, self.sasl_password_file}
        if protocol.startswith("SASL") and None in by_password:
            raise ValueError(f"{protocol} needs sasl_username and sasl_password_file")
        if not protocol.startswith("SASL") and by_password != {None}:
            raise ValueError(f"a password is of no use with {protocol}; set security_protocol to SASL_SSL")
        if protocol == "SASL_PLAINTEXT" and self.sasl_mechanism == "PLAIN":
            raise ValueError("PLAIN without TLS would send the password in the clear; set SASL_SSL, or use SCRAM")
        tls = (self.ssl_ca_file, self.ssl_certificate_file, self.ssl_key_file)
        if not protocol.endswith("SSL") and any(file is not None for file in tls):
            raise ValueError(f"TLS files are of no use with {protocol}; set security_protocol to SSL or SASL_SSL")
        if self.ssl_key_file is not None and self.ssl_certificate_file is None:
            raise ValueError("ssl_key_file needs ssl_certificate_file")
        return self


class Telemetry(BaseModel):
    """Where a process serves its metrics and its health, and where its traces go. All of it is off by default.

    `port` 0 takes a free one, which is told in the log and in `run/`: for several processes on one machine. Metrics and
    health have no access control: a `host` that others can reach is for networks that only a monitor reaches.
    `services` says where other processes serve theirs, `host:port` by any name, for `keyfold doctor`. `traces` is the
    whole address of a collector (OTLP over HTTP); `trace_ratio` is the share of traces that begin here and are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int | None = Field(default=None, ge=0, le=65535)
    services: dict[str, Address] = Field(default_factory=dict)
    traces: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")] | None = None
    trace_ratio: float = Field(default=1.0, ge=0, le=1)


class Config(BaseModel):
    """Settings of one process of a deployment; on one machine, all its processes have the same.

    `deployment` is the fingerprint of the root identity (hex SHA-256): None until the root ceremony has run.
    `postgres_dsn` belongs to the owner of the projections, `postgres_reader_dsn` to those that only read
    (CLI, auditors). `kafka` says who this process is to the brokers. `pins_directory` holds one 0600 file per token
    role; `identities_directory` the private keys of services and principals. `development` allows what production
    refuses, such as a short deletion wait.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    data_directory: Path
    bootstrap_servers: str = Field(min_length=1)
    deployment: Fingerprint | None = None
    partitions: int = Field(default=4, ge=2, le=1024)
    replication_factor: int = Field(default=1, ge=1, le=32767)
    postgres_dsn: ConnectionString
    postgres_reader_dsn: ConnectionString
    pkcs11_module: Path
    softhsm2_conf: Path | None = None
    pins_directory: Path
    identities_directory: Path
    development: bool = False
    kafka: KafkaSecurity = KafkaSecurity()
    telemetry: Telemetry = Telemetry()
    session_pool_size: int = Field(default=1, ge=1, le=64)
    log_level: LogLevel = "info"

    @property
    def run_directory(self) -> Path:
        """Process records and `<name>.ready` files of the processes that run now."""
        return self.data_directory / "run"

    @property
    def logs_directory(self) -> Path:
        """One log file per process."""
        return self.data_directory / "logs"

    @property
    def path(self) -> Path:
        """Where these settings are kept, in an embedded deployment."""
        return self.data_directory / CONFIG_FILE


def load_config(path: Path | str) -> Config:
    """Read and check a settings file. Raises ConfigError with one line that says what to correct."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no settings file {path}; name one with --config, or run `keyfold up`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error}") from None
    try:
        return Config.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"the settings file {path} is wrong: {_first_problem(error)}") from None


def serving_at(config: Config, address: str | None) -> Config:
    """Return the settings with `telemetry` at another `host:port`, where one is given. Raises `ConfigError`."""
    return config.model_copy(update={"telemetry": telemetry_at(config.telemetry, address)})


def telemetry_at(settings: Telemetry, address: str | None) -> Telemetry:
    """The same for these settings alone."""
    if address is None:
        return settings
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"--telemetry {address} is no HOST:PORT")
    return settings.model_copy(update={"host": host.strip("[]"), "port": int(port)})


def save_config(config: Config, path: Path | None = None) -> Path:
    """Write the settings (0600) so that a reader sees the old or the new file, never a part; return its path."""
    path = path or config.path
    write_private(path, json.dumps(config.model_dump(mode="json"), indent=2) + "\n")
    return path


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically, readable by its owner only. If we crash before the rename, the old file stands."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_private(path: Path) -> str:
    """Return what stands in a file that only its owner may read. Raises `ConfigError`; never quotes the content."""
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} may be read by others; run chmod 600 on it")
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file {path} cannot be read: {type(error).__name__}") from None
    if not text:
        raise ConfigError(f"the file {path} is empty")
    return text


def ready_file(config: Config, name: str) -> Path:
    """The file whose existence says that process `name` serves; it contains its process id."""
    return config.run_directory / f"{name}.ready"


def mark_ready(config: Config, name: str) -> None:
    """Say that this process, started as `name`, serves now. Whoever started it removed the file before."""
    config.run_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(ready_file(config, name), f"{os.getpid()}\n")


def export_softhsm2_conf(config: Config) -> None:
    """Set SOFTHSM2_CONF for this process; call it before the PKCS#11 module is loaded, only where a token is met."""
    if config.softhsm2_conf is not None:
        os.environ["SOFTHSM2_CONF"] = str(config.softhsm2_conf)


def _first_problem(error: ValidationError) -> str:
    """One line: the first problem, without the input's value (a mistyped file may contain anything)."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    more = error.error_count() - 1
    return f"{where or 'file'}: {problem['msg']}" + (f" (and {more} more)" if more else "")
