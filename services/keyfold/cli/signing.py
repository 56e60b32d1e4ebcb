"""`keyfold sign`, `verify`, `mac`, `verify-mac`: proofs of origin over files and pipes.

What does not verify ends with exit code 4. A message is held in memory; one that is larger than a command is hashed
here and signed as its digest, which is the same signature. Ed25519 and ML-DSA have no such form: for ML-DSA, give its
representative (--message-type EXTERNAL_MU).
"""

from typing import Annotated, Any, Final

import typer

from keyfold.cli.arguments import Approved, KeyName, Reason, Trial, UsedVersion
from keyfold.cli.exits import UsageError
from keyfold.cli.session import of
from keyfold.cli.transfer import STANDARD, check_target, give, read_file
from keyfold.cli.writing import try_use
from keyfold.client.data_verbs import Use
from keyfold.client.signing_verbs import prepared
from keyfold.events import parts
from keyfold.events.errors import InvalidMac, InvalidSignature
from keyfold.events.specs import MacAlgorithm, MessageType, SigningAlgorithm

Message = Annotated[str, typer.Argument(metavar="[FILE]", help="The message; - for standard input.")]
Signing = Annotated[SigningAlgorithm, typer.Option("--algorithm", "-a", help="How it is signed.")]
Macking = Annotated[MacAlgorithm, typer.Option("--algorithm", "-a", help="The HMAC.")]
Kind = Annotated[
    MessageType, typer.Option("--message-type", help="What FILE holds: the message, its digest, or ML-DSA's µ.")
]
Target = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Raw bytes into a file; - for standard output.")
]
_MOST: Final = 1024 * 1024 * 1024
_HINT: Final = "hash it yourself and give the digest, with --message-type DIGEST"


def sign(
    context: typer.Context,
    key: KeyName,
    message: Message = STANDARD,
    *,
    algorithm: Signing,
    message_type: Kind = "RAW",
    output: Target = None,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Sign with the key's current version. Prints base64; ECDSA signatures are DER, others raw bytes.

    Example: keyfold --as alice sign alias/releases release.tar --algorithm ECDSA_SHA_256 -o release.sig
    """
    session, use, data = of(context), Use(reason=reason, proposal=proposal), read_file(message, _HINT, _MOST)
    if dry_run:
        (sent,), kind = prepared([data], algorithm, message_type)
        try_use(session, "Sign", key, use, size_bytes=len(sent), arguments=_signing(algorithm, kind))
        return
    check_target(output)

    async def work() -> tuple[bytes, int]:
        async with session.client(session.config) as kms:
            made = await kms.sign(key, data, signing_algorithm=algorithm, message_type=message_type, **use)
            return made.signature, made.key_version

    signature, version = session.run(work())
    give(session, "signature", signature, output, {"key_version": version, "algorithm": algorithm})


def verify(
    context: typer.Context,
    key: KeyName,
    signature: Annotated[str, typer.Argument(metavar="SIGNATURE", help="The file with the signature's raw bytes.")],
    message: Message = STANDARD,
    *,
    algorithm: Signing,
    message_type: Kind = "RAW",
    key_version: UsedVersion = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Here, with the public key of the directory: no command is sent.")
    ] = False,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Verify a signature. Exit code 4 if it is not the key's for this message and algorithm.

    Example: keyfold --as alice verify alias/releases release.sig release.tar --algorithm ECDSA_SHA_256
    """
    session, use = of(context), Use(reason=reason, proposal=proposal)
    proof, data = _two(signature, message)
    if dry_run:
        (sent,), kind = prepared([data], algorithm, message_type)
        arguments = {**_signing(algorithm, kind), "key_version": key_version}
        try_use(session, "Verify", key, use, size_bytes=len(parts.join(proof, sent)), arguments=arguments)
        return

    async def work() -> bool:
        async with session.client(session.config) as kms:
            if offline:
                public = await kms.public_key(key, key_version)
                return public.verify(data, proof, signing_algorithm=algorithm, message_type=message_type)
            return await kms.verify(
                key, data, proof, signing_algorithm=algorithm, message_type=message_type, key_version=key_version, **use
            )

    if not session.run(work()):
        raise InvalidSignature
    session.show({"valid": True}, "the signature is valid")


def mac(
    context: typer.Context,
    key: KeyName,
    message: Message = STANDARD,
    *,
    algorithm: Macking,
    output: Target = None,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Make a message authentication code (HMAC) with the key's current version. Prints base64.

    Example: keyfold --as alice mac alias/webhooks body.json --algorithm HMAC_SHA_256
    """
    session, use, data = of(context), Use(reason=reason, proposal=proposal), read_file(message)
    if dry_run:
        try_use(session, "GenerateMac", key, use, size_bytes=len(data), arguments={"mac_algorithm": algorithm})
        return
    check_target(output)

    async def work() -> tuple[bytes, int]:
        async with session.client(session.config) as kms:
            made = await kms.generate_mac(key, data, mac_algorithm=algorithm, **use)
            return made.mac, made.key_version

    code, version = session.run(work())
    give(session, "mac", code, output, {"key_version": version, "algorithm": algorithm})


def verify_mac(
    context: typer.Context,
    key: KeyName,
    code: Annotated[str, typer.Argument(metavar="MAC", help="The file with the MAC's raw bytes.")],
    message: Message = STANDARD,
    *,
    algorithm: Macking,
    key_version: UsedVersion = None,
    reason: Reason = None,
    proposal: Approved = None,
    dry_run: Trial = False,
) -> None:
    """Verify a message authentication code. Exit code 4 if it is not the key's for this message and algorithm.

    Example: keyfold --as alice verify-mac alias/webhooks body.mac body.json --algorithm HMAC_SHA_256
    """
    session, use = of(context), Use(reason=reason, proposal=proposal)
    proof, data = _two(code, message)
    if dry_run:
        arguments = {"mac_algorithm": algorithm, "key_version": key_version}
        try_use(session, "VerifyMac", key, use, size_bytes=len(parts.join(proof, data)), arguments=arguments)
        return

    async def work() -> bool:
        async with session.client(session.config) as kms:
            return await kms.verify_mac(key, data, proof, mac_algorithm=algorithm, key_version=key_version, **use)

    if not session.run(work()):
        raise InvalidMac
    session.show({"valid": True}, "the MAC is valid")


def _signing(algorithm: str, message_type: str) -> dict[str, Any]:
    return {"signing_algorithm": algorithm, "message_type": message_type}


def _two(proof: str, message: str) -> tuple[bytes, bytes]:
    if proof == message == STANDARD:
        raise UsageError("standard input holds one of them; name a file for the other")
    return read_file(proof), read_file(message, _HINT, _MOST)
