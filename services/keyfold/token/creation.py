"""Creating tokens: a label, a random PIN for its user and one for its security officer, each in a 0600 file.

It never touches a token or a PIN file that exists.

1. Refuse if a token has the label.
2. Write both PIN files, durably. If we crash here, files without a token remain: the next attempt says so.
3. Initialise a free slot (security officer's PIN). If we crash here, the token exists and its user cannot log in; the
   security officer's file lets an operator set the user's PIN.
4. Set the user's PIN. From here on the token can be opened.
"""

from pathlib import Path

from keyfold.token import cryptoki
from keyfold.token.errors import TokenExists, TokenMissing, translated
from keyfold.token.module import Module, is_initialised
from keyfold.token.pins import write_pin

_MAX_LABEL_BYTES = 32


def create_token(module: Module, label: str, pin_file: Path, so_pin_file: Path) -> None:
    """Create a token. Raises `TokenExists` if the label or a PIN file is taken, `TokenMissing` without a free slot."""
    if not 0 < len(label.encode()) <= _MAX_LABEL_BYTES:
        raise ValueError("a token's label has 1 to 32 bytes")
    tokens = module.slot_tokens()
    if any(is_initialised(token) and token.label == label for token in tokens):
        raise TokenExists(f"a token labelled {label!r} exists; it is never overwritten")
    free = next((token for token in tokens if not is_initialised(token)), None)
    if free is None:
        raise TokenMissing("the module has no free slot for another token")
    slot: int = free.slot.slot_id
    pin, so_pin = _write_pins(pin_file, so_pin_file)
    module.cryptoki.init_token(slot, so_pin, label)
    _set_user_pin(module, label, pin, so_pin)


def _write_pins(pin_file: Path, so_pin_file: Path) -> tuple[bytes, bytes]:
    for path in (pin_file, so_pin_file):
        if path.exists():
            raise TokenExists(f"the PIN file {path} exists, but not its token; move the file away first")
    return write_pin(pin_file), write_pin(so_pin_file)


def _set_user_pin(module: Module, label: str, pin: bytes, so_pin: bytes) -> None:
    with translated(f"set the user's PIN of token {label!r}"):
        session = module.find(label).open(rw=True)
        try:
            handle: int = session.handle  # type: ignore[attr-defined]  # only the compiled class has it
            module.cryptoki.login(handle, cryptoki.CKU_SO, so_pin)
            session.init_pin(pin.decode())
            module.cryptoki.logout(handle)
        finally:
            session.close()
