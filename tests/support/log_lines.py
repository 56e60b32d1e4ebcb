"""What modules log while a test looks, whatever another test has configured before it in the same process."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture


@contextmanager
def log_lines(*modules: ModuleType) -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect the lines of these modules' `_log`: `event` is the action. A logger in use is not configured again, so
    that structlog's own way of capturing sees nothing of it."""
    capture = LogCapture()
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            logger = structlog.wrap_logger(
                None, processors=[capture], wrapper_class=structlog.make_filtering_bound_logger(0)
            )
            patch.setattr(module, "_log", logger)
        yield capture.entries
