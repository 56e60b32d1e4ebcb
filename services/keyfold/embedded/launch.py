"""Write this process's own record, then become the program that follows: `launch.py RECORD LOCK_FD PROGRAM ARG…`.

The record is written by the process that it describes, before the program starts. So whoever starts a part may be
killed at any moment: the part is either not there, or on record. The inherited lock stays held until the record is
written, so that nobody starts the same part a second time in between. Runs without the rest of Keyfold
(`python -I -S`), to be quick; the record is read by `keyfold.embedded.processes`.
"""

import json
import os
import sys
from pathlib import Path


def main(argv: list[str]) -> None:
    record, lock = Path(argv[0]), int(argv[1])
    os.umask(0o077)
    pid = os.getpid()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    temporary = record.with_name(f".{record.name}.{pid}")
    temporary.write_text(json.dumps({"pid": pid, "started": int(fields[19]), "boot": boot}))
    temporary.replace(record)
    os.close(lock)
    os.chdir("/")
    try:
        os.execvp(argv[2], argv[2:])  # noqa: S606 - the command comes from the stack's own tables
    except OSError as error:
        sys.exit(f"{argv[2]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
