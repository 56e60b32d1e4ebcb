"""JSON log lines on standard error, one per event, each with a machine-readable `action`.

It configures structlog for one process and routes the standard library's loggers (Kafka client, asyncio) into the same
form. It chooses no destinations and rotates nothing: whoever starts the process owns its standard error. What is
logged never includes plaintext, key material, PINs or connection strings with passwords.
"""

import logging
import sys
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import structlog

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_at_first_logger: Final[list[Callable[[], None]]] = []


def configure_logging(service: str, level: str = "info") -> None:
    """Set up logging for this process. `service` is on every line; `level` is debug, info, warning or error."""
    import structlog

    _at_first_logger.clear()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_service(service),
        _with_action,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])


def configure_at_first_logger(configure: Callable[[], None]) -> None:
    """Put `configure` off until somebody asks for a logger; at once, where somebody may have asked already.

    structlog, and rich which it loads, take longer to import than most runs of the command line, which log nothing.
    """
    if "structlog" in sys.modules:
        configure()
    else:
        _at_first_logger[:] = [configure]


def get_logger(**context: Any) -> "structlog.stdlib.BoundLogger":
    """A logger whose first argument is the action: `log.info("partition-restored", partition=3)`."""
    import structlog

    while _at_first_logger:
        _at_first_logger.pop()()
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(**context)
    return logger


def _with_service(service: str) -> "structlog.typing.Processor":
    def add(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        line["service"] = service
        return line

    return add


def _with_action(logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Our own lines name their action; a library's free text becomes `message` under the action `library-log`."""
    event = line.pop("event", "")
    record = line.get("_record")
    if line.get("_from_structlog", record is None):
        line["action"] = event
    else:
        line.update(action="library-log", message=event, logger=getattr(record, "name", str(logger)))
    return line
