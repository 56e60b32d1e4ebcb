"""Two threads in one token at once. In a process of its own: without locks it would corrupt the heap and die."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.token

PROGRAM = """
import os, sys, threading
from pathlib import Path
from keyfold.custody import Custody, HandleCache, InMemory, InToken, KeyReference
from keyfold.token import create_token, load_module, open_token

pins, hold_lock = Path(sys.argv[2]), sys.argv[3] == "hold"
module = load_module(Path(sys.argv[1]), hold_lock=hold_lock)
create_token(module, sys.argv[3], pins / "pin", pins / "so")
token = open_token(module, sys.argv[3], pins / "pin", pool_size=2)
custody, cache = Custody(token), HandleCache(2)
custody.provision()
references = [KeyReference(os.urandom(16), 1, "SYMMETRIC_DEFAULT", p) for p in ("HSM", "HSM", "HSM", "SOFTWARE")]
blobs = {reference: custody.generate(reference).blob for reference in references}
providers = {"HSM": InToken(token), "SOFTWARE": InMemory(custody.derived)}
errors, start = [], threading.Barrier(4)

def work(number):
    try:
        start.wait()
        for turn in range(60):
            reference = references[(number + turn) % 4]
            provider = providers[reference.protection]
            with cache.get(reference, lambda: custody.open(reference, blobs[reference])) as handle:
                items = [(0, bytes([number]) * size) for size in range(1, 20)]
                made = provider.protect(handle, [b"context"], items)
                opened = provider.unprotect(
                    reference.key_id, lambda _: handle, [b"context"], [(0, data) for data in made]
                )
                assert opened == [data for _, data in items]
            if turn % 30 == 0:
                # python-pkcs11 lets go of Python's lock, so this really runs beside the others' calls.
                assert custody.probe().ok
                custody.open(reference, custody.generate(reference).blob).destroy()
    except BaseException as error:
        errors.append(repr(error))

threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
cache.clear()
token.close()
module.close()
print("errors:", errors)
sys.exit(bool(errors))
"""


@pytest.mark.parametrize("lock", ["hold", "release"])
def test_threads_share_a_token(softhsm: Any, tmp_path: Path, lock: str) -> None:
    """Keys are opened, used, probed and destroyed by four threads, with Python's lock held and without."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(softhsm.module), str(tmp_path), lock],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "errors: []"), done.stderr[-2000:]


OTHER = """
import sys
from pathlib import Path
from keyfold.custody import Custody, InToken, KeyReference
from keyfold.token import load_module, open_token

module = load_module(Path(sys.argv[1]))
token = open_token(module, "shared", Path(sys.argv[2]))
custody = Custody(token)
custody.attach()
reference = KeyReference(bytes(16), 1, "SYMMETRIC_DEFAULT", "HSM")
handle = custody.open(reference, bytes.fromhex(sys.argv[3]))
print(InToken(token).protect(handle, [b""], [(0, b"from the other")])[0].hex())
custody.begin_epoch(2)
"""


def test_two_processes_share_a_token(softhsm: Any, tmp_path: Path) -> None:
    """Workers on one token open each other's blobs, and see keys that the other made."""
    from keyfold.custody import Custody, InToken, KeyReference
    from keyfold.token import create_token, load_module, open_token

    module = load_module(softhsm.module)
    try:
        create_token(module, "shared", tmp_path / "pin", tmp_path / "so")
        token = open_token(module, "shared", tmp_path / "pin")
        custody = Custody(token)
        custody.provision()
        reference = KeyReference(bytes(16), 1, "SYMMETRIC_DEFAULT", "HSM")
        blob = custody.generate(reference).blob
        arguments = [sys.executable, "-c", OTHER, str(softhsm.module), str(tmp_path / "pin"), blob.hex()]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        handle = custody.open(reference, blob)
        items = [(0, bytes.fromhex(done.stdout.strip()))]
        assert InToken(token).unprotect(bytes(16), lambda _: handle, [b""], items) == [b"from the other"]
        custody.attach()
        assert custody.epoch == 2
    finally:
        module.close()
