"""What keys can do here: found by trying the token in use once, and by asking the library.

For each key spec and usage at the level HSM, a throwaway key is generated, wrapped, unwrapped and used as a user's
would be; nothing remains. RSA keys take long to make, so RSA-2048 stands for all sizes that the token says it has
(C_GetMechanismInfo). Of the level SOFTWARE, what the library can make is offered.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from keyfold.custody import private_keys
from keyfold.custody.custody import Custody
from keyfold.custody.in_token import InToken
from keyfold.custody.public import encrypt, verify
from keyfold.custody.public_keys import encode, load
from keyfold.custody.references import Generated, Handle, KeyReference, TokenHandle
from keyfold.custody.token_oaep import TokenOaep
from keyfold.custody.token_operations import TokenOperations
from keyfold.events.errors import KeyfoldError, TokenUnavailable, Unsupported
from keyfold.events.specs import ALGORITHMS, is_asymmetric
from keyfold.events.storage import Capability
from keyfold.token import cryptoki as ck
from keyfold.token import importing
from keyfold.token import keys as token_keys
from keyfold.token.kinds import AES, RSA_IMPORT
from keyfold.token.mechanisms import key_sizes
from keyfold.token.operations import Prepared

_TRIED_RSA: Final = "RSA_2048"
_MESSAGE: Final = b"keyfold capability"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What was found. `imports`: wrapping algorithms, and where HSM material is opened: "token" or "worker"."""

    module: str
    capabilities: tuple[Capability, ...]
    imports: dict[str, str]


_found: Final[WeakKeyDictionary[Custody, Capabilities]] = WeakKeyDictionary()


def find_capabilities(custody: Custody) -> Capabilities:
    """Try once, and remember it for this custody. Takes about 1 s on SoftHSM2. Raises `TokenUnavailable`."""
    if custody not in _found:
        trial = _Trial(custody)
        in_token = [*_in_token(trial)]
        imports = _imports(custody, native_oaep=trial.native_oaep)
        _found[custody] = Capabilities(custody.token.module.description, (*in_token, *_in_memory()), imports)
    return _found[custody]


def _in_token(trial: "_Trial") -> Iterator[Capability]:
    sizes = key_sizes(trial.token, ck.CKM_RSA_PKCS_KEY_PAIR_GEN)
    tried: dict[str, tuple[str, ...]] = {}
    for spec, usage in ALGORITHMS:
        reference = KeyReference(os.urandom(16), 1, spec, "HSM", usage)
        is_rsa = spec.startswith("RSA_")
        if is_rsa and spec != _TRIED_RSA:
            algorithms = tried.get(usage, ()) if int(spec.removeprefix("RSA_")) in sizes else ()
        else:
            algorithms = trial.run(reference)
        if is_rsa and spec == _TRIED_RSA:
            tried[usage] = algorithms
        if algorithms:
            yield _capability(reference, algorithms, resident=spec == "ECC_NIST_EDWARDS25519")


def _in_memory() -> Iterator[Capability]:
    for (spec, usage), algorithms in ALGORITHMS.items():
        reference = KeyReference(bytes(16), 1, spec, "SOFTWARE", usage)
        try:
            reference.check()
            if is_asymmetric(spec) and not spec.startswith("RSA_"):
                private_keys.generate(spec)
        except Unsupported:
            continue
        yield _capability(reference, algorithms)


def _capability(reference: KeyReference, algorithms: tuple[str, ...], *, resident: bool = False) -> Capability:
    named = {"key_spec": reference.spec, "key_usage": reference.usage, "protection": reference.protection}
    return Capability.model_validate({**named, "algorithms": list(algorithms), "resident": resident})


