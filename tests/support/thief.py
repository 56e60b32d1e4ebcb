"""A thief with a token directory and blobs: `python -m tests.support.thief`, a task on standard input.

It runs in a process of its own, because a process keeps the token directory that it first loaded. It prints how often
which outcome came, never what was opened.
"""

import json
import sys
from base64 import b64decode
from collections import Counter
from contextlib import ExitStack
from typing import Any
from uuid import UUID

from keyfold.ceremony import tokens
from keyfold.config import Config, export_softhsm2_conf
from keyfold.custody import Custody, KeyReference, SealingKeys
from keyfold.events.errors import KeyfoldError
from keyfold.token import load_module, open_token


def attempt(task: dict[str, Any]) -> Counter[str]:
    """Open what can be opened."""
    config = Config.model_validate(task["config"])
    found: Counter[str] = Counter()
    with ExitStack() as stack:
        if task["fresh"]:
            with tokens.token_module(config) as made:
                tokens.prepare(made, config.pins_directory)
        export_softhsm2_conf(config)
        module = load_module(config.pkcs11_module)
        kms, seal = (
            stack.enter_context(open_token(module, label, config.pins_directory / label)) for label in ("kms", "seal")
        )
        custody, sealing = Custody(kms), SealingKeys(seal)
        custody.attach()
        for blob in task["blobs"]:
            try:
                _open(custody, sealing, blob)
                found["opened"] += 1
            except KeyfoldError as error:
                found[type(error).__name__] += 1
    return found


def _open(custody: Custody, sealing: SealingKeys, blob: dict[str, Any]) -> None:
    identifier, content = UUID(blob["id"]).bytes, b64decode(blob["blob"])
    if blob["protection"] == "sealing":
        sealing.load(identifier, content)
        return
    reference = KeyReference(identifier, blob["version"], "SYMMETRIC_DEFAULT", blob["protection"])
    custody.open(reference, content).destroy()


def main() -> None:
    """Read the task, print the outcomes."""
    try:
        found = attempt(json.load(sys.stdin))
    except KeyfoldError as error:
        found = Counter([type(error).__name__])
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
