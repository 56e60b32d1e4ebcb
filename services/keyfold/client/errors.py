"""What a call may raise: the service's refusals, by their wire codes, and the client's own errors.

    KeyfoldError
    ├── Refusal and its subclasses   the service refused or failed; see `keyfold.events.errors`
    ├── InvalidArgument              found here before anything was sent
    ├── ClientClosed                 the client is closed, or was closed meanwhile
    └── Unavailable
        ├── DeadlineExceeded         no answer in time; the message says whether the outcome is known
        └── DirectoryIncomplete      the deployment's directory lacks what a client needs

Every message names the command, the key and what to do. None contains plaintext, ciphertext or an encryption context.
"""

from typing import TYPE_CHECKING, ClassVar

from keyfold.events.errors import KeyfoldError, Refusal, Unavailable, refusal_by_code

if TYPE_CHECKING:
    from keyfold.client.intents import Intent


class InvalidArgument(KeyfoldError, ValueError):
    """An argument can't be sent; nothing was."""

    code: ClassVar[str] = "InvalidArgument"


class ClientClosed(KeyfoldError):
    """The client is not connected any more."""

    code: ClassVar[str] = "ClientClosed"


class DeadlineExceeded(Unavailable, TimeoutError):
    """No answer came in time. A command that was sent may have been executed: the log knows it by its id."""

    code: ClassVar[str] = "DeadlineExceeded"


class DirectoryIncomplete(Unavailable):
    """The directory has no genesis, or no sealing key, of the pinned deployment."""

    code: ClassVar[str] = "DirectoryIncomplete"


def refused(code: str, intent: "Intent", command_id: str, *, item: bool = False) -> Refusal:
    """Return the typed error for a wire code, with a message that says what was refused and what to do."""
    kind = refusal_by_code(code)
    what = "failed for one item of" if item else "was refused"
    place = f"{what} command {command_id}" if item else f"{what}, command {command_id}"
    return kind(f"{intent.verb} on {intent.name} {place}: {code}: {kind.hint}")


def overdue(intent: "Intent", command_id: str | None) -> DeadlineExceeded:
    """Return the error of a call whose deadline passed; without a command id nothing was sent."""
    if command_id is None:
        return DeadlineExceeded(f"{intent.verb} on {intent.name} was not sent before its deadline; call again")
    return DeadlineExceeded(
        f"{intent.verb} on {intent.name} was not answered before its deadline; command {command_id} may still be "
        "executed: look for it in the log before you repeat something that must not happen twice"
    )
