"""What processes say of themselves where they serve it: readiness with its reasons, and single figures of metrics.

Asked are the processes of this machine, which say in `run/` where they serve, and those that the settings name. Every
answer is data to be shown, never an error: who does not answer is a finding too.
"""

import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from keyfold.config import Config

_TIMEOUT_S: Final = 3.0
_MOST_BYTES: Final = 4 * 1024 * 1024
_SUFFIX: Final = ".telemetry"
_NAME: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}")


@dataclass(frozen=True, slots=True)
class Readiness:
    """One process: whether it is ready, and what is not ok, by check; `error` where it gave no answer."""

    process: str
    ready: bool = False
    reasons: tuple[tuple[str, str], ...] = ()
    error: str | None = None


def processes(config: Config) -> dict[str, str]:
    """Return where each process serves, `host:port` by name."""
    found: dict[str, str] = {}
    for file in sorted(config.run_directory.glob(f"*{_SUFFIX}")):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            host, port = str(told["host"]), int(told["port"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - who listens everywhere is here too
        found[file.name.removesuffix(_SUFFIX)] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return found | config.telemetry.services


def readiness(config: Config) -> Iterator[Readiness]:
    """Ask each process whether it is ready."""
    for process, address in processes(config).items():
        yield _readiness(process, address)


def analytics_lag(config: Config) -> int | None:
    """How many records analytics is behind, of all its processes together; None where none of them says so."""
    found = [
        _sum_of(_page(address, "/metrics")[1].decode("utf-8", "replace"), "keyfold_analytics_source_lag")
        for process, address in processes(config).items()
        if process.startswith("analytics") and _answers(address)
    ]
    return sum(found) if found else None


def _readiness(process: str, address: str) -> Readiness:
    try:
        status, body = _page(address, "/readyz")
        checks = json.loads(body)["checks"]
        reasons = tuple((_text(each["name"]), str(each.get("reason", ""))[:300]) for each in checks if not each["ok"])
    except (OSError, http.client.HTTPException) as error:
        return Readiness(process, error=f"no answer at {address}: {type(error).__name__}")
    except (ValueError, KeyError, TypeError):
        return Readiness(process, error=f"what answers at {address} is none of Keyfold's processes")
    return Readiness(process, status == http.client.OK, reasons)


def _answers(address: str) -> bool:
    try:
        return _page(address, "/livez")[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def _page(address: str, path: str) -> tuple[int, bytes]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(_MOST_BYTES)
    finally:
        connection.close()


def _sum_of(page: str, metric: str) -> int:
    values = re.findall(rf"^{metric}\{{[^}}]*\}} ([0-9.e+]+)$", page, re.MULTILINE)
    return int(sum(float(value) for value in values))


def _text(name: Any) -> str:
    """A check's name, if it is one."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("no name of a check")
    return name
