"""`python -m keyfold.embedded.fetch`: bring Apache Kafka's jars into the cache ahead of time, for `scripts/setup`."""

import sys

from keyfold.embedded.errors import EmbeddedError
from keyfold.embedded.kafka_jars import kafka_jars


def main() -> int:
    """Exit code 0 when the jars are there, else 1 and one line."""
    try:
        kafka_jars(lambda line: print(f"setup: {line}", file=sys.stderr, flush=True))  # noqa: T201 - a command
    except EmbeddedError as error:
        print(f"setup: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
