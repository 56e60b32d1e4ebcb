"""SoftHSM2's place in the data directory: its settings file and an empty token directory.

Initialising tokens, PINs and keys belong to `keyfold.token`; nothing here loads the PKCS#11 module.
"""

import os
from pathlib import Path
from typing import Final

from keyfold.config import write_private
from keyfold.embedded.errors import MissingProgram

_PLACES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


def softhsm_module() -> Path:
    """Return the PKCS#11 module: the setting KEYFOLD_PKCS11_MODULE, else where distributions put SoftHSM2."""
    chosen = os.environ.get("KEYFOLD_PKCS11_MODULE")
    for place in (chosen,) if chosen else _PLACES:
        if Path(place).is_file():
            return Path(place)
    if chosen:
        raise MissingProgram(f"KEYFOLD_PKCS11_MODULE names {chosen}, which does not exist")
    raise MissingProgram("there is no SoftHSM2; install it: apt-get install softhsm2 (or set KEYFOLD_PKCS11_MODULE)")


def prepare_softhsm(directory: Path) -> Path:
    """Write softhsm2.conf and create the token directory (0700) under `directory`; return the settings file."""
    tokens = directory / "tokens"
    for place in (directory, tokens):
        place.mkdir(mode=0o700, exist_ok=True)
    conf = directory / "softhsm2.conf"
    write_private(
        conf,
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
    )
    return conf
