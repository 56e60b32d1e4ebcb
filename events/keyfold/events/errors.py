"""Every error that Keyfold raises or reports, as one tree.

    KeyfoldError
    ├── Refusal            the command was decided against, or failed; the code travels in events and replies
    │   ├── InvalidCommand, UnsupportedVersion, Expired, AccessDenied, ...
    │   └── InvalidCiphertext, BatchTooLarge, ...
    ├── RecordError        a record on a topic cannot be believed (signature, place, author, order)
    └── Unavailable        a part that is needed does not answer; retriable

Each class has a stable `code`, says whether the same request may succeed later (`retriable`), and its message says
what happened and what to do. Messages never contain plaintext, key material, ciphertext or a PIN.
"""

from typing import ClassVar


class KeyfoldError(Exception):
    """Root of the tree."""

    code: ClassVar[str] = "KeyfoldError"
    retriable: ClassVar[bool] = False


class Unavailable(KeyfoldError):
    """A part that is needed (broker, database, token) does not answer."""

    code = "Unavailable"
    retriable = True


class RecordError(KeyfoldError):
    """A record on a topic cannot be believed; the reader ignores it and reports it."""

    code = "RecordError"


class Refusal(KeyfoldError):
    """A command was refused or failed. `code` is what events and replies carry."""

    code = "Refusal"
    hint: ClassVar[str] = "see the documentation of this error code"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.hint)


class InvalidCommand(Refusal):
    code = "InvalidCommand"
    hint = "the command, or what it asks for, breaks a published rule of form or bounds; correct it and send it again"


class UnsupportedVersion(Refusal):
    code = "UnsupportedVersion"
    hint = "this type or version of command is not known here; update the client or the service"


class SignatureInvalid(Refusal):
    code = "SignatureInvalid"
    hint = "the signature does not match the command; sign the exact bytes with the principal's registered key"


class UnknownPrincipal(Refusal):
    code = "UnknownPrincipal"
    hint = "no principal with this id and signing key is registered; an administrator must register it"


class PrincipalRevoked(Refusal):
    code = "PrincipalRevoked"
    hint = "the principal was revoked; an administrator must register a new one"


class PrincipalSuspended(Refusal):
    code = "PrincipalSuspended"
    hint = "the principal is suspended; an administrator must resume it"


class PrincipalExpired(Refusal):
    code = "PrincipalExpired"
    hint = "the principal's time is over; an administrator must extend it, a federated one must authenticate again"


class SigningKeyRevoked(Refusal):
    code = "SigningKeyRevoked"
    hint = "the signing key was revoked or has expired; sign with another key of the principal"


class Expired(Refusal):
    code = "Expired"
    hint = "the command's time was over before it was handled; issue a new one"


class IdempotencyConflict(Refusal):
    code = "IdempotencyConflict"
    hint = "this command id was used with another body; use a fresh id for a different command"


class AlreadyExecuted(Refusal):
    code = "AlreadyExecuted"
    hint = "this command was executed before; its result is not computed again"


class RegistryBehind(Refusal):
    code = "RegistryBehind"
    retriable = True
    hint = "the registry revision asked for has not arrived here yet; send the command again"


class AccessDenied(Refusal):
    code = "AccessDenied"
    hint = "no policy permits this principal to do this, or one forbids it; ask an administrator"


class ApprovalRequired(AccessDenied):
    code = "ApprovalRequired"
    hint = "policy asks for approvals; propose the command and let others approve it"


class GrantExhausted(AccessDenied):
    code = "GrantExhausted"
    hint = "the grant's allowance of operations or items does not cover this; ask for another grant"


class RateLimited(Refusal):
    code = "RateLimited"
    retriable = True
    hint = "the principal's rate limit is reached; send more slowly, in batches"


class QuotaExceeded(Refusal):
    code = "QuotaExceeded"
    hint = "the principal's quota of this period is used up; wait for the next one or ask for more"


class DryRunOperation(Refusal):
    code = "DryRunOperation"
    hint = "the command would have been authorized; as a dry run nothing was executed"


class ProposalClosed(Refusal):
    code = "ProposalClosed"
    hint = "the proposal was executed, denied, cancelled or has failed; make a new one"


class ProposalExpired(ProposalClosed):
    code = "ProposalExpired"
    hint = "the proposal's time is over; make a new one"


class ProposalMismatch(Refusal):
    code = "ProposalMismatch"
    hint = "this is not what was proposed; approve the digest that was read, or send the command as it was proposed"


class SelfApproval(AccessDenied):
    code = "SelfApproval"
    hint = "who proposes a command cannot approve it; another principal must"


class AlreadyApproved(Refusal):
    code = "AlreadyApproved"
    hint = "this principal has approved the proposal already; others must"


class AdministratorsNeeded(Refusal):
    code = "AdministratorsNeeded"
    hint = "fewer than two active administrators could repair the policies afterwards; see to that first"


class InvalidToken(Refusal):
    code = "InvalidToken"
    hint = "the identity token is not acceptable; get a fresh one from the issuer"


class TokenNotBound(InvalidToken):
    code = "TokenNotBound"
    hint = "the token's `cnf` does not bind the key that signed the command; ask for a token for that key"


class TokenExpired(InvalidToken):
    code = "TokenExpired"
    hint = "the identity token is expired or not valid yet; get a fresh one, and check the clocks"


