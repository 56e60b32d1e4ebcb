"""Log lines: JSON on standard error, each with an action."""

import json
import subprocess
import sys

PROGRAM = """
import logging
from keyfold.logging import configure_logging, get_logger
configure_logging("policy", "info")
log = get_logger(partition=3)
log.debug("not-shown")
log.info("partition-restored", records=7)
logging.getLogger("aiokafka").warning("Unable to %s", "connect")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("batch-failed")
"""


def test_every_line_is_json_with_an_action() -> None:
    """Our own lines, a library's and an exception's have the same form; nothing is written to standard output."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=30)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    assert [line["action"] for line in lines] == ["partition-restored", "library-log", "batch-failed"]
    assert {line["service"] for line in lines} == {"policy"}
    assert lines[0]["records"] == 7
    assert lines[0]["partition"] == 3
    assert lines[1]["message"] == "Unable to connect"
    assert lines[1]["logger"] == "aiokafka"
    assert "ZeroDivisionError" in lines[2]["exception"]
