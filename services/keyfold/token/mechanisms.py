"""Which mechanisms a token says it has, and for which key sizes. What it really does, only trying tells."""

from pkcs11 import Mechanism

from keyfold.token.errors import translated
from keyfold.token.session import Token


def key_sizes(token: Token, mechanism: int) -> range:
    """Return the key sizes of a mechanism (C_GetMechanismInfo), in bits for RSA; empty if the token lacks it."""
    with token.manager() as session, translated("ask for a mechanism"):
        slot = session.pkcs11.token.slot
        if mechanism not in {int(each) for each in slot.get_mechanisms()}:
            return range(0)
        about = slot.get_mechanism_info(Mechanism(mechanism))
    return range(about.min_key_length or 0, (about.max_key_length or 0) + 1)
