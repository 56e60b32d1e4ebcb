"""The acts of the demonstration, each as the principal who would do it: prepare, protect, bring back, be refused.

Every act checks what it claims and raises `Differs` where it is not so.
"""

from collections.abc import Sequence
from typing import Final

from keyfold.cli.demo.files import Document, Places, differing
from keyfold.cli.exits import Differs
from keyfold.cli.session import Session
from keyfold.client import Keyfold
from keyfold.client.envelope import EnvelopeInvalid, FileResult, decrypt_file, decrypt_files, encrypt_files
from keyfold.client.envelope.streams import read_header
from keyfold.config import Config
from keyfold.events.ciphertext import parse_header
from keyfold.events.entities import Principal
from keyfold.events.errors import AccessDenied, InvalidCiphertext, NotFound
from keyfold.identity import Identity, IdentityUnusable, create_identity, load_identity
from keyfold.projections.ports import Queries

PRINCIPAL: Final = "demo"
ALIAS: Final = "alias/demo"
POLICY: Final = "demo-files"
_MAX_NAMES: Final = 100


def policy_text(principal: str) -> str:
    """Return the Cedar policy that lets one principal use the key it is put on, for envelopes only."""
    return (
        f'permit (principal == Principal::"{principal}",\n'
        '        action in [Action::"GenerateDataKey", Action::"Decrypt"],\n'
        "        resource);\n"
    )


async def ensure_principal(session: Session, config: Config, queries: Queries, admin: Keyfold) -> tuple[Identity, bool]:
    """Return the ordinary principal, registered; say whether this call registered it.

    A principal whose identity file is gone or who was revoked is not used again: the next free name is.
    """
    known: dict[str, Principal] = {p.principal: p for p in await queries.principals()}
    for number in range(1, _MAX_NAMES):
        name = PRINCIPAL if number == 1 else f"{PRINCIPAL}-{number}"
        path = config.identities_directory / f"{name}.json"
        if name not in known:
            identity = load_identity(path) if path.exists() else create_identity(path, name, admin.deployment)
            await admin.register_principal(name, identity.signer.public_key)
            return identity, True
        try:
            identity = load_identity(path)
        except IdentityUnusable:
            continue
        key = known[name].key(identity.signer.fingerprint)
        if known[name].status == "Active" and key is not None and key.status == "Active":
            return identity, False
    session.say(f"there are {_MAX_NAMES} principals called {PRINCIPAL}; `keyfold reset` makes room")
    raise Differs("no name is left for the demonstration's principal")


async def ensure_key(admin: Keyfold, queries: Queries, principal: str) -> tuple[str, bool]:
    """Return the demonstration's key: the one that its alias names if it can be used, else a new one, in the token."""
    try:
        key_id = await admin.resolve(ALIAS)
    except NotFound:
        key_id = ""
    key = await queries.describe_key(key_id) if key_id else None
    if key is not None and key.status == "Enabled":
        await admin.put_policy(POLICY, policy_text(principal), key=key_id)
        return key_id, False
    made = await admin.create_key(protection="HSM", description="demonstration")
    await admin.put_policy(POLICY, policy_text(principal), key=made.key_id)
    await (admin.update_alias if key_id else admin.create_alias)(ALIAS, made.key_id)
    return made.key_id, True


async def protect(kms: Keyfold, documents: Sequence[Document], places: Places) -> int:
    """Encrypt documents; return how many bytes they have together."""
    return _sum(await encrypt_files(kms, ALIAS, [places.encryption(document) for document in documents]))


async def bring_back(kms: Keyfold, documents: Sequence[Document], places: Places, key_id: str) -> int:
    """Decrypt documents and compare them byte for byte. Raises `Differs`."""
    count = _sum(await decrypt_files(kms, [places.decryption(document) for document in documents], key=key_id))
    if different := differing(documents, places):
        raise Differs(f"these files came back different: {', '.join(different)}")
    return count


def versions_used(documents: Sequence[Document], places: Places) -> set[int]:
    """Return the key versions that the envelopes' data keys are encrypted under."""
    found = set()
    for document in documents:
        with places.encrypted(document).open("rb") as file:
            found.add(parse_header(read_header(file).encrypted_key)[1])
    return found


async def be_refused(kms: Keyfold) -> str:
    """Try what the policy does not allow, and return the refusal. Raises `Differs` if it was allowed."""
    try:
        await kms.disable_key(ALIAS, reason="an ordinary principal must not be able to do this")
    except AccessDenied as error:
        return str(error)
    raise Differs("an ordinary principal was allowed to disable the key")


async def be_mistaken(kms: Keyfold, document: Document, places: Places) -> str:
    """Try a wrong encryption context, and return the refusal. Raises `Differs` if the file opened."""
    target = places.decrypted(document).with_name("must-not-exist")
    try:
        await decrypt_file(kms, places.encrypted(document), target, context={**document.context, "purpose": "other"})
    except (EnvelopeInvalid, InvalidCiphertext) as error:
        return f"{error.code}: {error}"
    raise Differs(f"{document.name} opened under a wrong encryption context")


def _sum(results: Sequence[FileResult]) -> int:
    for result in results:
        if result.error is not None:
            raise result.error
    return sum(result.size_bytes for result in results)