class _Trial:
    """Makes a key of a kind and uses it by each of its algorithms."""

    def __init__(self, custody: Custody) -> None:
        self._custody, self.token = custody, custody.token
        self.native_oaep = False
        self._operations, self._symmetric = TokenOperations(custody.token), InToken(custody.token)

    def run(self, reference: KeyReference) -> tuple[str, ...]:
        """Return the algorithms that work; none if the key cannot be made. Raises `TokenUnavailable`."""
        works = {
            "SIGN_VERIFY": self._signs,
            "GENERATE_VERIFY_MAC": self._makes_macs,
            "KEY_AGREEMENT": self._agrees,
            "ENCRYPT_DECRYPT": self._decrypts if reference.spec.startswith("RSA_") else self._protects,
        }.get(reference.usage)
        if works is None:
            return ()
        try:
            made = self._custody.generate(reference)
        except TokenUnavailable:
            raise
        except KeyfoldError:
            return ()
        try:
            return self._use(reference, made, works)
        finally:
            self._custody.erase(reference, made.blob)

    def _use(
        self, reference: KeyReference, made: Generated, works: Callable[[Handle, bytes, str], bool]
    ) -> tuple[str, ...]:
        handle = self._custody.open(reference, made.blob)
        try:
            return tuple(
                algorithm
                for algorithm in ALGORITHMS[reference.spec, reference.usage]
                if _succeeds(partial(works, handle, made.public_key or b"", algorithm))
            )
        finally:
            handle.destroy()

    def _signs(self, handle: Handle, public_key: bytes, algorithm: str) -> bool:
        (signature,) = self._operations.sign(handle, algorithm, "RAW", [_MESSAGE])
        return isinstance(signature, bytes) and verify(public_key, algorithm, "RAW", [(_MESSAGE, signature)]) == [True]

    def _makes_macs(self, handle: Handle, _: bytes, algorithm: str) -> bool:
        one, same, other = self._operations.mac(handle, algorithm, [_MESSAGE, _MESSAGE, b""])
        return one == same != other

    def _decrypts(self, handle: Handle, public_key: bytes, algorithm: str) -> bool:
        with self.token.session() as session:
            self.native_oaep = TokenOaep().is_native(session, _key(handle), "256")
        (ciphertext,) = encrypt(public_key, algorithm, [_MESSAGE])
        return isinstance(ciphertext, bytes) and self._operations.decrypt(handle, algorithm, [ciphertext]) == [_MESSAGE]

    def _agrees(self, handle: Handle, public_key: bytes, _: str) -> bool:
        mine = load(public_key)
        if not isinstance(mine, ec.EllipticCurvePublicKey):
            return False
        peer = ec.generate_private_key(mine.curve)
        return self._operations.derive(handle, [encode(peer.public_key())]) == [peer.exchange(ec.ECDH(), mine)]

    def _protects(self, handle: Handle, _: bytes, __: str) -> bool:
        made = self._symmetric.protect(handle, [b""], [(0, _MESSAGE)])
        opened = self._symmetric.unprotect(handle.reference.key_id, lambda _: handle, [b""], [(0, made[0])])
        return opened == [_MESSAGE]


def _succeeds(attempt: Callable[[], bool]) -> bool:
    try:
        return attempt()
    except TokenUnavailable:
        raise
    except KeyfoldError:
        return False


def _key(handle: Handle) -> int:
    return handle.key if isinstance(handle, TokenHandle) else 0


def _imports(custody: Custody, *, native_oaep: bool) -> dict[str, str]:
    """Wrapping algorithms by where they open; an AES key stands for all material that comes in by AES-KWP."""
    if RSA_IMPORT not in custody.envelopes.kinds.values():
        return {}
    found = {"RSAES_OAEP_SHA_256": "token" if native_oaep else "worker"}
    ephemeral = os.urandom(32)
    wrapped = aes_key_wrap_with_padding(ephemeral, os.urandom(32))

    def opens() -> bool:
        with custody.token.manager() as session:
            key = importing.put_unwrapping_key(session, ephemeral)
            try:
                kwp = Prepared(ck.CKM_AES_KEY_WRAP_PAD)
                token_keys.destroy(session, importing.unwrap_secret(session, AES, key, kwp, wrapped, size=32))
            finally:
                token_keys.destroy(session, key)
        return True

    return {"RSA_AES_KEY_WRAP_SHA_256": "token", **found} if _succeeds(opens) else found