class UnknownIssuer(InvalidToken):
    code = "UnknownIssuer"
    hint = "no issuer of this name is configured; an administrator must put it"


class IssuerKeysExpired(InvalidToken):
    code = "IssuerKeysExpired"
    hint = "the issuer's keys (JWKS) are missing or too old; see that the scheduler can read them"


class InvalidIssuer(Refusal):
    code = "InvalidIssuer"
    hint = "the issuer's settings or keys are not acceptable; correct them"


class SealingKeyRetired(Refusal):
    code = "SealingKeyRetired"
    retriable = True
    hint = "the body was sealed to a retired key; read the directory and seal it to the current one"


class BatchTooLarge(Refusal):
    code = "BatchTooLarge"
    hint = "a command holds 1 to 1000 items and at most 1 MiB; split it"


class BatchTooExpensive(Refusal):
    code = "BatchTooExpensive"
    hint = "the batch would occupy the token for more than 2 s; split it"


class ReplyAddressInvalid(Refusal):
    code = "ReplyAddressInvalid"
    hint = "replies go to keyfold.replies or keyfold.replies.<name> only"


class NotFound(Refusal):
    code = "NotFound"
    hint = "no such key, alias, principal or policy; check the name"


class AlreadyExists(Refusal):
    code = "AlreadyExists"
    hint = "the name is taken; choose another or update the one that exists"


class InvalidState(Refusal):
    code = "InvalidState"
    hint = "the key's state does not allow this; describe the key to see its state"


class KeyDisabled(InvalidState):
    code = "KeyDisabled"
    hint = "the key is disabled; enable it first"


class KeyPendingDeletion(InvalidState):
    code = "KeyPendingDeletion"
    hint = "the key is scheduled for deletion; cancel the deletion first"


class KeyDestroyed(InvalidState):
    code = "KeyDestroyed"
    hint = "the key was destroyed; what it protected cannot be recovered with it"


class KeyPendingImport(InvalidState):
    code = "KeyPendingImport"
    hint = "the key's material was not imported yet, was deleted or has expired; import it"


class KeyNotYetValid(InvalidState):
    code = "KeyNotYetValid"
    hint = "the key's `not_before` has not come yet; wait, or update its validity"


class KeyExpired(InvalidState):
    code = "KeyExpired"
    hint = "the key's `not_after` is over: it opens and verifies, and protects nothing; use another key"


class KeyCompromised(InvalidState):
    code = "KeyCompromised"
    hint = "the key version is marked as compromised; rotate the key, or ask who may still open with it"


class KeyVersionUnusable(InvalidState):
    code = "KeyVersionUnusable"
    hint = "this version of the key is disabled, compromised or has no material; describe the key to see its versions"


class InvalidKeyUsage(Refusal):
    code = "InvalidKeyUsage"
    hint = "the key's spec or usage does not have this verb or algorithm; describe the key to see what it has"


class AliasMoved(Refusal):
    code = "AliasMoved"
    retriable = True
    hint = "the alias points to another key now; resolve it again"


class UsageLimitReached(Refusal):
    code = "UsageLimitReached"
    hint = "this key version protected as many items as is safe; rotate the key"


class Unsupported(Refusal):
    code = "Unsupported"
    hint = "this key spec or protection level is not offered here"


class InvalidPolicy(Refusal):
    code = "InvalidPolicy"
    hint = "the policy does not parse or does not fit the schema; correct it"


class InvalidBody(Refusal):
    code = "InvalidBody"
    hint = "the sealed body does not open or differs from the clear part of the command; seal it again"


class InvalidCiphertext(Refusal):
    code = "InvalidCiphertext"
    hint = "the ciphertext, its key or its encryption context is not the right one"


class InvalidSignature(Refusal):
    code = "InvalidSignature"
    hint = "the signature is not this key's for this message and algorithm"


class InvalidMac(Refusal):
    code = "InvalidMac"
    hint = "the MAC is not this key's for this message and algorithm"


class InvalidPublicKey(Refusal):
    code = "InvalidPublicKey"
    hint = "the public key does not parse, or is no point of this key's curve"


class IncorrectKeyMaterial(Refusal):
    code = "IncorrectKeyMaterial"
    hint = "the imported material does not fit the key's spec, or differs from what was imported before"


class ImportTokenInvalid(Refusal):
    code = "ImportTokenInvalid"
    hint = "the import token was used, replaced or never issued; get parameters for import again"


class ImportTokenExpired(ImportTokenInvalid):
    code = "ImportTokenExpired"
    hint = "the import token's time is over; get parameters for import again"


class ReplyTooLarge(Refusal):
    code = "ReplyTooLarge"
    hint = "the results do not fit one reply; split the batch"


class InternalError(Refusal):
    code = "InternalError"
    hint = "the record caused an error inside the service; see its logs by the command's id"


class TokenUnavailable(Refusal):
    code = "TokenUnavailable"
    retriable = True
    hint = "the token does not answer; the operator must look at it, then send the command again"


def refusal_by_code(code: str) -> type[Refusal]:
    """Return the class for a wire code; unknown codes give `Refusal` itself (a newer service may know more)."""
    return _BY_CODE.get(code, Refusal)


def _all_refusals(root: type[Refusal]) -> list[type[Refusal]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _all_refusals(child))]


_BY_CODE = {cls.code: cls for cls in _all_refusals(Refusal)}
