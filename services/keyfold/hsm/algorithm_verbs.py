"""The data-plane verbs that name an algorithm: signatures, MACs, RSA encryption, key agreement and encapsulation.

What needs the private half or a secret is asked of the key's side (`Operations`); what needs a public key only is
computed here, from the public half in the keystore.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hmac import compare_digest

from keyfold.custody import Handle, Operations, Protection, public
from keyfold.events import commands
from keyfold.events.errors import InvalidBody, InvalidMac, InvalidSignature, KeyVersionUnusable, Refusal
from keyfold.events.parts import join, split
from keyfold.hsm.jobs import Job, Served, served


class AlgorithmVerbs:
    """Executes the items of these verbs."""

    def __init__(self, operations: Mapping[Protection, Operations]) -> None:
        self._operations = operations
        self.handlers: dict[type[commands.AnyCommand], Callable[[Job], Served]] = {
            commands.Sign: self._sign,
            commands.Verify: self._verify,
            commands.GenerateMac: self._generate_mac,
            commands.VerifyMac: self._verify_mac,
            commands.DeriveSharedSecret: self._derive,
            commands.Encapsulate: self._encapsulate,
            commands.Decapsulate: self._decapsulate,
        }

    def encrypt(self, job: Job) -> Served:
        """Encrypt with the public half of an RSA key."""
        arguments = job.command.data.arguments
        return served(job, public.encrypt(_public_key(job), arguments.encryption_algorithm, _data(job)))

    def decrypt(self, job: Job) -> Served:
        """Decrypt with the private half of an RSA key."""
        arguments = job.command.data.arguments
        operations, handle = self._open(job)
        return served(job, operations.decrypt(handle, arguments.encryption_algorithm, _data(job)))

    def _sign(self, job: Job) -> Served:
        arguments = job.command.data.arguments
        operations, handle = self._open(job)
        return served(job, operations.sign(handle, arguments.signing_algorithm, arguments.message_type, _data(job)))

    def _verify(self, job: Job) -> Served:
        arguments = job.command.data.arguments
        pairs = _pairs(job)
        good = [
            (message, signature) for signature, message in (pair for pair in pairs if not isinstance(pair, Refusal))
        ]
        verified = iter(public.verify(_public_key(job), arguments.signing_algorithm, arguments.message_type, good))
        return served(job, [_verdict(pair, verified, InvalidSignature) for pair in pairs])

    def _generate_mac(self, job: Job) -> Served:
        operations, handle = self._open(job)
        return served(job, operations.mac(handle, job.command.data.arguments.mac_algorithm, _data(job)))

    def _verify_mac(self, job: Job) -> Served:
        operations, handle = self._open(job)
        pairs = _pairs(job)
        good = [pair for pair in pairs if not isinstance(pair, Refusal)]
        made = operations.mac(handle, job.command.data.arguments.mac_algorithm, [message for _, message in good])
        verified = iter([compare_digest(mac, wanted) for (mac, _), wanted in zip(good, made, strict=True)])
        return served(job, [_verdict(pair, verified, InvalidMac) for pair in pairs])

    def _derive(self, job: Job) -> Served:
        operations, handle = self._open(job)
        return served(job, operations.derive(handle, _data(job)))

    def _encapsulate(self, job: Job) -> Served:
        made = public.encapsulate(_public_key(job), len(job.items))
        return served(job, [join(secret, ciphertext) for secret, ciphertext in made])

    def _decapsulate(self, job: Job) -> Served:
        operations, handle = self._open(job)
        return served(job, operations.decapsulate(handle, _data(job)))

    def _open(self, job: Job) -> tuple[Operations, Handle]:
        return self._operations[job.protection], job.handle(job.material())


def _data(job: Job) -> list[bytes]:
    return [data for _, data in job.items]


def _public_key(job: Job) -> bytes:
    public_key = job.material().public_key
    if public_key is None:
        raise KeyVersionUnusable("there is no public key of this version")
    return public_key


def _pairs(job: Job) -> list[tuple[bytes, bytes] | Refusal]:
    """Take items apart into (signature or MAC, message)."""
    found: list[tuple[bytes, bytes] | Refusal] = []
    for _, data in job.items:
        try:
            first, message = split(data, 2)
        except InvalidBody as error:
            found.append(error)
        else:
            found.append((first, message))
    return found


def _verdict(pair: Sequence[bytes] | Refusal, verified: Iterator[bool], refusal: type[Refusal]) -> bytes | Refusal:
    if isinstance(pair, Refusal):
        return pair
    return b"" if next(verified) else refusal()
