"""A token of its own, made and removed here, and python-pkcs11 alone on it: what nothing above can be faster than.

Nothing of Keyfold runs in it. It is another process: the library reads the place of its tokens once.
"""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final

_DEADLINE_S: Final = 60
_SET_UP: Final = """
import os, subprocess, sys, tempfile, time
import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism
with tempfile.TemporaryDirectory() as folder:
    os.mkdir(folder + "/tokens")
    with open(folder + "/conf", "w") as file:
        file.write("directories.tokendir = " + folder + "/tokens\\nobjectstore.backend = file\\nlog.level = ERROR\\n")
    os.environ["SOFTHSM2_CONF"] = folder + "/conf"
    library = pkcs11.lib(sys.argv[1])
    pin = os.urandom(8).hex()
    subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "limit", "--so-pin", pin, "--pin", pin],
                   check=True, capture_output=True)
    library.reinitialize()
    token = library.get_token(token_label="limit")
    with token.open(rw=True, user_pin=pin) as session:
"""


def rate(module: Path, loop: str) -> float:
    """Run a loop with a `session` of the token; return what it prints, operations per second.

    Raises `CalledProcessError`, and `TimeoutExpired` after a minute.
    """
    program = _SET_UP + textwrap.indent(textwrap.dedent(loop), " " * 8)
    result = subprocess.run(
        [sys.executable, "-c", program, str(module)], capture_output=True, text=True, timeout=_DEADLINE_S, check=True
    )
    return float(result.stdout)
